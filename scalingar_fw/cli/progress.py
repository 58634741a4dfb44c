"""Live progress on stderr: a bar on a terminal, a few plain lines anywhere else.

A reporter is an observer like any plugin's: it hears events and can change nothing.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import click

from scalingar_fw.cli.terminal import console, plain

if TYPE_CHECKING:
    from types import TracebackType

    from scalingar_fw.decoding.events import CandidateEnd, DecodeStart, TokenEvent

#: A terminal cannot show more, and a decode step may take less than a millisecond.
_REFRESH_SECONDS = 0.05


class Reporter(Protocol):
    """What the `generate` command talks to."""

    def __enter__(self) -> Reporter: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def phase(self, text: str) -> None:
        """Say what is going on while no token is made."""
        ...

    def expect(self, prompts: int) -> None:
        """How many prompts there are in all."""
        ...


def make_reporter() -> Reporter:
    """A bar if stderr is a terminal, else lines."""
    screen = console(sys.stderr)
    return Bar(screen) if screen.is_terminal else Lines()


class _Counts:
    """Counts over a run, which may have several batches of prompts and, within one, several passes
    of candidates (memory.py): a share of all candidates is what both have in common."""

    def __init__(self) -> None:
        self.prompts = 1  # in all
        self.seen = 0  # prompts of this batch and those before
        self.n = 1
        self.before = self.here = 0  # candidates of earlier passes, and of this one
        self.step = self.total = self.live = self.tokens = self.pruned = 0

    def expect(self, prompts: int) -> None:
        self.prompts = prompts

    def on_decode_start(self, event: DecodeStart) -> None:
        self.n, self.total = event.n, event.total
        self.seen += len(event.prompts)
        self.begin(event)

    def on_token(self, event: TokenEvent) -> None:
        if event.index == 0:
            self.before += self.here
            self.here = event.live
        self.step = event.index + 1
        self.live = event.live
        self.tokens += event.live
        self.advance()

    def on_candidate_end(self, event: CandidateEnd) -> None:
        if event.status.value == "pruned":
            self.pruned += 1

    @property
    def done(self) -> float:
        """Share of the whole run, in [0, 1]."""
        part = self.before + self.here * self.step / max(1, self.total)
        return min(1.0, part / max(1, self.n * self.prompts))

    def begin(self, event: DecodeStart) -> None: ...

    def advance(self) -> None: ...


class Lines(_Counts):
    """Plain lines: at the start, and at each quarter of the run."""

    def __init__(self) -> None:
        super().__init__()
        self._quarter = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def phase(self, text: str) -> None:
        click.echo(text, err=True)

    def begin(self, event: DecodeStart) -> None:
        if self.seen > len(event.prompts):
            return
        what = event.prompts[0].label if self.prompts == 1 else f"{self.prompts} prompts"
        click.echo(f"{what}: {event.n} candidates of {event.total} tokens", err=True)

    def advance(self) -> None:
        quarter = int(4 * self.done + 1e-9)
        if quarter > self._quarter:
            self._quarter = quarter
            click.echo(
                f"{25 * quarter:3d} %  {self.tokens} tokens, {self.live} live, "
                f"{self.pruned} pruned",
                err=True,
            )


class Bar(_Counts):
    """A bar with tokens, live candidates and prunings; it is wiped when the run ends."""

    def __init__(self, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, counts="")
        self._shown = 0.0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def phase(self, text: str) -> None:
        self._progress.update(self._task, description=text, total=None, counts="")

    def begin(self, event: DecodeStart) -> None:
        count = len(event.prompts)
        label = event.prompts[0].label if count == 1 else f"{count} prompts"
        if self.prompts > count:
            label += f" ({self.seen}/{self.prompts})"
        label = label if len(label) <= 40 else label[:39] + "…"
        self._progress.update(self._task, description=plain(label), total=1.0, completed=self.done)

    def advance(self) -> None:
        now = time.perf_counter()
        if now - self._shown < _REFRESH_SECONDS and self.step < self.total:
            return
        self._shown = now
        counts = f"{self.tokens} tokens  {self.live} live  {self.pruned} pruned"
        self._progress.update(self._task, completed=self.done, counts=counts)
