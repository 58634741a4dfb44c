"""Pictures of candidates that are still growing, as small as a page needs them.

The model's own decoder draws the tokens that are there; cells that are not there yet are
transparent. A codebook's decoder may cost more than a token: then pictures are made less often, so
that drawing never takes more than a share of the time.
"""

from __future__ import annotations

import base64
import io
import time

import numpy as np
from attrs import evolve

from scalingar_analysis.playground.scene import Growing, Scene
from scalingar_analysis.plots.thumbnails import small
from scalingar_fw import Grid, ModelAdapter, Status, Trajectory
from scalingar_fw.decoding.loop import to_images
from scalingar_fw.decoding.result import Array

#: Pixels of a picture's longer side, beyond which it is reduced.
SIDE = 256
#: Pictures on the page; a search that keeps more candidates shows the first of them.
MOST = 32
#: Drawing may take this share of the time.
SHARE = 0.3


class Painter:
    """Pictures of one scene's candidates as `data:` addresses, remade as they grow."""

    def __init__(self, model: ModelAdapter) -> None:
        self._model = model
        self._made: dict[int, tuple[int, str]] = {}
        self._rest_until = 0.0

    def pictures(self, scene: Scene, final: bool = False) -> dict[int, str]:
        """By candidate. Those that grew are made anew, unless drawing has to rest and this is not
        the `final` look."""
        shown = visible(scene)
        grown = [c for c in shown if self._made.get(c.id, (-1, ""))[0] != len(c.tokens)]
        began = time.monotonic()
        if grown and (final or began >= self._rest_until):
            images = to_images(self._model, [_trajectory(c) for c in grown])
            for candidate, pixels in zip(grown, images, strict=True):
                address = data_address(pixels, len(candidate.tokens), scene.grid)
                self._made[candidate.id] = (len(candidate.tokens), address)
            now = time.monotonic()
            self._rest_until = now + (now - began) * (1 - SHARE) / SHARE
        return {c.id: self._made[c.id][1] for c in shown if c.id in self._made}


def visible(scene: Scene) -> list[Growing]:
    """The candidates that fit on the page: the answer, then the live ones, then the others."""
    ranked = sorted(
        scene.candidates.values(), key=lambda c: (c.id != scene.chosen, c.ended is not None, c.id)
    )
    return sorted(ranked[:MOST], key=lambda c: c.id)


def _trajectory(candidate: Growing) -> Trajectory:
    empty = Trajectory(0, candidate.id, Status.RUNNING, "", np.zeros(0, dtype=np.int64), {})
    return evolve(empty, tokens=np.array(candidate.tokens, dtype=np.int64))


def data_address(pixels: Array, tokens: int, grid: Grid) -> str:
    """`[H, W, 3]` uint8 as a `data:` address, transparent beyond the first `tokens` cells."""
    height, width = pixels.shape[:2]
    # Cell of each pixel; images of odd sizes divide as well as they can.
    rows = np.arange(height) * grid.rows // height
    cols = np.arange(width) * grid.cols // width
    there = rows[:, None] * grid.cols + cols < tokens
    image = small(np.dstack([pixels, np.where(there, 255, 0).astype(np.uint8)]), SIDE)
    buffer = io.BytesIO()
    # The embedded model's squares stay exact; a photograph is a tenth as large as WebP.
    kind = "PNG" if max(image.size) <= 128 else "WEBP"
    image.save(buffer, format=kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


__all__ = ["MOST", "SHARE", "SIDE", "Painter", "data_address", "visible"]
