"""Rendering: scenes hold exactly what their specification says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_plugins.models.shapes.evaluate import mixed_specs, random_generator
from scalingar_plugins.models.shapes.grammar import Spec, parse
from scalingar_plugins.models.shapes.scenes import (
    CELL,
    OBJECT_CELLS,
    PALETTE,
    PLACES,
    SIZE,
    TEXTURES,
    TINTS,
    Scene,
    SceneObject,
    cells_of,
    distinct_cells,
    holds,
    render,
    render_batch,
    sample_scene,
)
from scalingar_plugins.models.shapes.silhouettes import OBJECT_SIZE, masks
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES

SPECS = mixed_specs(200, random_generator(0))


@given(st.sampled_from(SPECS), st.integers(0, 2**32 - 1))
def test_a_scene_holds_exactly_what_it_should(spec: Spec, seed: int) -> None:
    scene = sample_scene(spec, random_generator(seed))
    for got, want in zip(scene.objects, spec.objects, strict=True):
        assert want.shape in (None, got.shape)
        assert want.colour in (None, got.colour)
        assert spec.absent not in (got.colour, got.shape)
        assert 0 <= got.row < PLACES and 0 <= got.col < PLACES
    if spec.same_colour:
        assert len({o.colour for o in scene.objects}) == 1
    if spec.relation is not None:
        first, second = scene.objects
        assert holds(spec.relation, first.row - second.row, first.col - second.col)


@given(st.sampled_from(SPECS), st.integers(0, 2**32 - 1))
def test_objects_keep_one_cell_apart(spec: Spec, seed: int) -> None:
    objects = sample_scene(spec, random_generator(seed)).objects
    for i, a in enumerate(objects):
        for b in objects[:i]:
            assert max(abs(a.row - b.row), abs(a.col - b.col)) >= OBJECT_CELLS + 1


@settings(max_examples=30)
@given(st.sampled_from(SPECS), st.integers(0, 2**32 - 1))
def test_a_picture_shows_the_objects_pixels_and_nothing_else_bright(spec: Spec, seed: int) -> None:
    scene = sample_scene(spec, random_generator(seed))
    picture = render(scene)
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    expected = np.zeros((SIZE, SIZE), dtype=bool)
    for item in scene.objects:
        y, x = CELL * item.row, CELL * item.col
        box = np.s_[y : y + OBJECT_SIZE, x : x + OBJECT_SIZE]
        expected[box] |= masks()[item.shape]
        assert (picture[box][masks()[item.shape]] == PALETTE[item.colour]).all()
    assert ((picture.max(-1) > 100) == expected).all()


def test_the_same_seed_draws_the_same_scene() -> None:
    spec = parse("three triangles")
    assert sample_scene(spec, random_generator(7)) == sample_scene(spec, random_generator(7))
    assert sample_scene(spec, random_generator(7)) != sample_scene(spec, random_generator(8))


def test_a_batch_renders_like_its_members() -> None:
    rng = random_generator(2)
    scenes = [sample_scene(spec, rng) for spec in SPECS[:30]]
    assert (render_batch(scenes) == np.stack([render(scene) for scene in scenes])).all()


def test_a_picture_can_be_written_to_without_changing_the_next() -> None:
    scene = Scene((), tint=1, texture="rows")
    before = render(scene)
    render(scene)[:] = 0
    assert (render(scene) == before).all()


def test_silhouettes_fill_their_box_and_differ() -> None:
    for shape in SHAPES:
        mask = masks()[shape]
        assert mask.any(0)[[0, -1]].all() and mask.any(1)[[0, -1]].all()
    for i, a in enumerate(SHAPES):
        for b in SHAPES[:i]:
            common, union = masks()[a] & masks()[b], masks()[a] | masks()[b]
            assert common.sum() / union.sum() < 0.8


def test_relations_exclude_each_other() -> None:
    for dy in range(-9, 10):
        for dx in range(-9, 10):
            names = [r for r in ("left of", "right of", "above", "below") if holds(r, dy, dx)]
            assert len(names) <= 1
            assert (len(names) == 1) == (abs(dy) != abs(dx))
    with pytest.raises(ValueError, match="near"):
        holds("near", 0, 1)


def test_what_a_prompt_leaves_open_varies() -> None:
    rng = random_generator(4)
    scenes = [sample_scene(parse("a circle"), rng) for _ in range(400)]
    assert {s.tint for s in scenes} == set(range(len(TINTS)))
    assert {s.texture for s in scenes} == set(TEXTURES)
    assert {s.objects[0].colour for s in scenes} == set(PALETTE)
    assert len({(s.objects[0].row, s.objects[0].col) for s in scenes}) > 45


def test_an_unknown_texture_is_refused() -> None:
    with pytest.raises(ValueError, match="plain"):
        render(Scene((), texture="paisley"))


def test_four_objects_always_find_room() -> None:
    rng = random_generator(5)
    assert all(len(sample_scene(parse("four rings"), rng).objects) == 4 for _ in range(50))


def test_every_cell_of_every_picture_is_a_known_one() -> None:
    known = {bytes(cell) for cell in distinct_cells()}
    assert len(known) == len(distinct_cells())
    rng = random_generator(6)
    pictures = render_batch([sample_scene(spec, rng) for spec in SPECS])
    assert {bytes(cell) for cells in cells_of(pictures) for cell in cells} <= known


def test_every_known_cell_is_shown_somewhere() -> None:
    shown: set[bytes] = set()
    for tint in range(len(TINTS)):
        scenes = [Scene((), tint, texture, phase) for texture in TEXTURES for phase in range(4)]
        scenes += [
            Scene((SceneObject(shape, colour, 2, 3),), tint)
            for shape in SHAPES
            for colour in COLOURS
        ]
        shown |= {bytes(cell) for cells in cells_of(render_batch(scenes)) for cell in cells}
    assert shown == {bytes(cell) for cell in distinct_cells()}
