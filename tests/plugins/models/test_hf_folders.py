"""Janus-Pro, Emu3 and SimpleAR from a user's folder: saved by transformers, loaded by us."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers", reason="needs the extra hf")

from scalingar_fw.decoding.noise import Prompt  # noqa: E402
from scalingar_fw.decoding.state import Grid  # noqa: E402
from scalingar_fw.errors import ScalingarError  # noqa: E402
from scalingar_fw.testing.adapters import Subject, check_adapter  # noqa: E402
from scalingar_plugins.models import emu3, janus, simplear, tiny  # noqa: E402

SHORT, LONG = Prompt("a cat"), Prompt("two dogs on a green bench")


def save_tokenizer(folder: Path, ids: dict[str, int], **named: str) -> None:
    """A word-level tokenizer in transformers' format; other words are unknown."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [t for t in ids if t.startswith("<") and t != "<unk>"]
    inner.add_special_tokens([AddedToken(t, special=True) for t in marks])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **named)
    fast.save_pretrained(folder)


def words(first: int, *names: str) -> dict[str, int]:
    return {name: first + i for i, name in enumerate(names)}


# ---------------------------------------------------------------- Janus-Pro


@pytest.fixture
def janus_folder(tmp_path: Path) -> Path:
    tiny.janus_network().save_pretrained(tmp_path)
    named = words(0, "<pad>", "<s>", "</s>", "<unk>", "a", "cat", "two", "dogs", "on", "green")
    named |= {"bench": 10, "User": 11, "Assistant": 12, "<begin_of_image>": 61}
    save_tokenizer(tmp_path, named, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return tmp_path


def test_janus_loads_from_a_folder_with_the_same_logits(janus_folder: Path) -> None:
    model = janus.load(weights=janus_folder, prompt_tokens=24)
    ids = list(model.tokenize("a cat"))
    assert (ids[0], ids[-1]) == (1, 61)
    assert 11 in ids and 12 in ids, "the prompt stands in the conversation's template"
    fresh = tiny.janus()
    embeds = fresh.embed_text(torch.tensor([ids]))
    with torch.inference_mode():
        hidden = fresh.trunk.module(inputs_embeds=embeds).last_hidden_state[:, -1]
        _, logits = model.prefill(model.encode([SHORT]), 1)
        assert torch.allclose(logits.cond, fresh.head(hidden), atol=1e-5)
    assert model.settings["preset"]["guidance"] == 5.0


def test_janus_replaces_the_unconditional_prompt_by_padding_that_is_attended(
    janus_folder: Path,
) -> None:
    given = janus.load(weights=janus_folder).encode([SHORT, LONG])
    lengths = given.mask.sum(1)
    assert torch.equal(lengths[:2], lengths[2:]), "as long as the prompt"
    for row in (2, 3):
        ids = given.ids[row][given.mask[row]]
        assert ids[0] == 1 and ids[-1] == 61 and not ids[1:-1].any()


def test_janus_refuses_what_it_cannot_read(janus_folder: Path) -> None:
    model = janus.load(weights=janus_folder)
    for prompt in (Prompt("a cat", negative="dog"), Prompt(class_id=3)):
        with pytest.raises(ScalingarError, match="reads text only"):
            model.encode([prompt])
    with pytest.raises(ScalingarError, match="is empty"):
        model.encode([Prompt(" ")])


def test_in_half_precision_it_conforms_and_keeps_the_image_decoder_in_float32(
    janus_folder: Path,
) -> None:
    model = janus.load(weights=janus_folder, dtype=torch.bfloat16, prompt_tokens=24)
    assert model.dtype is torch.bfloat16
    assert next(model.tokenizer.parameters()).dtype is torch.float32
    assert Subject.of(model).start().cond.dtype is torch.float32
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


# ---------------------------------------------------------------- Emu3


@pytest.fixture
def emu3_folder(tmp_path: Path) -> Path:
    tiny.emu3_network().save_pretrained(tmp_path)
    named = words(0, "<pad>", "<s>", "</s>", "<unk>", "a", "cat", "3", "4", "*", "two", "dogs")
    named |= words(30, "<image>", "<|extra_200|>", "<|image start|>", "<|image token|>")
    save_tokenizer(tmp_path, named, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return tmp_path


def test_emu3_puts_the_size_header_behind_prompt_and_negative_prompt(emu3_folder: Path) -> None:
    model = emu3.load(weights=emu3_folder, ratio="4:3", image_area=32 * 24)
    assert model.grid == Grid(3, 4)
    given = model.encode([Prompt("a cat", negative="two dogs")])
    header = [32, 6, 8, 7, 33]  # <|image start|> 3 * 4 <|image token|>
    assert given.ids[0][given.mask[0]].tolist() == [1, 4, 5, *header]
    assert given.ids[1][given.mask[1]].tolist() == [1, 9, 10, *header]
    bare = emu3.load(
        weights=emu3_folder, ratio="4:3", image_area=32 * 24, negative_header=False
    ).encode([Prompt("a cat", negative="two dogs")])
    assert bare.ids[1][bare.mask[1]].tolist() == [1, 9, 10]
    longer = emu3.load(weights=emu3_folder, ratio="4:3", image_area=32 * 24, suffix="two dogs")
    given = longer.encode([SHORT])
    assert given.ids[0][given.mask[0]].tolist() == [1, 4, 5, 9, 10, *header]


def test_emu3_uses_the_authors_negative_prompt_unless_given_one(emu3_folder: Path) -> None:
    model = emu3.load(weights=emu3_folder, image_area=24 * 24)
    assert model.dtype is torch.float32
    default = model.encode([SHORT]).mask[1].sum()
    assert default > model.encode([Prompt("a cat", negative="")]).mask[1].sum()


@pytest.mark.parametrize(
    ("ratio", "area", "grid"),
    [("1:1", 518400, Grid(90, 90)), ("4:3", 518400, Grid(78, 104)), ("1:2", 518400, Grid(127, 64))],
)
def test_emu3_grids_are_those_of_the_official_processor(ratio: str, area: int, grid: Grid) -> None:
    assert emu3.grid_for(ratio, area) == grid


@pytest.mark.parametrize(("ratio", "area"), [("1", 100), ("0:1", 100), ("a:b", 100), ("1:1", 0)])
def test_emu3_refuses_a_ratio_that_is_none(ratio: str, area: int) -> None:
    with pytest.raises(ScalingarError, match="must be whole numbers"):
        emu3.grid_for(ratio, area)


def test_emu3_in_half_precision_conforms(emu3_folder: Path) -> None:
    model = emu3.load(
        weights=emu3_folder,
        dtype=torch.bfloat16,
        ratio="4:3",
        image_area=32 * 24,
        prompt_tokens=48,
    )
    assert next(model.vision.parameters()).dtype is torch.float32
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


def test_emu3_counts_the_forced_end_of_line() -> None:
    model = tiny.emu3(rows=3, cols=4)
    assert [model.calls(i) for i in range(11)] == [1, 1, 1, 2] * 2 + [1, 1, 1]
    cache, _ = model.prefill(model.encode([SHORT]), 1)
    before = cache.length
    for index in range(5):
        model.step(cache, torch.tensor([3]), index)
    assert cache.length - before == 6


# ---------------------------------------------------------------- SimpleAR


class Pixels(nn.Module):
    """What Cosmos' decoder looks like from outside."""

    def forward(self, codes: Tensor) -> Tensor:
        grey = codes.float()[:, :, None].expand(-1, 3, -1, -1, -1) / 20 - 1
        return grey.repeat_interleave(16, -1).repeat_interleave(16, -2)


@pytest.fixture
def simplear_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(simplear, "CODES", 40)
    # Beside a Qwen2 model, AutoTokenizer insists on Qwen2's own kind, which knows no word lists.
    fast = transformers.PreTrainedTokenizerFast
    monkeypatch.setattr(simplear, "load_tokenizer", fast.from_pretrained)
    tiny.simplear_network().save_pretrained(tmp_path)
    named = words(0, "<pad>", "<s>", "</s>", "<unk>", "<|t2i|>", "<|soi|>", "A", "highly")
    named |= words(8, "realistic", "image", "of", "a", "cat", "ugly")
    named |= words(14, *(f"word{i}" for i in range(14, 50)))
    save_tokenizer(tmp_path, named, eos_token="</s>", pad_token="<pad>")
    with warnings.catch_warnings():  # TorchScript is deprecated; Cosmos is distributed in it
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Pixels(), torch.zeros(1, 1, 2, 2, dtype=torch.int64))
        traced.save(str(tmp_path / "decoder.jit"))
    return tmp_path


def load_simplear(folder: Path, **options: Any) -> Any:
    options = {"scripted_decoder": folder / "decoder.jit", "image_size": 32} | options
    return simplear.load(weights=folder, **options)


def test_simplear_wraps_prompts_as_the_official_demo_does(simplear_folder: Path) -> None:
    model = load_simplear(simplear_folder)
    given = model.encode([Prompt("a cat", negative="ugly")])
    assert given.ids[0][given.mask[0]].tolist() == [4, 6, 7, 8, 9, 10, 11, 12, 5]
    assert given.ids[1][given.mask[1]].tolist() == [4, 13, 5]
    assert not given.mask[1, :6].any(), "the shorter prompt is padded on the left"


def test_simplear_decodes_with_the_named_scripted_module(simplear_folder: Path) -> None:
    model = load_simplear(simplear_folder)
    image = model.decode_images(torch.tensor([[0, 20, 39, 0]]))
    assert image.shape == (1, 3, 32, 32)
    assert float(image[0, 0, 0, 0]) == -1.0 and float(image[0, 0, 0, 31]) == 0.0


def test_simplear_in_half_precision_conforms(simplear_folder: Path) -> None:
    model = load_simplear(simplear_folder, dtype=torch.bfloat16, image_size=64, prompt_tokens=40)
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


def test_simplear_never_looks_for_a_program_to_execute(simplear_folder: Path) -> None:
    with pytest.raises(ScalingarError, match="TorchScript program that is executed"):
        load_simplear(simplear_folder, scripted_decoder=None)
    (simplear_folder / "decoder.jit").write_bytes(b"nonsense")
    with pytest.raises(ScalingarError, match="could not be loaded as a TorchScript module"):
        load_simplear(simplear_folder)


def test_simplear_permits_words_only_where_the_official_sampling_is_asked_for(
    simplear_folder: Path,
) -> None:
    assert load_simplear(simplear_folder).vocab_size == 40
    official = load_simplear(simplear_folder, official=True)
    assert official.vocab_size == 90
    image = official.decode_images(torch.tensor([[0, 49, 50, 89]]))  # words are clamped to code 0
    assert float(image[0, 0, 0, 31]) == -1.0
    assert official.fingerprint() != load_simplear(simplear_folder).fingerprint()


def test_a_vocabulary_that_does_not_add_up_is_refused(
    simplear_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplear, "CODES", 41)
    with pytest.raises(ScalingarError, match="90 entries; 50 of the tokenizer and 41"):
        load_simplear(simplear_folder)


# ---------------------------------------------------------------- all three


def test_a_checkpoint_with_a_missing_tensor_is_refused_not_initialised_at_random(
    janus_folder: Path,
) -> None:
    import safetensors.torch

    path = janus_folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    del state["model.generation_embeddings.weight"]
    safetensors.torch.save_file(state, path, {"format": "pt"})
    with pytest.raises(ScalingarError, match=r"1 missing: model\.generation_embeddings\.weight"):
        janus.load(weights=janus_folder)


def test_a_damaged_folder_is_an_error_with_a_remedy(janus_folder: Path) -> None:
    path = janus_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ScalingarError, match="Compare the files with the published ones"):
        janus.load(weights=janus_folder)


