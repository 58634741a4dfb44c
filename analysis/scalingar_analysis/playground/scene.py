"""What one has seen of a decode so far: built from the hooks' events, one by one, and nothing else.

A decode's thread copies each event off the device (`Tokens.of`) and hands it over; whoever draws
applies them at his own pace, so a picture can lag behind the decode and never holds it up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from attrs import define, field, frozen

from scalingar_fw import CandidateEnd, Decoded, DecodeStart, Grid, Status, TokenEvent


@frozen
class Tokens:
    """A step, copied to the host: one entry for each live candidate.

    `parent`: whose tokens so far each continues. NaN where a signal was not recorded; `threshold`:
    the confidence that the termination policy asks for at this step.
    """

    candidate: tuple[int, ...]
    parent: tuple[int, ...]
    token: tuple[int, ...]
    confidence: tuple[float, ...]
    flagged: tuple[bool, ...]
    threshold: float = math.nan

    @classmethod
    def of(cls, event: TokenEvent) -> Tokens:
        """A copy of what the hooks tell of a step."""
        nothing = np.full(event.live, np.nan)
        threshold = np.asarray(event.get("threshold", nothing), dtype=np.float64)
        known = threshold[np.isfinite(threshold)]
        return cls(
            candidate=_numbers(event.candidate),
            parent=_numbers(event.parent),
            token=_numbers(event["token"]),
            confidence=tuple(float(v) for v in event.get("confidence", nothing)),
            flagged=tuple(bool(v > 0) for v in event.get("flagged", nothing)),
            threshold=float(np.median(known)) if len(known) else math.nan,
        )


def _numbers(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


#: What a scene is told, in the order in which the hooks told it.
Event = DecodeStart | Tokens | CandidateEnd | Decoded


@define
class Growing:
    """A candidate as far as it has come; `flagged`: the termination policy has an eye on it."""

    id: int
    tokens: list[int] = field(factory=list)
    confidence: list[float] = field(factory=list)
    flagged: bool = False
    ended: CandidateEnd | None = None

    @property
    def cut(self) -> bool:
        """Whether it ended before its last token."""
        return self.ended is not None and self.ended.status is not Status.COMPLETED

    @property
    def now(self) -> float:
        """Its last confidence; NaN before the first."""
        return self.confidence[-1] if self.confidence else math.nan


@define
class Scene:
    """One decode of one prompt as it has been seen so far.

    `steps`: token events seen; `sampled`: tokens that they added up to. `candidates`: by id; those
    that a search dropped leave it (a beam drops one at almost every step) and are only counted.
    """

    label: str
    n: int = 0
    grid: Grid = field(factory=lambda: Grid(1, 1))
    candidates: dict[int, Growing] = field(factory=dict)
    thresholds: list[float] = field(factory=list)
    steps: int = 0
    sampled: int = 0
    dropped: int = 0
    chosen: int | None = None

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        if isinstance(event, Tokens):
            self._grow(event)
        elif isinstance(event, CandidateEnd):
            self._end(event)
        elif isinstance(event, DecodeStart):
            self.n, self.grid = event.n, event.grid
            self.candidates = {i: Growing(i) for i in range(event.n)}
        else:
            self.chosen = event.trajectories[event.chosen[0]].candidate

    @property
    def total(self) -> int:
        """T: tokens of a complete candidate."""
        return self.grid.size

    @property
    def live(self) -> int:
        return sum(c.ended is None for c in self.candidates.values())

    @property
    def estimates(self) -> bool:
        """Whether the strategy estimates confidence: the neutral estimator says 0.5 throughout."""
        return any(v == v and v != 0.5 for c in self.candidates.values() for v in c.confidence)

    @property
    def leader(self) -> Growing | None:
        """Whom to look at: the answer once it is known, else the most confident live candidate."""
        if self.chosen is not None:
            return self.candidates.get(self.chosen)
        live = [c for c in self.candidates.values() if c.ended is None and c.tokens]
        live = live or [c for c in self.candidates.values() if not c.cut]
        return max(live, key=lambda c: (c.now if c.now == c.now else 0.0, -c.id), default=None)

    def _grow(self, event: Tokens) -> None:
        before = self.candidates
        rows = zip(
            event.candidate,
            event.parent,
            event.token,
            event.confidence,
            event.flagged,
            strict=True,
        )
        grown = {}
        for candidate, parent, token, confidence, flagged in rows:
            old = before.get(parent, Growing(parent))
            grown[candidate] = Growing(
                candidate, [*old.tokens, token], [*old.confidence, confidence], flagged
            )
        self.candidates = dict(sorted((before | grown).items()))
        self.steps += 1
        self.sampled += len(grown)
        place = max(len(c.tokens) for c in grown.values())
        self.thresholds += [math.nan] * (place - len(self.thresholds))
        if event.threshold == event.threshold:
            self.thresholds[place - 1] = event.threshold

    def _end(self, event: CandidateEnd) -> None:
        if event.status is Status.DROPPED:
            self.dropped += 1
            self.candidates.pop(event.candidate, None)
            return
        who = self.candidates.setdefault(event.candidate, Growing(event.candidate))
        who.ended, who.flagged = event, False
