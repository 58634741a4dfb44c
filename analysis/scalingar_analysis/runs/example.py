"""One prompt of a run with all its candidates, wherever the run came from.

An `Example` has the attributes of a trace of one prompt (`decoded`, `config`, `grid`), so every plot
of a prompt takes it; where it was judged it has scores, and images where they were saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from scalingar_fw.decoding.result import Array, Decoded
from scalingar_fw.decoding.state import Grid
from scalingar_fw.generation.candidate import Candidate

#: A picture: its file, or its pixels `[H, W, 3]` uint8.
Picture = Path | Array


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
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, by id."""
        answer = self.decoded.chosen[0]
        return tuple(
            Candidate(
                t, i, i == answer, partial(_load, self.pictures.get(t.candidate)), self.score(i)
            )
            for i, t in enumerate(self.decoded.trajectories)
        )

    @property
    def answer(self) -> Candidate:
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


def _load(picture: Picture | None) -> Array | None:
    if picture is None or isinstance(picture, np.ndarray):
        return picture
    import PIL.Image

    with PIL.Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
