"""One of the images that were decoded for a prompt, fresh from the model or read from a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from scalingar_fw.decoding.result import Array, Status, Trajectory
from scalingar_fw.generation.pictures import to_pil

if TYPE_CHECKING:
    from PIL.Image import Image


@frozen(eq=False)
class Candidate:
    """A candidate's trajectory, whether it is the answer, and its picture when it is looked at.

    `place`: its index among the prompt's candidates. `score`: a benchmark's, NaN where nobody
    judged. `look`: gives the pixels, `[H, W, 3]` uint8; a run that was read from a folder has None
    where the picture was not saved.
    """

    trajectory: Trajectory
    place: int
    chosen: bool
    _look: Callable[[], Array | None] = field(repr=False)
    score: float = math.nan

    @property
    def id(self) -> int:
        return self.trajectory.candidate

    @property
    def status(self) -> Status:
        return self.trajectory.status

    @property
    def reason(self) -> str:
        """How it ended, as a sentence."""
        return self.trajectory.reason

    @property
    def tokens(self) -> Array:
        """`[L]` int64; L < T where it was ended early."""
        return self.trajectory.tokens

    @property
    def signals(self) -> Mapping[str, Array]:
        """What was recorded at each token, `[L]` float32 by name."""
        return self.trajectory.signals

    @property
    def completed(self) -> bool:
        return self.trajectory.completed

    @property
    def confidence(self) -> float:
        """The last confidence."""
        return self.trajectory.final("confidence")

    @property
    def picture(self) -> Array | None:
        """`[H, W, 3]` uint8, or None where it was not saved; cells that were never decoded are
        filled up with token 0."""
        return self._look()

    @property
    def pixels(self) -> Array:
        """The picture, or a grey square where it was not saved."""
        picture = self.picture
        return np.full((48, 48, 3), 128, dtype=np.uint8) if picture is None else picture

    @property
    def image(self) -> Image:
        """The pixels, for PIL."""
        return to_pil(self.pixels)


__all__ = ["Candidate"]
