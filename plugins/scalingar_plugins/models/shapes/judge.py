"""A programmatic judge: does a picture show exactly what its prompt says?

Find the picture's tint, segment whatever is neither tint nor texture, label connected components,
classify each component's shape by template overlap and its colour by the nearest palette entry,
then compare with the specification.  The judge must be able to say no: a component that overlaps
no template well, or that mixes colours, is *malformed* and makes the picture wrong whatever else it
shows, and so do an extra object and more than a few stray pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from scalingar_plugins.models.shapes.grammar import Spec, parse
from scalingar_plugins.models.shapes.scenes import PALETTE, SIZE, TINTS, holds, texture_colour
from scalingar_plugins.models.shapes.silhouettes import OBJECT_SIZE, masks
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES

#: A pixel is background if it lies within this distance (RGB, 0..255) of the picture's tint or of
#: that tint's texture. Palette entries are at least 109 away, so any visible mark is foreground.
BACKGROUND_DISTANCE = 45.0
#: Components of fewer pixels are specks, not objects.
SPECK = 6
#: Specks may have this many pixels in all.
MAX_STRAY = 6
#: Least overlap (intersection over union) with a template.  Templates overlap each other by at
#: most 0.79, and a shape that lacks the visible part of a cell overlaps its own by 0.93 or less.
MIN_OVERLAP = 0.94
#: Least lead over the second best template.
MIN_LEAD = 0.05
#: Least share of a component's pixels that agree on the colour: a third of a cell may not.
MIN_AGREEMENT = 0.95
#: Largest distance (RGB, 0..255) of the mean inner colour from its palette entry.
MAX_COLOUR_DISTANCE = 70.0
#: A relation needs its axis to lead by this many pixels (rendered scenes lead by 4 or more).
RELATION_MARGIN = 2.0


@dataclass(frozen=True)
class FoundObject:
    """One component of a picture.

    Attributes:
        shape: The best template, or None if the component is malformed.
        colour: The nearest colour word, or None if the component mixes colours.
        row, col: Centre of the bounding box, in pixels from the top left.
        area: Pixels.
        overlap: Intersection over union with the best template.
        complaint: Why it is malformed; empty otherwise.
    """

    shape: str | None
    colour: str | None
    row: float
    col: float
    area: int
    overlap: float
    complaint: str = ""

    def __str__(self) -> str:
        return self.complaint or f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Sight:
    """What a picture shows: its objects, top to bottom by their first pixel, and stray pixels."""

    objects: tuple[FoundObject, ...]
    stray: int = 0


@dataclass(frozen=True)
class Judgement:
    """The judge's answer: ``reasons`` is empty exactly when ``correct``."""

    correct: bool
    reasons: tuple[str, ...]
    objects: tuple[FoundObject, ...]

    def __bool__(self) -> bool:
        return self.correct


# A 2-pixel margin on each side lets a template slide by one pixel without touching the border.
_MARGIN = 2
_WINDOW = OBJECT_SIZE + 2 * _MARGIN


