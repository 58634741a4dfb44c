"""What a study looks for, and which of its points nobody beats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from scalingar_fw.errors import ScalingarError


@frozen
class Objective:
    """What a study looks for.

    "pareto": accuracy against tokens, both; "accuracy": the highest; "accuracy@B": the highest
    with at most B T tokens for a prompt on average.
    """

    text: str
    budget: float | None = None

    @property
    def both(self) -> bool:
        return self.text == "pareto"

    @classmethod
    def parse(cls, text: str) -> Objective:
        found = re.fullmatch(r"accuracy@([0-9]*\.?[0-9]+)", text)
        if found and float(found[1]) >= 1.0:
            return cls(text, float(found[1]))
        if text in ("pareto", "accuracy"):
            return cls(text)
        raise ScalingarError(
            f"objective={text!r} must be pareto, accuracy, or accuracy@B with a budget of B >= 1 "
            "times T tokens, such as accuracy@2.5."
        )

    def values(self, accuracy: float, tokens: float) -> tuple[float, ...]:
        """What Optuna maximises (and, of both, minimises second)."""
        if self.both:
            return (accuracy, tokens)
        if self.budget is not None and tokens > self.budget:
            # Below every affordable one, and still telling the cheaper from the dearer.
            return (self.budget - tokens - 1.0,)
        return (accuracy,)


@frozen
class Point:
    """A configuration on the fitting prompts; tokens in units of T for each prompt."""

    number: int
    settings: Mapping[str, Any]
    accuracy: float
    tokens: float


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in accuracy or tokens without losing in the other; by tokens."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.tokens, -p.accuracy, p.number)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return kept
