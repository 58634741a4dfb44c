"""Decodes in threads, token by token in turns, heard through the observer hooks, and stoppable.

Two strategies side by side share a model. One of them computes at any time: each hands over after
its token, so the two grow together, memory peaks as it does in one decode (with both caches), and
no model has to be safe for threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from attrs import define, field

from scalingar_analysis.playground.scene import Event, Scene, Tokens
from scalingar_fw import CandidateEnd, Decoded, DecodeStart, Generation, TokenEvent
from scalingar_fw.generation.generate import run_plan
from scalingar_fw.generation.plan import Plan

#: Seconds between two looks at what is new: more pictures a second reach no browser.
FRAME = 1 / 15


class Stopped(BaseException):
    """Raised inside a hook to end a decode: an observer's own `Exception` would only be noted and
    the observer left out."""


class Turns:
    """Lets one of `count` threads run at a time, in a ring."""

    def __init__(self, count: int) -> None:
        self._ready = threading.Condition()
        self._ring = deque(range(count))

    def wait(self, me: int) -> None:
        """Until it is `me`'s turn."""
        with self._ready:
            self._ready.wait_for(lambda: self._ring[0] == me)

    def hand_over(self, me: int) -> None:
        """Let the others have theirs, and wait for the next one."""
        with self._ready:
            self._ring.rotate(-1)
            self._ready.notify_all()
        self.wait(me)

    def leave(self, me: int) -> None:
        """The ring goes on without `me`."""
        with self._ready:
            self._ring.remove(me)
            self._ready.notify_all()


@define(eq=False)
class Side:
    """One decode: what its hooks told, what has been shown of it, and how it ended."""

    plan: Plan
    scene: Scene
    heard: deque[Event] = field(factory=deque, repr=False)
    result: Generation | None = None
    error: Exception | None = None


class Feed:
    """The observer: copies each event for whoever draws; it ends the decode when that is asked."""

    def __init__(self, side: Side, me: int, turns: Turns, stop: threading.Event) -> None:
        self._heard = side.heard
        self._me, self._turns, self._stop = me, turns, stop

    def on_decode_start(self, event: DecodeStart) -> None:
        self._heard.append(event)

    def on_token(self, event: TokenEvent) -> None:
        self._heard.append(Tokens.of(event))
        self._turns.hand_over(self._me)
        if self._stop.is_set():
            raise Stopped

    def on_candidate_end(self, event: CandidateEnd) -> None:
        self._heard.append(event)

    def on_decode_end(self, result: Decoded) -> None:
        self._heard.append(result)


class Decodes:
    """The decodes of one press of the button: one, or two on the same noise."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.sides = [Side(p, Scene(p.strategy.name)) for p in plans]
        self._stop = threading.Event()
        turns = Turns(len(self.sides))
        self._threads = [
            threading.Thread(target=self._decode, args=(side, i, turns), daemon=True)
            for i, side in enumerate(self.sides)
        ]

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def error(self) -> Exception | None:
        """The first that a decode ended with."""
        return next((s.error for s in self.sides if s.error is not None), None)

    def stop(self) -> None:
        """End after the token that is being computed."""
        self._stop.set()

    def watch(self, pace: float = 0.0) -> Iterator[list[Scene]]:
        """Decode, and give the scenes each time that there is something new to see.

        `pace`: seconds that a token is shown for at least; the decode itself does not wait.
        """
        for thread in self._threads:
            thread.start()
        try:
            began: float | None = None
            while True:
                running = any(t.is_alive() for t in self._threads)
                if began is None and any(s.heard for s in self.sides):
                    began = time.monotonic()
                shown = 0.0 if began is None else time.monotonic() - began
                allowed = int(shown / pace) + 1 if pace > 0 else None
                news = [_take_in(side, allowed) for side in self.sides]  # of every side
                if any(news):
                    yield [side.scene for side in self.sides]
                if self.stopped or self.error is not None:
                    self.stop()
                    break
                if not running and not any(s.heard for s in self.sides):
                    break
                time.sleep(FRAME)
        finally:  # also where the browser went away
            self.stop()
            for thread in self._threads:
                thread.join()

    def _decode(self, side: Side, me: int, turns: Turns) -> None:
        try:
            turns.wait(me)
            if self.stopped:
                return
            feed = Feed(side, me, turns, self._stop)
            with contextlib.suppress(Stopped):
                side.result = next(run_plan(side.plan, [feed]))
        except Exception as error:  # said on the page, by the thread that draws
            side.error = error
        finally:
            turns.leave(me)


def _take_in(side: Side, allowed: int | None) -> bool:
    """Apply what a side's hooks told, up to `allowed` steps; whether there was any."""
    news = False
    while side.heard:
        full = allowed is not None and side.scene.steps >= allowed
        if full and isinstance(side.heard[0], Tokens):
            break
        side.scene.apply(side.heard.popleft())
        news = True
    return news


__all__ = ["Decodes", "Side", "Stopped", "Turns"]