@lru_cache(maxsize=1)
def _templates() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every shape at every shift of up to one pixel: ``[12 * 9, 16 * 16]`` and the areas."""
    table = []
    for shape in SHAPES:
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            canvas = np.zeros((_WINDOW, _WINDOW), dtype=np.float32)
            y, x = _MARGIN + dy, _MARGIN + dx
            canvas[y : y + OBJECT_SIZE, x : x + OBJECT_SIZE] = masks()[shape]
            table.append(canvas.ravel())
    stacked = np.stack(table)
    return stacked, stacked.sum(1)


_PALETTE = np.array([PALETTE[colour] for colour in COLOURS], dtype=np.float32)


def _label(foreground: torch.Tensor) -> torch.Tensor:
    """Label 8-connected components: int32-valued float ``[B, 48, 48]``, 0 for background.

    The largest pixel index spreads by 3 x 3 max pooling until nothing changes.  Vectorised over
    the batch, and as many rounds as the longest path inside a component.
    """
    index = torch.arange(1, SIZE * SIZE + 1, dtype=torch.float32).view(1, 1, SIZE, SIZE)
    mask = foreground.unsqueeze(1).float()
    labels = index * mask
    while True:
        spread = functional.max_pool2d(labels, 3, 1, 1) * mask
        spread = functional.max_pool2d(spread, 3, 1, 1) * mask
        if torch.equal(spread, labels):
            return labels.squeeze(1)
        labels = spread


def _describe(mask: NDArray[np.bool_], picture: NDArray[np.float32]) -> FoundObject:
    """Classify one component; ``mask`` is bool ``[48, 48]``."""
    rows = np.flatnonzero(mask.any(1))
    cols = np.flatnonzero(mask.any(0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(cols[0]), int(cols[-1])
    area = int(mask.sum())
    row, col = (top + bottom) / 2, (left + right) / 2
    height, width = bottom - top + 1, right - left + 1
    place = f"at row {row:.0f}, column {col:.0f}"

    pixels = picture[top : bottom + 1, left : right + 1]
    inside = mask[top : bottom + 1, left : right + 1]
    values = pixels[inside]
    distance = np.square(values[:, None, :] - _PALETTE).sum(-1)
    votes = np.bincount(distance.argmin(1), minlength=len(COLOURS))
    best_colour = int(votes.argmax())
    agreement = float(votes[best_colour] / len(values))
    off = float(np.linalg.norm(np.median(values, axis=0) - _PALETTE[best_colour]))
    if agreement < MIN_AGREEMENT:
        colour, complaint = None, f"an object {place} mixes colours"
    elif off > MAX_COLOUR_DISTANCE:
        colour, complaint = None, f"an object {place} has no known colour"
    else:
        colour, complaint = COLOURS[best_colour], ""

    if not (OBJECT_SIZE - 2 <= height <= _WINDOW - 2 and OBJECT_SIZE - 2 <= width <= _WINDOW - 2):
        why = f"a malformed object of {width} x {height} pixels {place}"
        return FoundObject(None, colour, row, col, area, 0.0, why)
    # Align the corner of the bounding box, centred on the nominal size, with the template's.
    window = np.zeros((_WINDOW, _WINDOW), dtype=np.float32)
    y = _MARGIN + (OBJECT_SIZE - height) // 2
    x = _MARGIN + (OBJECT_SIZE - width) // 2
    window[y : y + height, x : x + width] = inside
    templates, areas = _templates()
    common = templates @ window.ravel()
    overlaps = (common / (areas + area - common)).reshape(len(SHAPES), -1).max(1)
    order = np.argsort(-overlaps)
    best = float(overlaps[order[0]])
    if best < MIN_OVERLAP or best - float(overlaps[order[1]]) < MIN_LEAD:
        why = f"a malformed object {place} (nearest: {SHAPES[order[0]]}, overlap {best:.2f})"
        return FoundObject(None, colour, row, col, area, best, why)
    return FoundObject(SHAPES[order[0]], colour, row, col, area, best, complaint)


def _foreground(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that are neither tint nor texture, bool ``[B, 48, 48]``."""
    values = pictures.astype(np.float32)
    distance = np.stack(
        [
            np.minimum(
                np.linalg.norm(values - np.array(tint, dtype=np.float32), axis=-1),
                np.linalg.norm(values - texture_colour(index).astype(np.float32), axis=-1),
            )
            for index, tint in enumerate(TINTS)
        ]
    )
    # The tint that explains most pixels is the picture's.
    best = (distance <= BACKGROUND_DISTANCE / 3).sum((2, 3)).argmax(0)
    chosen = np.take_along_axis(distance, best[None, :, None, None], axis=0)[0]
    far: NDArray[np.bool_] = chosen > BACKGROUND_DISTANCE
    return far


