"""The silhouettes of the twelve shapes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalingar_plugins.models.shapes.words import SHAPES

OBJECT_SIZE = 12  #: pixels per side of an object
Bool = NDArray[np.bool_]


@lru_cache(maxsize=1)
def masks() -> dict[str, Bool]:
    """Each shape's silhouette, bool ``[12, 12]``, touching all four sides of its box, in one piece.

    Any two differ by enough for the judge: they overlap (intersection over union) by at most 0.8.
    """
    y, x = np.mgrid[0:OBJECT_SIZE, 0:OBJECT_SIZE] - (OBJECT_SIZE - 1) / 2
    radius = np.hypot(x, y)
    # Two pixels wide at the tip, twelve at the base.
    triangle = np.abs(x) <= (y + 5.5) / 2 + 0.5
    table = {
        "square": np.ones((OBJECT_SIZE, OBJECT_SIZE), dtype=np.bool_),
        "circle": radius <= 6.0,
        "triangle": triangle,
        "cross": (np.abs(x) < 2) | (np.abs(y) < 2),
        "diamond": np.abs(x) + np.abs(y) <= 6.0,
        "ring": (radius <= 6.0) & (radius > 3.2),
        "arch": (y < -2) | (np.abs(x) > 2),
        "tee": (y < -2) | (np.abs(x) < 2),
        "hourglass": np.abs(x) <= np.abs(y) + 0.5,
        "wedge": x <= y,
        "ell": (x < -2) | (y > 2),
        "chevron": triangle & (np.abs(x) > (y + 1.5) / 2 - 0.5),
    }
    for mask in table.values():
        mask.flags.writeable = False
    return {shape: table[shape] for shape in SHAPES}
