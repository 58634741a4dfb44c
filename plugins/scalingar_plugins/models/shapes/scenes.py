"""Scenes of the shapes world and their rendering to 48 x 48 RGB.

Everything lies on a grid of 8 x 8 cells of 6 x 6 pixels, the tokenizer's grid.  An object covers
2 x 2 cells; two objects keep at least one cell apart.  The cells under an object show the plain
tint, so that a patch of an object's edge looks the same on every texture: fewer distinct patches,
and so fewer tokens to learn, without making the pictures any less varied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalingar_plugins.models.shapes.grammar import Spec
from scalingar_plugins.models.shapes.silhouettes import OBJECT_SIZE, masks
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES

CELL = 6  #: pixels per side of a cell, the tokenizer's downsampling
GRID = 8  #: cells per side
SIZE = CELL * GRID  #: pixels per side of a picture
OBJECT_CELLS = OBJECT_SIZE // CELL  #: cells per side of an object
PLACES = GRID - OBJECT_CELLS + 1  #: positions of an object along one axis

#: RGB of the colour words; any two are at least 70 apart.
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (226, 40, 44),
    "orange": (255, 142, 20),
    "yellow": (252, 236, 60),
    "green": (48, 190, 72),
    "cyan": (64, 222, 230),
    "blue": (48, 92, 246),
    "purple": (178, 62, 222),
    "white": (246, 246, 246),
    "pink": (255, 150, 200),
    "brown": (150, 90, 40),
}
#: Background tints: dark, and told apart by hue.
TINTS: tuple[tuple[int, int, int], ...] = ((26, 28, 36), (34, 36, 70))
TEXTURES: tuple[str, ...] = ("plain", "rows", "columns", "dots")
TEXTURE_LIGHT = 26  #: how much brighter than its tint a texture is, per channel
PHASES = 4  #: shifts of a texture, in cells

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class SceneObject:
    """An object; ``row`` and ``col`` are its top left cell, each in ``[0, PLACES)``."""

    shape: str
    colour: str
    row: int
    col: int


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows."""

    objects: tuple[SceneObject, ...]
    tint: int = 0
    texture: str = "plain"
    phase: int = 0


@lru_cache(maxsize=256)
def _sprite(shape: str, colour: str, tint: int) -> UInt8:
    mask = masks()[shape][..., None]
    paint, ground = (np.array(rgb, dtype=np.uint8) for rgb in (PALETTE[colour], TINTS[tint]))
    sprite: UInt8 = np.where(mask, paint, ground)
    return sprite


def texture_colour(tint: int) -> NDArray[np.uint8]:
    """RGB of a tint's texture."""
    return (np.array(TINTS[tint]) + TEXTURE_LIGHT).astype(np.uint8)


@lru_cache(maxsize=256)
def _background(tint: int, texture: str, phase: int) -> UInt8:
    picture = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    picture[:] = TINTS[tint]
    light = texture_colour(tint)
    period = CELL * PHASES
    lines = np.arange(CELL * phase + 2, SIZE, period)
    if texture == "rows":
        picture[lines] = light
    elif texture == "columns":
        picture[:, lines] = light
    elif texture == "dots":
        for dy in (0, 1):
            for dx in (0, 1):
                picture[np.ix_(lines + dy, lines + dx)] = light
    elif texture != "plain":
        raise ValueError(f"texture={texture!r} is unknown; choose one of {', '.join(TEXTURES)}.")
    picture.flags.writeable = False
    return picture


def render(scene: Scene) -> UInt8:
    """Return the picture of a scene, uint8 ``[48, 48, 3]``."""
    picture: UInt8 = render_batch([scene])[0]
    return picture


def render_batch(scenes: Sequence[Scene]) -> UInt8:
    """Return the pictures of several scenes, uint8 ``[B, 48, 48, 3]``."""
    out = np.empty((len(scenes), SIZE, SIZE, 3), dtype=np.uint8)
    for picture, scene in zip(out, scenes, strict=True):
        picture[:] = _background(scene.tint, scene.texture, scene.phase)
        for item in scene.objects:
            y, x = CELL * item.row, CELL * item.col
            sprite = _sprite(item.shape, item.colour, scene.tint)
            picture[y : y + OBJECT_SIZE, x : x + OBJECT_SIZE] = sprite
    return out


