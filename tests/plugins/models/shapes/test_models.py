"""Tokenizer, text encoder, generator and their weights files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scalingar_plugins.models.shapes import train
from scalingar_plugins.models.shapes.evaluate import (
    generate,
    measure_tokenizer,
    mixed_specs,
    random_generator,
)
from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig, sample_tokens
from scalingar_plugins.models.shapes.optim import Muon, orthogonalise
from scalingar_plugins.models.shapes.prompts import PromptError, UnknownWordError, split_items
from scalingar_plugins.models.shapes.scenes import render_batch, sample_scene
from scalingar_plugins.models.shapes.text import TextConfig, WordEncoder, prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer, TokenizerConfig
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

TINY = GeneratorConfig(dim=24, layers=1, heads=2, text_layers=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer()


@pytest.fixture
def tiny() -> Iterator[Generator]:
    generator = Generator(TINY)
    train.initialise_generator(generator, torch.eye(1024, 16), seed=0)
    with torch.no_grad():
        generator.decoder.output.weight.normal_(generator=torch.Generator().manual_seed(1))
    yield generator.eval()


def _pictures(count: int, seed: int = 0) -> torch.Tensor:
    rng = random_generator(seed)
    return torch.from_numpy(
        render_batch([sample_scene(spec, rng) for spec in mixed_specs(count, rng)])
    )


# Tokenizer ---------------------------------------------------------------------------------------


def test_the_shipped_tokenizer_keeps_what_the_judge_sees(tokenizer: Tokenizer) -> None:
    assert measure_tokenizer(tokenizer, 200, seed=5)["right"] >= 0.97


def test_pictures_become_144_tokens_and_back(tokenizer: Tokenizer) -> None:
    pictures = _pictures(3)
    tokens = tokenizer.encode(pictures)
    assert tokens.shape == (3, 144) and tokens.dtype == torch.int64
    assert 0 <= int(tokens.min()) and int(tokens.max()) < 1024
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == pictures.shape and decoded.dtype == torch.uint8


def test_equal_patches_get_equal_tokens_wherever_they_lie(tokenizer: Tokenizer) -> None:
    picture = _pictures(1)
    tokens = tokenizer.encode(picture).view(12, 12)
    rolled = tokenizer.encode(picture.roll((4, 8), dims=(1, 2))).view(12, 12)
    assert torch.equal(rolled, tokens.roll((1, 2), dims=(0, 1)))


def test_tokens_outside_codebook_or_grid_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="1023"):
        tokenizer.decode(torch.full((1, 144), 1024))
    with pytest.raises(ValueError, match="side"):
        tokenizer.decode(torch.zeros(1, 143, dtype=torch.int64))


def test_gradients_pass_straight_through_the_quantizer() -> None:
    small = Tokenizer(TokenizerConfig(codebook=8, code_dim=4, width=16, blocks=1))
    output, _, tokens = small(torch.zeros(1, 3, 48, 48))
    assert tokens.shape == (1, 12, 12)
    output.square().mean().backward()
    assert all(p.grad is not None for p in small.encoder.parameters())


def test_the_first_codebook_takes_every_distinct_feature_once() -> None:
    small = Tokenizer(TokenizerConfig(codebook=6, code_dim=4, width=16))
    distinct = torch.eye(6, 4) + torch.arange(6)[:, None]
    features = distinct.repeat(10, 1)
    small.initialise_codebook(features, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in small.codebook.tolist()} == {
        tuple(row) for row in distinct.tolist()
    }


def test_codes_move_to_their_features_and_dead_ones_restart() -> None:
    small = Tokenizer(TokenizerConfig(codebook=3, code_dim=2, width=16))
    small.codebook.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0], [8.0, 8.0]]))
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]]).T.view(1, 2, 1, 3)
    idle = torch.tensor([0, 60, 5])
    used = small.update_codebook(features, small.nearest(features), idle, rate=1.0)
    assert used == 1
    assert small.codebook.tolist() == [[0.0, 1.0], [0.0, 3.0], [8.0, 8.0]]
    assert idle.tolist() == [0, 0, 6]


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
    tokens = torch.arange(144)[None]
    changed = tokens.clone()
    changed[:, 70:] = 5
    before, after = tiny(ids, tokens), tiny(ids, changed)
    assert before.shape == (1, 144, 1024)
    torch.testing.assert_close(before[:, :71], after[:, :71])
    assert not torch.allclose(before[:, 71:], after[:, 71:])


def test_sampling_repeats_with_its_seed(tiny: Generator) -> None:
    def draw(seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        return sample_tokens(tiny, ["a circle", "two rings"], rng=rng)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert draw(0).shape == (2, 144)


def test_samples_are_decoded_and_judged(tiny: Generator, tokenizer: Tokenizer) -> None:
    items = split_items("test")[:3]
    verdicts, pictures = generate(tiny, tokenizer, items, guidance=1.5, seed=0, batch=2)
    assert len(verdicts) == 3 and pictures.shape == (3, 48, 48, 3)


# Training ----------------------------------------------------------------------------------------


def test_orthogonalising_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    for x in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalise(x))
        assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_muon_refuses_vectors() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.zeros(3, requires_grad=True)])


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = train.GeneratorRecipe(images=1000, decay_from=800, warm_images=100, batch=10)
    assert [recipe.rate(i) for i in (0, 40, 100, 800, 900, 1000)] == [0.1, 0.5, 1, 1, 0.5, 0]


def test_training_data_depends_on_seed_and_chunk_only() -> None:
    prompts, pictures = train.training_pictures(1, 2, 20)
    again, same = train.training_pictures(1, 2, 20)
    assert prompts == again and torch.equal(pictures, same)
    assert train.training_pictures(1, 3, 20)[0] != prompts
    assert train.training_pictures(2, 2, 20)[0] != prompts


def _run(tokenizer: Tokenizer) -> train.GeneratorRun:
    return train.GeneratorRun.fresh(TINY, tokenizer.codebook, 0, torch.device("cpu"))


def _train(run: train.GeneratorRun, tokenizer: Tokenizer, images: int) -> None:
    recipe = train.GeneratorRecipe(images=images, decay_from=1 << 30, warm_images=8, batch=4)
    assert train.train_generator(run, tokenizer, recipe, device=torch.device("cpu"))


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHUNK", 16)
    straight = _run(tokenizer)
    _train(straight, tokenizer, 40)
    broken = _run(tokenizer)
    _train(broken, tokenizer, 20)
    broken.save(tmp_path / "x.ckpt")
    resumed = train.GeneratorRun.resume(
        tmp_path / "x.ckpt", tokenizer.codebook, torch.device("cpu")
    )
    assert resumed.images == 20
    _train(resumed, tokenizer, 40)
    for name, value in straight.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, msg=name)
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_training_lowers_the_loss(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CHUNK", 64)
    run = _run(tokenizer)
    ids, tokens = train.training_chunk(tokenizer, 99, 0, 0.0, torch.device("cpu"))

    def loss() -> float:
        logits = run.generator(ids[:8], tokens[:8]).flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, tokens[:8].flatten()).detach())

    before = loss()
    _train(run, tokenizer, 120)
    assert loss() < before - 0.5


def test_a_damaged_checkpoint_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="--fresh"):
        train.GeneratorRun.resume(path, tokenizer.codebook, torch.device("cpu"))


def test_an_unusable_device_is_refused_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--out", str(tmp_path), "--device", "abacus"])
    assert caught.value.code == 2
    assert "--device abacus" in capsys.readouterr().err


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
        del tensors["codebook"]
        save_weights(path, tensors, config)
    elif how == "extra key":
        save_weights(path, tensors | {"more": torch.zeros(1)}, config)
    elif how == "wrong shape":
        save_weights(path, tensors | {"codebook": torch.zeros(3, 16)}, config)
    elif how == "not finite":
        save_weights(path, tensors | {"codebook": tensors["codebook"] * torch.nan}, config)
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
        ("missing key", "missing tensors: codebook"),
        ("extra key", "unknown tensors: more"),
        ("wrong shape", r"codebook has shape \[3, 16\], expected \[1024, 16\]"),
        ("not finite", "codebook holds values that are not finite"),
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
