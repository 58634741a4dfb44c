"""Tokenizer, text encoder, generator and their weights files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scalingar_plugins.models.shapes import train_generator
from scalingar_plugins.models.shapes.evaluate import (
    generate,
    measure_tokenizer,
    mixed_specs,
    random_generator,
)
from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig, sample_tokens
from scalingar_plugins.models.shapes.prompts import split_items
from scalingar_plugins.models.shapes.scenes import render_batch, sample_scene
from scalingar_plugins.models.shapes.text import TextConfig, WordEncoder, prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.weights import (
    TOKENIZER_FILE,
    WeightsError,
    default_folder,
    load_generator,
    load_tokenizer,
    read_weights,
    save_generator,
    save_tokenizer,
    save_weights,
)
from scalingar_plugins.models.shapes.words import PromptError, UnknownWordError

CODES = Tokenizer.of_world().config.codebook
TINY = GeneratorConfig(CODES, dim=24, layers=1, heads=2, text_layers=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer()


@pytest.fixture
def tiny(tokenizer: Tokenizer) -> Iterator[Generator]:
    generator = Generator(TINY)
    train_generator.initialise_generator(generator, tokenizer.codebook, seed=0)
    with torch.no_grad():
        generator.decoder.output.weight.normal_(generator=torch.Generator().manual_seed(1))
    yield generator.eval()


def _pictures(count: int, seed: int = 0) -> torch.Tensor:
    rng = random_generator(seed)
    return torch.from_numpy(
        render_batch([sample_scene(spec, rng) for spec in mixed_specs(count, rng)])
    )


# Tokenizer ---------------------------------------------------------------------------------------


def test_tokens_hold_a_picture_to_the_byte(tokenizer: Tokenizer) -> None:
    pictures = _pictures(40)
    tokens = tokenizer.encode(pictures)
    assert tokens.shape == (40, 64) and tokens.dtype == torch.int64
    assert torch.equal(tokenizer.decode(tokens), pictures)
    assert measure_tokenizer(tokenizer, 60, seed=5) | {"codes": 0} == {
        "right": 1.0, "codes": 0, "error": 0.0,
    }  # fmt: skip


def test_the_shipped_codes_are_todays_world(tokenizer: Tokenizer) -> None:
    assert torch.equal(tokenizer.cells, Tokenizer.of_world().cells)
    assert torch.equal(
        tokenizer.encode(tokenizer.decode(torch.arange(CODES // 64 * 64).view(-1, 64))),
        torch.arange(CODES // 64 * 64).view(-1, 64),
    )


def test_a_cell_that_is_no_code_takes_the_nearest(tokenizer: Tokenizer) -> None:
    pictures = _pictures(4)
    noisy = (pictures.int() + 3).clamp(0, 255).to(torch.uint8)
    assert torch.equal(tokenizer.encode(noisy), tokenizer.encode(pictures))


def test_equal_cells_get_equal_tokens_wherever_they_lie(tokenizer: Tokenizer) -> None:
    picture = _pictures(1)
    tokens = tokenizer.encode(picture).view(8, 8)
    rolled = tokenizer.encode(picture.roll((6, 12), dims=(1, 2))).view(8, 8)
    assert torch.equal(rolled, tokens.roll((1, 2), dims=(0, 1)))


def test_tokens_outside_codebook_or_grid_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=str(CODES - 1)):
        tokenizer.decode(torch.full((1, 64), CODES))
    with pytest.raises(ValueError, match="side"):
        tokenizer.decode(torch.zeros(1, 63, dtype=torch.int64))


# Text --------------------------------------------------------------------------------------------


def test_prompts_become_a_fixed_number_of_vectors() -> None:
    encoder = WordEncoder(TextConfig(dim=24, heads=2))
    vectors = encoder.encode_prompts(["a circle", "three red rings", None])
    assert vectors.shape == (3, encoder.config.length, 24)
    assert bool(torch.isfinite(vectors).all())


def test_a_prompts_vectors_do_not_depend_on_its_neighbours() -> None:
    encoder = WordEncoder(TextConfig(dim=24, heads=2))
    alone = encoder.encode_prompts(["a circle"])
    beside = encoder.encode_prompts(["a red circle and a blue square", "a circle"])
    torch.testing.assert_close(alone[0], beside[1])


def test_the_order_of_words_matters() -> None:
    encoder = WordEncoder(TextConfig(dim=24, heads=2))
    first, second = encoder.encode_prompts(["a ring above a cross", "a cross above a ring"])
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_text_encoder_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UnknownWordError, match="'hexagon'.*circle"):
        prompt_ids(["a red hexagon"])
    with pytest.raises(PromptError):
        prompt_ids([""])
    with pytest.raises(ValueError, match="heads"):
        TextConfig(dim=25)


# Generator ---------------------------------------------------------------------------------------


def test_logits_of_a_token_do_not_see_it_or_later_ones(tiny: Generator) -> None:
    ids = prompt_ids(["a circle"])
    tokens = torch.arange(64)[None]
    changed = tokens.clone()
    changed[:, 30:] = 5
    before, after = tiny(ids, tokens), tiny(ids, changed)
    assert before.shape == (1, 64, CODES)
    torch.testing.assert_close(before[:, :31], after[:, :31])
    assert not torch.allclose(before[:, 31:], after[:, 31:])


def test_sampling_repeats_with_its_seed(tiny: Generator) -> None:
    def draw(seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        return sample_tokens(tiny, ["a circle", "two rings"], rng=rng)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert draw(0).shape == (2, 64)


def test_samples_are_decoded_and_judged(tiny: Generator, tokenizer: Tokenizer) -> None:
    items = split_items("test")[:3]
    judgements, pictures = generate(tiny, tokenizer, items, guidance=1.5, seed=0, batch=2)
    assert len(judgements) == 3 and pictures.shape == (3, 48, 48, 3)


# Weights files -----------------------------------------------------------------------------------


def test_weights_survive_a_round_trip(
    tiny: Generator, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_generator(tiny, tmp_path, torch.float32, images="12")
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_generator(tmp_path)
    assert loaded.config == TINY and not loaded.training
    for name, value in tiny.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    for name, value in tokenizer.state_dict().items():
        assert torch.equal(load_tokenizer(tmp_path).state_dict()[name], value)
    assert read_weights(tmp_path / "generator.safetensors")[2]["images"] == "12"


def test_shipped_weights_are_small_and_half_precision() -> None:
    shipped = list(default_folder().glob("*.safetensors"))
    assert shipped and sum(path.stat().st_size for path in shipped) <= 16 * 2**20
    for path in shipped:
        assert {t.dtype for t in read_weights(path)[0].values()} == {torch.float16}


def _spoil(path: Path, how: str) -> None:
    tensors = load_file(path)
    _, config, metadata = read_weights(path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "garbage":
        path.write_bytes(b"\xff" * 64)
    elif how == "missing key":
        del tensors["cells"]
        save_weights(path, tensors, config)
    elif how == "extra key":
        save_weights(path, tensors | {"more": torch.zeros(1)}, config)
    elif how == "wrong shape":
        save_weights(path, tensors | {"cells": torch.zeros(3, 16)}, config)
    elif how == "not finite":
        save_weights(path, tensors | {"cells": tensors["cells"] * torch.nan}, config)
    elif how == "unknown setting":
        save_weights(path, tensors, config | {"colour": 3})
    elif how == "no configuration":
        save_file(tensors, path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("truncated", "damaged"),
        ("garbage", "damaged"),
        ("missing key", "missing tensors: cells"),
        ("extra key", "unknown tensors: more"),
        ("wrong shape", r"cells has shape \[3, 16\], expected \[658, 108\]"),
        ("not finite", "cells holds values that are not finite"),
        ("unknown setting", "configuration does not fit"),
        ("no configuration", "holds no configuration"),
        ("gone", "no such file"),
    ],
)
def test_a_bad_weights_file_is_refused_with_reason_and_remedy(
    tmp_path: Path, how: str, why: str
) -> None:
    shutil.copy(default_folder() / TOKENIZER_FILE, tmp_path)
    _spoil(tmp_path / TOKENIZER_FILE, how)
    with pytest.raises(WeightsError, match=why) as caught:
        load_tokenizer(tmp_path)
    assert "Reinstall" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_generator_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_generator(tmp_path)
