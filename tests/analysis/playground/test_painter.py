"""Pictures of what is there so far, and of nothing else."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.playground.decodes import Decodes
from scalingar_analysis.playground.painter import MOST, Painter, data_address, visible
from scalingar_analysis.playground.scene import Growing, Scene
from scalingar_fw import Grid


def opened(address):
    head, data = address.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


@given(rows=st.integers(1, 6), cols=st.integers(1, 6), side=st.integers(1, 4), data=st.data())
def test_cells_that_are_not_there_yet_are_transparent(rows, cols, side, data):
    tokens = data.draw(st.integers(0, rows * cols))
    pixels = np.full((rows * side, cols * side, 3), 90, dtype=np.uint8)
    image = opened(data_address(pixels, tokens, Grid(rows, cols)))
    solid = image[::side, ::side, 3].ravel() == 255
    assert solid.tolist() == [i < tokens for i in range(rows * cols)]
    assert (image[..., 3] == np.kron(image[::side, ::side, 3], np.ones((side, side)))).all()


def test_a_small_picture_keeps_its_pixels_and_a_large_one_gets_small():
    grid, rng = Grid(4, 4), np.random.default_rng(0)
    small = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert (opened(data_address(small, 16, grid))[..., :3] == small).all()
    large = rng.integers(0, 256, (512, 384, 3), dtype=np.uint8)
    assert opened(data_address(large, 16, grid)).shape == (256, 192, 4)


def test_the_final_pictures_are_those_of_the_result(plan):
    decodes = Decodes([plan()])
    painter = Painter(decodes.sides[0].plan.model)
    for (scene,) in decodes.watch():
        painter.pictures(scene)
    pictures = painter.pictures(decodes.sides[0].scene, final=True)
    run = decodes.sides[0].result
    for candidate in run.candidates:
        image, there = opened(pictures[candidate.id]), len(candidate.tokens)
        assert (image[..., :3] == candidate.pixels)[image[..., 3] == 255].all()
        assert (image[..., 3] == 255).sum() * run.grid.size == there * image[..., 3].size


def test_drawing_rests_where_the_model_s_decoder_is_slow(plan, monkeypatch):
    from scalingar_analysis.playground import painter as module

    made, now = [], [0.0]
    original = module.to_images

    def slow(model, trajectories):
        now[0] += 10.0
        made.append(now[0])
        return original(model, trajectories)

    monkeypatch.setattr(module, "to_images", slow)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    painter = Painter(plan().model)
    scene = Scene("x", n=1, grid=plan().model.grid, candidates={0: Growing(0, [1], [0.5])})
    for count in range(2, 48):  # a token a second
        now[0] += 1.0
        scene.candidates[0] = Growing(0, [1] * count, [0.5] * count)
        assert list(painter.pictures(scene)) == ([0] if made else [])
    assert len(made) * 10 <= 0.4 * now[0]
    before = len(made)
    painter.pictures(scene, final=True)
    assert len(made) == before + 1, "the last look is always drawn"


def test_the_answer_is_on_the_page_whatever_else_is():
    crowd = {i: Growing(i) for i in range(3 * MOST)}
    shown = visible(Scene("x", n=3 * MOST, candidates=crowd, chosen=3 * MOST - 1))
    assert len(shown) == MOST and shown[-1].id == 3 * MOST - 1
