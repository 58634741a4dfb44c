"""One prompt of a run with all its candidates, wherever the run came from.

An `Example` has the attributes of a trace of one prompt (`decoded`, `config`, `grid`), so every plot
of a prompt takes it; where it was judged it has scores, and images where they were saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from scalingar_fw.decoding.result import Array, Decoded, Status, Trajectory
from scalingar_fw.decoding.state import Grid

#: A picture: its file, or its pixels `[H, W, 3]` uint8.
Picture = Path | Array


@frozen(eq=False)
class Shown:
    """A candidate as the contact sheet shows it: the attributes of `outcome.Candidate`."""

    trajectory: Trajectory
    place: int
    chosen: bool
    score: float
    picture: Picture | None = field(repr=False)

    @property
    def id(self) -> int:
        return self.trajectory.candidate

    @property
    def status(self) -> Status:
        return self.trajectory.status

    @property
    def reason(self) -> str:
        return self.trajectory.reason

    @property
    def tokens(self) -> Array:
        return self.trajectory.tokens

    @property
    def signals(self) -> Mapping[str, Array]:
        return self.trajectory.signals

    @property
    def completed(self) -> bool:
        return self.trajectory.completed

    @property
    def confidence(self) -> float:
        return self.trajectory.final("confidence")

    @property
    def image(self) -> Array | None:
        """`[H, W, 3]` uint8, or None where it was not saved."""
        if self.picture is None or isinstance(self.picture, np.ndarray):
            return self.picture
        import PIL.Image

        with PIL.Image.open(self.picture) as image:
            return np.asarray(image.convert("RGB"))

    @property
    def pixels(self) -> Array:
        """The image, or a grey square where it was not saved."""
        image = self.image
        return np.full((48, 48, 3), 128, dtype=np.uint8) if image is None else image


@frozen(eq=False)
class Example:
    """`decoded`: of this prompt alone. `config`: what made it (`strategy["name"]`, `model`, `n`,
    `seed`, `sampling`). `strategy`: its label. `scores`: one for each trajectory, NaN for those
    without; None where nobody judged. `pictures`: by candidate id."""

    decoded: Decoded = field(repr=False)
    config: Any = field(repr=False)
    grid: Grid
    strategy: str
    item: int = 0
    task: str | None = None
    cluster: str | None = None
    scores: Array | None = field(default=None, repr=False)
    pictures: Mapping[int, Picture] = field(factory=dict, repr=False)

    @property
    def prompt(self) -> Any:
        return self.decoded.prompts[0]

    @property
    def n(self) -> int:
        return self.decoded.n

    @property
    def candidates(self) -> tuple[Shown, ...]:
        """Every candidate, by id."""
        return tuple(
            Shown(t, i, i == self.decoded.chosen[0], self.score(i), self.pictures.get(t.candidate))
            for i, t in enumerate(self.decoded.trajectories)
        )

    @property
    def answer(self) -> Shown:
        return self.candidates[self.decoded.chosen[0]]

    @property
    def tokens(self) -> int:
        """Tokens sampled, over all candidates."""
        return sum(len(t) - t.forked_at for t in self.decoded.trajectories)

    def score(self, place: int) -> float:
        return math.nan if self.scores is None else float(self.scores[place])

    def outcome(self, place: int) -> str:
        """ "correct" or "incorrect" where it was judged, else how it ended."""
        score = self.score(place)
        if math.isnan(score):
            return self.decoded.trajectories[place].status.value.replace("_", " ")
        return "correct" if score > 0.5 else "incorrect"

    def decode_pixels(self, places: Iterable[int]) -> None:
        """Nothing: images are those that were saved."""