@pytest.mark.parametrize("load", [janus.pro_1b, emu3.load, simplear.small])
def test_without_weights_and_offline_the_error_names_the_ways_out(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing was ever fetched
    with pytest.raises(ScalingarError, match=r"HF_HUB_OFFLINE.*--weights DIR"):
        load()


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.json").write_text(json.dumps({}))
    with pytest.raises(ScalingarError, match=r"no config\.json"):
        emu3.load(weights=tmp_path)


def test_a_prompt_longer_than_its_share_still_fits() -> None:
    model = tiny.simplear()
    long = Prompt(" ".join(f"word{i}" for i in range(60)))
    tokens = torch.zeros(1, model.grid.size - 1, dtype=torch.int64)
    assert len(Subject.of(model).follow([long], tokens)) == model.grid.size


# ---------------------------------------------------------------- from the command line


def generate(*words: object) -> dict[str, Any]:
    """`run.json` of a run with the default strategy."""
    from click.testing import CliRunner

    from scalingar_fw.cli import main

    given = ["generate", *map(str, words), "--device", "cpu", "-n", "2", "--json"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    return dict(json.loads((Path(words[-1]) / "run.json").read_text()))  # type: ignore[arg-type]


def test_simplear_draws_from_the_command_line(simplear_folder: Path, tmp_path: Path) -> None:
    record = generate(
        "a cat", "--negative", "ugly", "--model", "simplear-1.5b", "--weights", simplear_folder,
        "--option", f"scripted_decoder={simplear_folder / 'decoder.jit'}",
        "--option", "image_size=64", "--option", "prefix=A ", "--out", tmp_path / "out",
    )  # fmt: skip
    settings = record["model"]["settings"]
    assert (settings["image_size"], settings["prefix"]) == (64, "A ")
    assert settings["preset"] == {
        "name": "official", "guidance": 6.0, "temperature": 1.0, "top_k": 64000, "top_p": 1.0,
    }  # fmt: skip
    assert record["sampling"]["guidance"] == 6.0
    assert record["config"]["options"]["image_size"] == 64


def test_janus_draws_from_the_command_line(janus_folder: Path, tmp_path: Path) -> None:
    record = generate(
        "a cat", "--model", "janus-pro-1b", "--weights", janus_folder, "--guidance", 3,
        "--set", "sampler=global-multinomial", "--out", tmp_path / "out",
    )  # fmt: skip
    assert record["model"]["settings"]["preset"]["guidance"] == 5.0, "what the preset says"
    assert record["sampling"]["guidance"] == 3.0, "what was sampled with"
    assert record["sampling"]["noise"].startswith("one torch.Generator")


def test_emu3_draws_from_the_command_line(emu3_folder: Path, tmp_path: Path) -> None:
    record = generate(
        "a cat", "--model", "emu3-gen", "--weights", emu3_folder, "--option", "ratio=4:3",
        "--option", f"image_area={32 * 24}", "--max-memory", "1GiB", "--out", tmp_path / "out",
    )  # fmt: skip
    assert record["model"]["grid"] == [3, 4] and record["model"]["settings"]["ratio"] == "4:3"
    assert record["ledger"]["model_calls"] == 1 + 11 + 2, "two ends of line are fed"
