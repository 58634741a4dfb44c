"""Anole and Lumina-mGPT from folders in the layouts that are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra hf")

import safetensors.torch  # noqa: E402
from vqgan_files import vqgan_state  # noqa: E402

from scalingar_fw.decoding.noise import Prompt  # noqa: E402
from scalingar_fw.decoding.state import Grid  # noqa: E402
from scalingar_fw.errors import ScalingarError  # noqa: E402
from scalingar_fw.testing.adapters import check_adapter  # noqa: E402
from scalingar_plugins.models import chameleon, tiny  # noqa: E402

PROMPT = Prompt("a cat")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The language model with a tokenizer; no image decoder."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    network = tiny.chameleon_network()
    network.save_pretrained(tmp_path)
    ids = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 5, "cat": 6, "dog": 7, "Generate": 8}
    ids |= {"64x32": 9, "<reserved08706>": 30, "<reserved08799>": 31, "<racm3:break>": 32}
    ids |= {"<reserved08801>": 33, "<reserved08802>": 34}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = [t for t in ids if t.startswith("<") and t != "<unk>"]
    inner.add_special_tokens([AddedToken(t, special=True) for t in marks])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", pad_token="<pad>"
    )
    fast.save_pretrained(tmp_path)
    return tmp_path


def with_decoder(folder: Path, place: str = "original_tokenizers/vqgan.ckpt") -> Path:
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": vqgan_state(), "epoch": 3}, path)
    return path


def prompts_of(model: Any, prompt: Prompt) -> tuple[list[int], list[int]]:
    given = model.encode([prompt])
    rows = [given.ids[i][given.mask[i]].tolist() for i in range(2)]
    return rows[0], rows[1]


def test_lumina_says_the_size_twice_and_begins_its_unconditional_context_at_the_image(
    folder: Path,
) -> None:
    with_decoder(folder)
    model = chameleon.lumina(
        weights=folder,
        width=64,
        height=32,
        instruction="Generate {width}x{height} {prompt}",
        prompt_tokens=16,
    )
    # One code is one pixel here, so the instruction's size is that of the grid.
    assert model.grid == Grid(2, 4)
    row, twin = prompts_of(model, PROMPT)
    assert row == [1, 8, 3, 5, 6, 30, 32, 33, 34], "height before width, after the end of turn"
    assert twin == [32, 33, 34]
    assert prompts_of(model, Prompt("a cat", negative="dog"))[1] == [1, 8, 3, 7, 30, 32, 33, 34]
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


def test_anole_begins_its_unconditional_context_with_the_first_token(folder: Path) -> None:
    with_decoder(folder, "tokenizer/vqgan.ckpt")
    model = chameleon.anole(weights=folder)
    assert model.grid == Grid(32, 32) and model.end_of_line is None
    assert prompts_of(model, PROMPT) == ([1, 5, 6, 30, 32], [1, 32])
    assert (model.preset.temperature, model.preset.top_p) == (0.7, 0.9)
    assert model.settings["preset"]["guidance"] == 3.0


def test_an_image_decoder_among_the_models_tensors_is_found(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    for name, value in vqgan_state().items():
        if name.startswith(("decoder.", "post_quant_conv.", "quantize.")):
            state[f"model.vqmodel.{name}"] = value.contiguous()
    del state["model.vqmodel.encoder.conv_out.weight"]  # it reads images, which nobody does here
    safetensors.torch.save_file(state, path, {"format": "pt"})
    inside = chameleon.anole(weights=folder)
    path = with_decoder(folder, "vqgan.ckpt")
    beside = chameleon.anole(weights=folder)
    tokens = torch.arange(1024)[None] % 24
    assert torch.equal(inside.decode_images(tokens), beside.decode_images(tokens))
    assert path in beside.files and path not in inside.files
    assert inside.fingerprint() != beside.fingerprint()


def test_a_named_image_decoder_wins_and_may_be_a_folder(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    path = with_decoder(other)
    assert chameleon.anole(weights=folder, vqgan=path).files[-1] == path
    assert chameleon.anole(weights=folder, vqgan=other).files[-1] == path
    with pytest.raises(ScalingarError, match="vqgan="):
        chameleon.anole(weights=folder, vqgan=tmp_path / "nowhere")


def test_what_is_missing_or_does_not_belong_is_said(folder: Path) -> None:
    with pytest.raises(ScalingarError, match=r"no image decoder.*vqgan\.ckpt"):
        chameleon.anole(weights=folder)
    torch.save({"state_dict": vqgan_state(codes=25)}, folder / "vqgan.ckpt")
    with pytest.raises(ScalingarError, match="24 image codes and the image decoder has 25"):
        chameleon.anole(weights=folder)
    bare = {k: v for k, v in vqgan_state().items() if not k.startswith("decoder.")}
    torch.save(bare, folder / "vqgan.ckpt")
    with pytest.raises(ScalingarError, match="no VQ-GAN with a decoder"):
        chameleon.anole(weights=folder)


@pytest.mark.parametrize(("width", "height"), [(0, 64), (64, 40), (-32, 64), (64, 31)])
def test_a_size_that_the_model_has_no_token_for_is_refused(width: int, height: int) -> None:
    with pytest.raises(ScalingarError, match="positive multiple of 32"):
        chameleon.lumina_grid(width, height)
    with pytest.raises(ScalingarError, match="positive multiple of 32"):
        chameleon.lumina(width=width, height=height)


def test_a_size_without_a_token_and_an_instruction_without_a_prompt_are_refused(
    folder: Path,
) -> None:
    with_decoder(folder)
    with pytest.raises(ScalingarError, match="reserved08803"):
        chameleon.lumina(weights=folder, width=96, height=32)
    with pytest.raises(ScalingarError, match="must hold"):
        chameleon.lumina(weights=folder, instruction="draw it")


def test_sizes_are_those_of_the_official_processor() -> None:
    assert chameleon.lumina_grid(768, 768) == Grid(48, 48)
    assert chameleon.lumina_grid(1024, 576) == Grid(36, 64)


def test_it_draws_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from scalingar_fw.cli import main

    with_decoder(folder)
    words = [
        "generate", "a cat", "--model", "lumina-mgpt-7b-768", "--weights", folder, "--option",
        "width=64", "--option", "height=32", "--device", "cpu", "-n", "2", "--out",
        tmp_path / "out",
    ]  # fmt: skip
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["model"]["grid"] == [2, 4] and record["sampling"]["top_k"] == 2000
    assert record["ledger"]["model_calls"] == 1 + 7 + 1, "one end of line is fed"
