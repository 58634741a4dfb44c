"""Keyed noise: a number for each (seed, prompt, candidate, step), the same for ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.decoding.noise import (
    RESAMPLING,
    SAMPLING,
    SELECTION,
    Prompt,
    check_seed,
    check_seeds,
    noise_table,
    uniforms,
)
from scalingar_fw.errors import ScalingarError

CAT = Prompt("a cat")
seeds = st.integers(0, 2**64 - 1)
prompts = st.builds(
    Prompt,
    text=st.text(max_size=10),
    class_id=st.none() | st.integers(0, 999),
    negative=st.none() | st.text(max_size=5),
)


def test_the_stream_is_pinned() -> None:
    """A change here changes every published image: it needs a major version."""
    assert Prompt("a cat").key == 0xE8CB7AC43EA51FA78727AFEA0F35BA8B
    assert uniforms(0, CAT, 0, 3).tolist() == [
        0.6292749079632779,
        0.8972069894982164,
        0.6004024453767416,
    ]
    assert uniforms(7, CAT, 3, 1, SELECTION).tolist() == [0.4112317900990352]


@given(seeds, prompts, st.integers(0, 1000), st.integers(0, 40), st.integers(0, 40))
def test_a_steps_number_does_not_depend_on_how_many_are_drawn(
    seed: int, prompt: Prompt, candidate: int, short: int, more: int
) -> None:
    long = uniforms(seed, prompt, candidate, short + more)
    assert uniforms(seed, prompt, candidate, short).tolist() == long[:short].tolist()


@given(seeds, prompts, st.integers(0, 1000))
def test_numbers_lie_in_the_half_open_unit_interval(
    seed: int, prompt: Prompt, candidate: int
) -> None:
    unit = uniforms(seed, prompt, candidate, 64)
    assert unit.dtype == np.float64
    assert (unit >= 0).all()
    assert (unit < 1).all()


def test_each_part_of_the_key_gives_another_stream() -> None:
    streams = [
        uniforms(0, CAT, 0, 8),
        uniforms(1, CAT, 0, 8),
        uniforms(0, Prompt("a dog"), 0, 8),
        uniforms(0, Prompt("a cat", negative="a dog"), 0, 8),
        uniforms(0, Prompt(class_id=3), 0, 8),
        uniforms(0, Prompt("3"), 0, 8),
        uniforms(0, CAT, 1, 8),
        uniforms(0, CAT, 0, 8, SELECTION),
        uniforms(0, CAT, 0, 8, RESAMPLING),
    ]
    flat = np.concatenate(streams)
    assert len(np.unique(flat)) == len(flat)


def test_streams_do_not_overlap_further_on() -> None:
    """The counter's lowest word counts steps, so candidates never run into each other."""
    long = np.concatenate([uniforms(0, CAT, c, 4096) for c in range(8)])
    assert len(np.unique(long)) == len(long)


def test_noise_looks_uniform_over_candidates_and_over_steps() -> None:
    table = noise_table([0], [CAT], [0] * 512, range(512), 256)
    for axis in (0, 1):  # means of m uniforms have deviation sqrt(1/12m); five of them are allowed
        mean = table.mean(axis)
        assert np.abs(mean - 0.5).max() < 5 * np.sqrt(1 / 12 / table.shape[axis])
    between = np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]
    assert abs(between) < 5 / np.sqrt(table.size)


def test_the_table_names_its_rows_by_prompt_and_candidate() -> None:
    dog = Prompt("a dog")
    table = noise_table([3, 4], [CAT, dog], [1, 0, 1], [2, 2, 0], 5)
    assert table[0].tolist() == uniforms(4, dog, 2, 5, SAMPLING).tolist()
    assert table[1].tolist() == uniforms(3, CAT, 2, 5).tolist()
    assert table[2].tolist() == uniforms(4, dog, 0, 5).tolist()


def test_a_prompt_is_its_content() -> None:
    assert Prompt("a cat").key == Prompt("a cat").key
    assert Prompt("a cat") == Prompt("a cat")
    assert Prompt("a cat").label == "a cat"
    assert Prompt(class_id=207).label == "class 207"


def test_any_text_has_a_key() -> None:
    """A terminal with a foreign encoding hands over lone surrogates."""
    keys = {Prompt(text).key for text in ("", "ü", "u\u0308", "\udcfc", "猫", "\\udcfc", "a\nb")}
    assert len(keys) == 7


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, None, "0"])
def test_a_seed_that_cannot_key_the_generator_is_refused(seed: object) -> None:
    with pytest.raises(ScalingarError, match=r"must be a whole number in \[0, 2\*\*64\)"):
        check_seed(seed)


def test_the_largest_seed_is_as_good_as_any() -> None:
    assert check_seed(2**64 - 1) == 2**64 - 1
    assert uniforms(2**64 - 1, CAT, 0, 1).shape == (1,)


def test_one_seed_serves_all_prompts_and_a_list_must_have_one_each() -> None:
    assert check_seeds(5, 3) == (5, 5, 5)
    assert check_seeds([1, 2], 2) == (1, 2)
    with pytest.raises(ScalingarError, match="2 seeds for 3 prompts"):
        check_seeds([1, 2], 3)
    with pytest.raises(ScalingarError, match="whole number"):
        check_seeds("7", 1)