def cells_of(pictures: UInt8) -> UInt8:
    """Cut pictures ``[B, 48, 48, 3]`` into cells in raster order, ``[B, 64, 108]``."""
    batch, height, width, _ = pictures.shape
    parts = pictures.reshape(batch, height // CELL, CELL, width // CELL, CELL, 3)
    cells: UInt8 = parts.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, CELL * CELL * 3)
    return cells


@lru_cache(maxsize=1)
def distinct_cells() -> UInt8:
    """Every cell that a rendered scene can show, uint8 ``[K, 108]``, in a fixed order."""
    scenes: list[Scene] = [
        Scene((), tint, texture, phase)
        for tint in range(len(TINTS))
        for texture in TEXTURES
        for phase in range(PHASES)
    ]
    scenes += [
        Scene((SceneObject(shape, colour, 0, 0),), tint)
        for tint in range(len(TINTS))
        for shape in SHAPES
        for colour in COLOURS
    ]
    found = cells_of(render_batch(scenes)).reshape(-1, CELL * CELL * 3)
    _, first = np.unique(found, axis=0, return_index=True)
    table: UInt8 = found[np.sort(first)]
    table.flags.writeable = False
    return table


def holds(relation: str, dy: float, dx: float, margin: float = 0.0) -> bool:
    """Whether an object offset by ``(dy, dx)`` from another stands in ``relation`` to it.

    The axis of the larger offset decides, so the four relations exclude each other; ``margin``
    (same unit as the offsets) is how much larger it must be.  GenEval lets diagonal pairs satisfy
    two relations; a world made for exact judging is better off with one answer.

    Raises:
        ValueError: ``relation`` is unknown.
    """
    along, across = {
        "left of": (-dx, dy),
        "right of": (dx, dy),
        "above": (-dy, dx),
        "below": (dy, dx),
    }.get(relation, (None, None))
    if along is None or across is None:
        raise ValueError(f"relation={relation!r} is unknown.")
    return along > abs(across) + margin


@lru_cache(maxsize=8)
def _layouts(relation: str | None) -> NDArray[np.int64]:
    """All ordered places of two objects (optionally in a relation), int ``[L, 2, 2]``."""
    cells = np.arange(PLACES)
    grid = np.stack(np.meshgrid(cells, cells, cells, cells, indexing="ij"), -1).reshape(-1, 2, 2)
    offset = grid[:, 0] - grid[:, 1]
    keep = np.abs(offset).max(-1) > OBJECT_CELLS
    if relation is not None:
        keep &= np.array([holds(relation, float(dy), float(dx)) for dy, dx in offset.tolist()])
    kept: NDArray[np.int64] = grid[keep]
    return kept


def _places(number: int, relation: str | None, rng: np.random.Generator) -> list[list[int]]:
    """Uniform over all layouts that keep objects one cell apart and obey the relation."""
    if number == 1:
        return [rng.integers(0, PLACES, 2).tolist()]
    if number == 2:
        table = _layouts(relation)
        places: list[list[int]] = table[rng.integers(len(table))].tolist()
        return places
    while True:
        draws = rng.integers(0, PLACES, (64, number, 2))
        apart = np.ones(len(draws), dtype=np.bool_)
        for i in range(number):
            for j in range(i):
                apart &= np.abs(draws[:, i] - draws[:, j]).max(-1) > OBJECT_CELLS
        if apart.any():
            found: list[list[int]] = draws[int(apart.argmax())].tolist()
            return found


def sample_scene(spec: Spec, rng: np.random.Generator) -> Scene:
    """Draw a scene that holds exactly what ``spec`` says; whatever it leaves open is random."""
    places = _places(len(spec.objects), spec.relation, rng)
    extra = rng.integers(0, 1 << 30, 3 + len(spec.objects)).tolist()
    allowed = [colour for colour in COLOURS if colour != spec.absent]
    shapes = [shape for shape in SHAPES if shape != spec.absent]
    drawn = [
        o.colour or allowed[draw % len(allowed)]
        for o, draw in zip(spec.objects, extra[3:], strict=True)
    ]
    if spec.same_colour:
        named = [o.colour for o in spec.objects if o.colour]
        drawn = [named[0] if named else drawn[0]] * len(drawn)
    objects = tuple(
        SceneObject(o.shape or shapes[draw // 64 % len(shapes)], colour, row, col)
        for o, colour, draw, (row, col) in zip(spec.objects, drawn, extra[3:], places, strict=True)
    )
    return Scene(
        objects,
        tint=extra[0] % len(TINTS),
        texture=TEXTURES[extra[1] % len(TEXTURES)],
        phase=extra[2] % PHASES,
    )
