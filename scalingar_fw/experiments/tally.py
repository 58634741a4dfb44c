"""What is known of a sweep while it runs: counts, tokens, pace, and accuracy so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from scalingar_fw.experiments.unit import Unit


def bound(unit: Unit, total: int) -> int:
    """The most tokens that a unit can take: n x T for each item."""
    return unit.candidates * total


@define
class Tally:
    """Totals over the units of a sweep, from their receipts alone.

    `spent`: tokens that workers of this call sampled; `done_bound`, `left_bound`: upper bounds of
    what this call has seen finished, and of what is missing.
    """

    units: int
    left_bound: int
    finished: int = 0
    failed: int = 0
    tokens: int = 0
    spent: int = 0
    done_bound: int = 0
    _answers: dict[str, dict[str, list[float]]] = field(factory=dict, repr=False)
    _since: float = field(factory=time.monotonic, repr=False)

    def add(self, label: str, receipt: Mapping[str, Any]) -> None:
        """Count a finished unit."""
        self.finished += 1
        self.tokens += receipt["tokens"]
        for task, (count, total) in receipt["answers"].items():
            sums = self._answers.setdefault(label, {}).setdefault(task, [0, 0.0])
            sums[0] += count
            sums[1] += total

    def advance(self, most: int, tokens: int) -> None:
        """A unit with the upper bound `most` was finished during this call, by us for `tokens`."""
        self.left_bound -= most
        self.done_bound += most
        self.spent += tokens

    @property
    def seconds(self) -> float:
        """Since the first unit could begin."""
        return time.monotonic() - self._since

    @property
    def seconds_left(self) -> float | None:
        return self.seconds / self.done_bound * self.left_bound if self.done_bound else None

    @property
    def accuracy(self) -> dict[str, float]:
        """By label: the unweighted mean over tasks, as benchmarks define it."""
        return {
            label: sum(total / count for count, total in tasks.values()) / len(tasks)
            for label, tasks in self._answers.items()
        }


def forecast(
    receipts: Sequence[tuple[int, Mapping[str, Any]]], missing: int, workers: int
) -> float | None:
    """Seconds that `missing` tokens (an upper bound) take at the pace of finished units.

    `receipts`: (upper bound, receipt) of each.
    """
    most = sum(b for b, _ in receipts)
    spent = sum(float(r.get("wall_seconds", 0.0)) for _, r in receipts)
    return spent / most * missing / workers if most and spent else None