def look(pictures: ArrayLike) -> list[Sight]:
    """Return what each picture shows.

    Args:
        pictures: uint8 ``[B, 48, 48, 3]``.

    Raises:
        ValueError: The array has another shape or type.
    """
    array = np.asarray(pictures)
    if array.ndim != 4 or array.shape[1:] != (SIZE, SIZE, 3) or array.dtype != np.uint8:
        raise ValueError(
            f"pictures of shape {array.shape} and type {array.dtype}: the judge takes uint8 "
            f"[B, {SIZE}, {SIZE}, 3]."
        )
    found: list[Sight] = []
    for start in range(0, len(array), 256):
        chunk = array[start : start + 256]
        labels = _label(torch.from_numpy(_foreground(chunk))).numpy()
        for picture, label in zip(chunk, labels, strict=True):
            values, counts = np.unique(label, return_counts=True)
            seen = values > 0
            keep = values[seen & (counts >= SPECK)]
            stray = int(counts[seen & (counts < SPECK)].sum())
            picture32 = picture.astype(np.float32)
            found.append(Sight(tuple(_describe(label == v, picture32) for v in keep), stray))
    return found


def find_objects(pictures: ArrayLike) -> list[tuple[FoundObject, ...]]:
    """The objects of each picture; see :func:`look`."""
    return [sight.objects for sight in look(pictures)]


def check(sight: Sight, spec: Spec) -> Judgement:
    """Compare what a picture shows with what it should show."""
    found = sight.objects
    reasons = [o.complaint for o in found if o.complaint]
    if sight.stray > MAX_STRAY:
        reasons.append(f"{sight.stray} stray pixels")
    if len(found) != len(spec.objects):
        reasons.append(f"expected {len(spec.objects)} object(s), found {len(found)}")
    if not reasons:
        reasons = _contents(found, spec)
    return Judgement(not reasons, tuple(reasons), found)


def _contents(found: tuple[FoundObject, ...], spec: Spec) -> list[str]:
    """Complaints about well-formed objects of the right number."""
    if spec.same_colour and len({o.colour for o in found}) > 1:
        return ["the objects are not of the same colour"]
    if spec.absent is not None and any(spec.absent in (o.colour, o.shape) for o in found):
        return [f"it shows {spec.absent!r}, which the prompt forbids"]
    # At most 4! assignments; a relation binds the first two roles.
    named = False
    for order in itertools.permutations(found):
        fits = all(
            want.shape in (None, got.shape) and want.colour in (None, got.colour)
            for got, want in zip(order, spec.objects, strict=True)
        )
        named |= fits
        if fits and _related(order, spec.relation):
            return []
    if named:
        return [f"the {spec.objects[0]} is not {spec.relation} the {spec.objects[1]}"]
    wanted = " and ".join(str(o) for o in spec.objects)
    return [f"expected {wanted}, found {' and '.join(str(o) for o in found)}"]


def _related(order: Sequence[FoundObject], relation: str | None) -> bool:
    if relation is None:
        return True
    dy, dx = order[0].row - order[1].row, order[0].col - order[1].col
    return holds(relation, dy, dx, RELATION_MARGIN)


def judge_batch(pictures: ArrayLike, specs: Sequence[Spec | str]) -> list[Judgement]:
    """Judge pictures, uint8 ``[B, 48, 48, 3]``, against specifications or prompts.

    Raises:
        ValueError: Shapes or lengths do not fit, or a prompt cannot be read.
    """
    wanted = [parse(spec) if isinstance(spec, str) else spec for spec in specs]
    seen = look(pictures)
    if len(seen) != len(wanted):
        raise ValueError(f"{len(seen)} pictures for {len(wanted)} specifications.")
    return [check(sight, spec) for sight, spec in zip(seen, wanted, strict=True)]


def judge(picture: ArrayLike, spec: Spec | str) -> Judgement:
    """Judge one picture, uint8 ``[48, 48, 3]``; see :func:`judge_batch`."""
    return judge_batch(np.asarray(picture)[None], [spec])[0]
