"""Training: data, rates, the loss, checkpoints and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scalingar_plugins.models.shapes import stream, train, train_generator
from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.judge import judge_batch
from scalingar_plugins.models.shapes.objective import training_loss
from scalingar_plugins.models.shapes.optim import Muon, orthogonalise
from scalingar_plugins.models.shapes.prompts import split_items
from scalingar_plugins.models.shapes.sharing import merged, share
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.train_generator import GeneratorRecipe, GeneratorRun, export
from scalingar_plugins.models.shapes.weights import load_generator

CPU = torch.device("cpu")
TINY = GeneratorConfig(
    Tokenizer.of_world().config.codebook, dim=24, layers=1, heads=2, text_layers=1
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.of_world()


def test_orthogonalising_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    for x in (matrices, matrices.mT):
        for half in (False, True):
            values = torch.linalg.svdvals(orthogonalise(x, half=half))
            assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_muon_refuses_vectors() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.zeros(3, requires_grad=True)])


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = GeneratorRecipe(images=1000, decay_from=800, warm_images=100, batch=10)
    assert [recipe.rate(i) for i in (0, 40, 100, 800, 900, 1000)] == [0.1, 0.5, 1, 1, 0.5, 0]


def test_training_data_depends_on_seed_and_chunk_only() -> None:
    prompts, pictures = stream.training_examples(1, 2, 20)
    again, same = stream.training_examples(1, 2, 20)
    assert prompts == again and (pictures == same).all()
    assert stream.training_examples(1, 3, 20)[0] != prompts
    assert stream.training_examples(2, 2, 20)[0] != prompts


def test_every_training_picture_shows_what_its_prompt_says() -> None:
    prompts, pictures = stream.training_examples(5, 0, 600)
    wrong = [j.reasons for j in judge_batch(pictures, prompts) if not j]
    assert not wrong


def test_minimal_pairs_stand_side_by_side_and_contradict_each_other() -> None:
    prompts, pictures = stream.training_examples(6, 0, 600)
    specs = [parse(p) for p in prompts]
    pairs = [
        i
        for i in range(599)
        if specs[i].relation
        and specs[i].relation == specs[i + 1].relation
        and specs[i].objects == specs[i + 1].objects[::-1]
    ]
    assert len(pairs) > 20
    exchanged = judge_batch(pictures[[i + 1 for i in pairs]], [specs[i] for i in pairs])
    assert not any(exchanged)


@pytest.mark.parametrize("half", [False, True])
def test_the_training_loss_is_cross_entropy_of_the_shipped_network(
    tokenizer: Tokenizer, half: bool
) -> None:
    config = GeneratorConfig(TINY.vocab_size, dim=32, layers=2, heads=2, text_layers=1)
    run = GeneratorRun.fresh(config, tokenizer.codebook, 0, CPU)
    with torch.no_grad():
        run.generator.decoder.output.parametrizations.weight.original.normal_()
    ids = prompt_ids(["a circle", "two red squares", None])
    tokens = torch.randint(0, TINY.vocab_size, (3, 64), generator=torch.Generator().manual_seed(0))
    logits = run.generator(ids, tokens)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    found = training_loss(run.generator, CPU, half=half, compiled=False)(ids, tokens)
    torch.testing.assert_close(found, expected, rtol=2e-2 if half else 1e-5, atol=0)


def _chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (stream, train_generator):
        monkeypatch.setattr(module, "CHUNK", size)


def _run(tokenizer: Tokenizer) -> GeneratorRun:
    return GeneratorRun.fresh(TINY, tokenizer.codebook, 0, CPU)


def _train(run: GeneratorRun, tokenizer: Tokenizer, images: int) -> None:
    recipe = GeneratorRecipe(images=images, decay_from=1 << 30, warm_images=8, batch=4)
    assert train_generator.train_generator(run, tokenizer, recipe, device=CPU)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _chunks(monkeypatch, 16)
    straight = _run(tokenizer)
    _train(straight, tokenizer, 40)
    broken = _run(tokenizer)
    _train(broken, tokenizer, 20)
    broken.save(tmp_path / "x.ckpt")
    resumed = GeneratorRun.resume(tmp_path / "x.ckpt", tokenizer.codebook, CPU)
    assert resumed.images == 20
    _train(resumed, tokenizer, 40)
    for name, value in straight.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, msg=name)
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_run_goes_on_from_exported_weights_and_with_data_that_they_have_not_seen(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _chunks(monkeypatch, 40)
    run = _run(tokenizer)
    _train(run, tokenizer, 20)
    export(run, tmp_path)
    further = GeneratorRun.beginning_from(tmp_path, tokenizer.codebook, 0, CPU)
    assert further.images == 40  # the next whole chunk
    for name, value in merged(run.average).state_dict().items():
        found = merged(further.generator).state_dict()[name]
        torch.testing.assert_close(found, value.half().float(), msg=name)
    _train(further, tokenizer, 60)
    first = merged(further.generator).decoder.output.weight
    assert not torch.equal(first, merged(run.average).decoder.output.weight)


def test_training_lowers_the_loss(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    _chunks(monkeypatch, 64)
    run = _run(tokenizer)
    ids, tokens = stream.training_chunk(tokenizer, 99, 0, 0.0, CPU)

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
        GeneratorRun.resume(path, tokenizer.codebook, CPU)


def test_an_unusable_device_is_refused_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--out", str(tmp_path), "--device", "abacus"])
    assert caught.value.code == 2
    assert "--device abacus" in capsys.readouterr().err


def test_the_command_trains_and_exports_what_the_adapter_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _chunks(monkeypatch, 64)
    monkeypatch.setattr(train, "GeneratorConfig", lambda vocab_size: TINY)
    monkeypatch.setattr(train, "split_items", lambda split: split_items(split)[:4])
    command = ["--out", str(tmp_path), "--images", "64", "--batch", "32", "--device", "cpu"]
    assert train.main(command) == 0
    assert "seen at 64" in capsys.readouterr().out
    assert load_generator(tmp_path).config == TINY
    assert train.main([*command, "--stage", "export"]) == 0


def test_sharing_output_rows_changes_nothing_until_it_is_trained_and_merges_exactly(
    tokenizer: Tokenizer,
) -> None:
    generator = Generator(TINY).eval()
    generator_rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, TINY.vocab_size, (2, 64), generator=generator_rng)
    ids = prompt_ids(["a circle", "two red squares"])
    with torch.no_grad():
        generator.decoder.output.weight.normal_(0.0, 0.05)
        before = generator(ids, tokens)
        share(generator, tokenizer.codebook)
        assert torch.equal(generator(ids, tokens), before)
        rows = generator.decoder.output.parametrizations.weight[0]
        rows.shared.normal_()
        trained = generator(ids, tokens)
        assert not torch.allclose(trained, before)
        plain = merged(generator)
        assert torch.allclose(plain(ids, tokens), trained, atol=1e-5)
    assert set(plain.state_dict()) == set(Generator(TINY).state_dict())
