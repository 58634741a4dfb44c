"""The artefact `thumbnails`: every candidate's image, small, for the report and the maps.

With these a run's folder can be looked at without its model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalingar_analysis.plots.contact_sheet import pick

#: Pixels of the longer side; smaller images stay as they are.
SIDE = 192


def small(pixels: Any, side: int = SIDE) -> Any:
    """A PIL image of `[H, W, 3]` uint8, at most `side` pixels wide and high."""
    import PIL.Image

    image = PIL.Image.fromarray(pixels)
    if max(image.size) > side:
        image.thumbnail((side, side))
    return image


def write(run: Any, path: Path) -> None:
    """Write a folder with `<candidate>.png` for each candidate that the contact sheet shows."""
    shown = pick(run.candidates)
    run.decode_pixels([c.place for c in shown])
    Path(path).mkdir()
    for candidate in shown:
        small(candidate.pixels).save(Path(path) / f"{candidate.id}.png")
