"""Progress of a long training, and leaving it in good order."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any


class Reporter:
    """A rich progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, title: str, total: int, every: float = 20.0) -> None:
        self._title, self._total, self._every = title, total, every
        self._last = -math.inf
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Reporter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str, total: int | None = None) -> None:
        """Show progress; plain lines come at most every ``every`` seconds."""
        self._total = total or self._total
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=done,
                total=self._total,
                description=f"{self._title} {text}",
            )
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say(f"{self._title} {done}/{self._total} {text}")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Interrupt(AbstractContextManager["Interrupt"]):
    """Turns the first SIGINT or SIGTERM into a flag, so that a checkpoint can be written."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        # Handlers can be set in the main thread only; elsewhere the caller keeps its own.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for each, handler in self._before.items():
            signal.signal(each, handler)  # a second signal ends the program as usual

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
