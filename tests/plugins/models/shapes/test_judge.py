"""The judge says yes to what is right and no to everything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_plugins.models.shapes.evaluate import (
    CONTRADICTIONS,
    contradiction,
    measure_judge,
    mixed_specs,
    random_generator,
)
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.judge import find_objects, judge, judge_batch, look
from scalingar_plugins.models.shapes.scenes import (
    TINTS,
    Scene,
    SceneObject,
    render,
    sample_scene,
)

CIRCLE = SceneObject("circle", "red", 0, 0)
SQUARE = SceneObject("square", "blue", 0, 4)


def test_rendered_scenes_are_right_and_contradicting_ones_are_not() -> None:
    rates = measure_judge(300, seed=11)
    assert rates["right"] == 1.0
    assert {kind: rates[f"accepted/{kind}"] for kind in CONTRADICTIONS} == dict.fromkeys(
        CONTRADICTIONS, 0.0
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_verdict_is_wrong_exactly_when_it_gives_reasons(seed: int) -> None:
    rng = random_generator(seed)
    (spec,) = mixed_specs(1, rng)
    kind = CONTRADICTIONS[int(rng.integers(len(CONTRADICTIONS)))]
    pictures = [render(sample_scene(spec, rng)), contradiction(kind, spec, rng)]
    for picture in pictures:
        if picture is not None:
            verdict = judge(picture, spec)
            assert verdict.correct == (not verdict.reasons) == bool(verdict)


def test_what_it_found_is_reported() -> None:
    (found,) = find_objects(render(Scene((CIRCLE, SQUARE)))[None])
    assert [(o.shape, o.colour) for o in found] == [("circle", "red"), ("square", "blue")]
    assert (found[0].row, found[0].col) == (5.5, 5.5)
    assert found[0].overlap == 1.0


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red circle", "expected 1 object"),
        ("three circles", "expected 3 object"),
        ("a blue circle and a red square", "expected blue circle and red square"),
        ("two red things", "expected red thing and red thing"),
        ("a circle and a ring", "found red circle and blue square"),
        ("a circle right of a square", "circle is not right of the square"),
        ("a circle above a square", "not above"),
        ("a circle and a square of the same colour", "not of the same colour"),
        ("a circle and a square and no blue", "'blue', which the prompt forbids"),
    ],
)
def test_a_reason_says_what_is_wrong(prompt: str, reason: str) -> None:
    verdict = judge(render(Scene((CIRCLE, SQUARE))), prompt)
    assert not verdict
    assert reason in "; ".join(verdict.reasons)


@pytest.mark.parametrize(
    "prompt",
    [
        "a circle and a square",
        "a square and a circle",
        "a red circle and a blue square",
        "a circle left of a square",
        "a square right of a circle",
        "a red circle left of a blue square",
        "a red thing and a blue thing",
        "a circle and a square and no green",
        "a picture with a circle that is red left of a square that is blue",
    ],
)
def test_every_true_description_is_accepted(prompt: str) -> None:
    assert judge(render(Scene((CIRCLE, SQUARE))), prompt)


@pytest.mark.parametrize("colour", [(140, 140, 140), (0, 0, 139), (90, 90, 90)])
def test_an_extra_square_in_a_colour_of_no_name_is_seen(colour: tuple[int, int, int]) -> None:
    picture = render(Scene((CIRCLE,)))
    picture[30:42, 30:42] = colour
    assert not judge(picture, "a red circle")


def test_the_other_tint_is_background_too() -> None:
    picture = render(Scene((CIRCLE,), tint=0))
    picture[24:30, 24:30] = TINTS[1]
    assert judge(picture, "a red circle")


def test_a_diagonal_pair_stands_in_no_relation() -> None:
    picture = render(Scene((CIRCLE, SceneObject("square", "blue", 4, 4))))
    for relation in ("left of", "right of", "above", "below"):
        assert not judge(picture, f"a circle {relation} a square")
    assert judge(picture, "a circle and a square")


def test_an_empty_picture_holds_nothing() -> None:
    verdict = judge(render(Scene(())), "a circle")
    assert verdict.objects == () and "found 0" in verdict.reasons[0]


def test_a_speck_is_forgiven_and_a_blob_is_not() -> None:
    picture = render(Scene((CIRCLE,)))
    picture[40, 40:42] = 255
    assert look(picture[None])[0].stray == 2 and judge(picture, "a red circle")
    picture[30, 30:35] = 255
    assert "7 stray pixels" in judge(picture, "a red circle").reasons
    picture[40:44, 40:44] = 255
    verdict = judge(picture, "a red circle")
    assert "malformed" in verdict.reasons[0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_noise_of_a_decoder_does_not_change_the_verdict(seed: int) -> None:
    rng = random_generator(seed)
    (spec,) = mixed_specs(1, rng)
    picture = render(sample_scene(spec, rng)).astype(np.int16)
    noisy = np.clip(picture + rng.integers(-8, 9, picture.shape), 0, 255).astype(np.uint8)
    assert judge(noisy, spec)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_pure_noise_is_never_right(seed: int) -> None:
    noise = random_generator(seed).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    assert not judge(noise, "a circle")


def test_a_batch_is_judged_like_its_members() -> None:
    rng = random_generator(9)
    specs = mixed_specs(12, rng)
    pictures = np.stack([render(sample_scene(spec, rng)) for spec in specs])
    wanted = specs[::-1]
    together = judge_batch(pictures, wanted)
    assert together == [judge(p, s) for p, s in zip(pictures, wanted, strict=True)]


def test_pictures_of_another_size_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        find_objects(np.zeros((1, 48, 48, 3)))
    with pytest.raises(ValueError, match="48"):
        find_objects(np.zeros((1, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="1 pictures for 2"):
        judge_batch(np.zeros((1, 48, 48, 3), dtype=np.uint8), [parse("a circle")] * 2)


def test_an_unknown_contradiction_is_refused() -> None:
    with pytest.raises(ValueError, match="blob"):
        contradiction("typo", parse("a circle"), random_generator(0))
