"""LlamaGen and AR-GRPO from files: what users download, in small."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.adapters import Subject, check_adapter
from scalingar_plugins.models import ar_grpo, tiny
from scalingar_plugins.models.llamagen import load, sizes
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.sizes import SIZES, VARIANTS, Size, variant
from scalingar_plugins.models.llamagen.text import T5Features, pad
from scalingar_plugins.models.vq import VQConfig, VQDecoder

HF = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs the extra hf"
)
CAT, DOGS = Prompt("a cat"), Prompt("two dogs on a green bench")


# ---------------------------------------------------------------- published geometry


@pytest.mark.parametrize(
    ("size", "c2i", "t2i"),
    [
        ("B", 110.9, 112.3),
        ("L", 342.9, 345.0),
        ("XL", 774.7, 777.7),
        ("XXL", 1411.0, 1414.9),
        ("XXXL", 3893, None),
        ("1B", 1199.6, 1206),
        ("3B", 3096.7, 3110.2),
        ("7B", 6614.6, 6635.7),
    ],
)
def test_every_size_has_the_official_number_of_parameters(
    size: str, c2i: float, t2i: float | None
) -> None:
    for task, millions in (("c2i", c2i), ("t2i", t2i)):
        if millions is None:
            continue
        config = variant(task, size, 256).config
        with torch.device("meta"):
            conditioner: Any = (
                ClassEmbedder(1000, config.dim)
                if task == "c2i"
                else CaptionEmbedder(120, 2048, config.dim)
            )
            network = LlamaGen(config, conditioner)
        # uncond_embedding is a buffer in the official code and not counted there.
        counted = [p for n, p in network.named_parameters() if "uncond" not in n]
        assert sum(p.numel() for p in counted) / 1e6 == pytest.approx(millions, rel=2e-3)


def test_published_names_stand_for_published_files() -> None:
    assert VARIANTS["llamagen-t2i-512"].generator == ("t2i_XL_stage2_512.pt",)
    assert VARIANTS["llamagen-t2i-256"].generator == ("t2i_XL_stage1_256.pt",)
    assert VARIANTS["llamagen-t2i-512"].tokenizer == ("vq_ds16_t2i.pt",)
    assert VARIANTS["llamagen-c2i-3b-384"].generator == ("c2i_3B_384.pt",)
    assert VARIANTS["llamagen-c2i-b-256"].side == 16
    eight = variant("c2i", "b", 256, downsample=8)
    assert (eight.side, eight.tokenizer, eight.vq.upscale) == (32, ("vq_ds8_c2i.pt",), 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "XS"}, "Unknown size 'XS'"),
        ({"image": 250}, "multiple of 16"),
        ({"downsample": 4}, "must be 8 or 16"),
    ],
)
def test_a_geometry_that_does_not_exist_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        variant(**({"task": "c2i", "size": "B", "image": 256} | options))


# ---------------------------------------------------------------- small files of official form


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published family with small numbers: size B is two layers, images 64 px."""
    monkeypatch.setitem(SIZES, "B", Size(2, 2, 16))  # type: ignore[arg-type]
    monkeypatch.setitem(SIZES, "L", Size(3, 2, 16))  # type: ignore[arg-type]
    monkeypatch.setattr(sizes, "CODEBOOK", 64)
    monkeypatch.setattr(sizes, "CAPTION_TOKENS", 10)
    monkeypatch.setattr(load, "CAPTION_TOKENS", 10)
    monkeypatch.setattr(load, "CAPTION_DIM", 24)
    monkeypatch.setattr(load, "CLASSES", 5)
    narrow = VQConfig(64, 8, 8, 8, (1, 1, 1, 1, 1), 0, 4)
    monkeypatch.setattr(sizes, "VQ_16", narrow)


def generator_state(task: str, size: str = "B", seed: int = 0) -> dict[str, Tensor]:
    """Tensors by official name."""
    config = variant(task, size, 64).config
    conditioner: Any = (
        ClassEmbedder(5, config.dim) if task == "c2i" else CaptionEmbedder(10, 24, config.dim)
    )
    network = LlamaGen(config, conditioner)
    tiny.randomize(network, seed)
    return {k.removeprefix("decoder."): v for k, v in network.state_dict().items()}


def tokenizer_state() -> dict[str, Tensor]:
    """A full tokenizer's tensors, encoder included."""
    decoder = VQDecoder(sizes.VQ_16)
    tiny.randomize(decoder, 1, 0.1)
    rest = {
        "encoder.conv_in.weight": torch.ones(2, 3),
        "quant_conv.bias": torch.ones(8),
        "quantize.codebook_used": torch.zeros(65536),
    }
    return decoder.state_dict() | rest


@pytest.fixture
def c2i_folder(tmp_path: Path, small: None) -> Path:
    stray = {"freqs_cis": torch.ones(3), "layers.0.attention.kv_cache.k_cache": torch.ones(1)}
    torch.save(
        {"model": generator_state("c2i") | stray, "args": argparse.Namespace(x=1), "steps": 3},
        tmp_path / "c2i_B_64.pt",
    )
    torch.save({"model": tokenizer_state()}, tmp_path / "vq_ds16_c2i.pt")
    return tmp_path


def test_official_files_become_a_running_class_conditional_model(c2i_folder: Path) -> None:
    model = load.c2i(size="B", image_size=64, weights=c2i_folder)
    subject = Subject.of(model)
    assert subject.prompts[0].class_id == 0
    logits = subject.start()
    source = LlamaGen.from_state(
        variant("c2i", "B", 64).config, ClassEmbedder(5, 16), generator_state("c2i"), "x"
    )
    with torch.inference_mode():
        _, expected = source.decoder.prefill(source.cls_embedding(torch.tensor([0, 1])))
    assert torch.equal(torch.cat([logits.cond, logits.uncond]), expected)
    assert model.decode_images(torch.zeros(1, 16, dtype=torch.int64)).shape == (1, 3, 64, 64)


def test_presets_are_named_and_recorded(c2i_folder: Path) -> None:
    model = load.c2i(size="B", image_size=64, weights=c2i_folder)
    assert model.preset.guidance == 4.0 and model.preset.top_k == 2000
    fid = load.c2i(size="B", image_size=64, weights=c2i_folder, preset="fid")
    assert fid.preset.guidance == 2.0
    assert fid.settings["preset"]["name"] == "fid"
    assert fid.fingerprint() == model.fingerprint(), "the weights are the same"
    with pytest.raises(ScalingarError, match="Unknown preset 'best'.*demo"):
        load.c2i(size="B", image_size=64, weights=c2i_folder, preset="best")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_conforms_and_keeps_the_image_decoder_in_float32(
    c2i_folder: Path, dtype: torch.dtype
) -> None:
    model = load.c2i(size="B", image_size=64, weights=c2i_folder, dtype=dtype)
    assert model.network.decoder.output.weight.dtype is dtype
    assert next(model.tokenizer.parameters()).dtype is torch.float32
    assert Subject.of(model).start().cond.dtype is torch.float32
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


def test_weights_of_another_size_are_named_in_the_refusal(c2i_folder: Path) -> None:
    torch.save(generator_state("c2i", "L"), c2i_folder / "c2i_B_64.pt")
    with pytest.raises(ScalingarError) as error:
        load.c2i(size="B", image_size=64, weights=c2i_folder)
    assert "unexpected: layers.2." in str(error.value)
    assert "c2i generator with 3 layers of width 16 (size L)" in str(error.value)


def test_a_tokenizer_in_the_generators_place_is_recognised(c2i_folder: Path) -> None:
    torch.save(tokenizer_state(), c2i_folder / "c2i_B_64.pt")
    with pytest.raises(ScalingarError, match="looks like an image tokenizer"):
        load.c2i(size="B", image_size=64, weights=c2i_folder)


def test_without_weights_the_error_says_which_files(small: None) -> None:
    with pytest.raises(ScalingarError, match=r"--weights DIR, a folder with c2i_B_64.pt"):
        load.c2i(size="B", image_size=64)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt("a cat"), "draws classes"),
        (Prompt(class_id=5), r"must lie in \[0, 4\]"),
        (Prompt(class_id=-1), r"must lie in \[0, 4\]"),
        (Prompt("a cat", class_id=1), "class without a text"),
        (Prompt(class_id=1, negative="bad"), "no negative prompt"),
    ],
)
def test_class_models_refuse_what_they_cannot_read(
    c2i_folder: Path, prompt: Prompt, message: str
) -> None:
    model = load.c2i(size="B", image_size=64, weights=c2i_folder)
    with pytest.raises(ScalingarError, match=message):
        model.encode([prompt])


# ---------------------------------------------------------------- captions


def save_tokenizer(folder: Path, words: str, special: tuple[str, ...], **named: str) -> None:
    """A word-level tokenizer in transformers' format."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate([*special, *dict.fromkeys(words.split())])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **named)
    fast.save_pretrained(folder)


@pytest.fixture
def t2i_folder(tmp_path: Path, small: None) -> Path:
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    safetensors.torch.save_file(generator_state("t2i"), tmp_path / "t2i_B_stage2_64.safetensors")
    torch.save(tokenizer_state(), tmp_path / "vq_ds16_t2i.pt")
    save_t5(transformers, tmp_path / "flan-t5-xl")
    return tmp_path


def save_t5(transformers: Any, folder: Path) -> None:
    config = transformers.T5Config(
        vocab_size=30, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = transformers.T5EncoderModel(config)
    encoder.save_pretrained(folder)
    words = "a cat two dogs on green bench red"
    save_tokenizer(folder, words, ("<pad>", "</s>", "<unk>"), pad_token="<pad>", eos_token="</s>")


def t2i(folder: Path, **options: Any) -> Any:
    options = {"feature_cache": str(folder / "cache")} | options
    return load.t2i(size="B", image_size=64, weights=folder, **options)


@HF
def test_captions_are_padded_on_the_left_with_zeros_and_masked(t2i_folder: Path) -> None:
    model = t2i(t2i_folder)
    raw, mask = model.texts.encode(["a cat"])
    features, left = pad(raw, mask, "left")
    valid = int(mask.sum())
    assert left[0].tolist() == [False] * (10 - valid) + [True] * valid
    assert not features[0, : 10 - valid].any()
    assert torch.equal(features[0, 10 - valid :], raw[0, :valid])
    assert raw[0, valid:].any(), "the encoder's padding is not zero"


@HF
def test_a_captions_features_do_not_depend_on_its_company(t2i_folder: Path) -> None:
    model = t2i(t2i_folder, feature_cache="none")
    together, _ = model.texts.encode([CAT.text, DOGS.text])
    alone, _ = model.texts.encode([DOGS.text])
    assert torch.equal(together[1:], alone)


@HF
def test_features_are_kept_on_disk_and_a_damaged_entry_is_made_anew(
    t2i_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = t2i(t2i_folder).encode([CAT])
    files = list((t2i_folder / "cache").iterdir())
    assert len(files) == 1 and files[0].suffix == ".safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(T5Features, "_load", lambda self: pytest.fail("the encoder was loaded"))
        again = t2i(t2i_folder).encode([CAT])
        assert torch.equal(first.vectors, again.vectors)
        # The cleaned text is what is encoded, so it is what is looked up.
        assert torch.equal(t2i(t2i_folder).encode([Prompt("A  CAT")]).vectors, first.vectors)
    files[0].write_bytes(b"damaged")
    assert torch.equal(t2i(t2i_folder).encode([CAT]).vectors, first.vectors)


@HF
def test_unconditional_rows_carry_the_captions_mask(t2i_folder: Path) -> None:
    prefix = t2i(t2i_folder).encode([CAT, DOGS])
    assert prefix.mask is not None
    assert torch.equal(prefix.mask[:2], prefix.mask[2:])
    assert not torch.equal(prefix.mask[0], prefix.mask[1])


@HF
def test_padding_and_cleaning_are_recorded_and_part_of_the_fingerprint(t2i_folder: Path) -> None:
    plain, raw = t2i(t2i_folder), t2i(t2i_folder, prompt_padding="right_raw")
    assert (plain.settings["padding"], raw.settings["padding"]) == ("left", "right_raw")
    assert plain.settings["cleaning"] == "official"
    assert plain.fingerprint() != raw.fingerprint()
    assert plain.fingerprint() == t2i(t2i_folder).fingerprint()
    with pytest.raises(ScalingarError, match="Unknown prompt padding 'middle'"):
        t2i(t2i_folder, prompt_padding="middle")


@HF
def test_a_missing_text_encoder_is_named(t2i_folder: Path) -> None:
    (t2i_folder / "flan-t5-xl" / "config.json").unlink()
    with pytest.raises(ScalingarError, match=r"put google/flan-t5-xl in"):
        t2i(t2i_folder)


# ---------------------------------------------------------------- AR-GRPO


@pytest.fixture
def grpo_folder(tmp_path: Path, small: None) -> Path:
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    state = {f"gpt_model.{k}": v for k, v in generator_state("t2i").items()}
    state |= {f"ref_model.{k}": v.clone() for k, v in generator_state("t2i", seed=9).items()}
    state |= {f"vq_model.{k}": v for k, v in tokenizer_state().items()}
    names = sorted(state)
    half = len(names) // 2
    for number, part in enumerate((names[:half], names[half:])):
        shard = {n: state[n].contiguous().clone() for n in part}
        safetensors.torch.save_file(shard, tmp_path / f"model-{number}.safetensors")
    config = {"model_type": "ImgGen_HF", "gpt_model": "GPT-B", "image_size": 64}
    config |= {"downsample_size": 16, "gpt_type": "t2i"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_t5(transformers, tmp_path / "flan-t5-xl")
    return tmp_path


def grpo(folder: Path, size: str = "B", **options: Any) -> Any:
    options = {"feature_cache": "none"} | options
    return ar_grpo.load(variant("t2i", size, 64, name="ar-grpo-test"), weights=folder, **options)


@HF
def test_an_ar_grpo_folder_is_llamagen_with_the_reference_policy_left_out(
    grpo_folder: Path,
) -> None:
    model = grpo(grpo_folder)
    assert model.padding == "right_raw" and model.preset.guidance == 2.0
    expected = generator_state("t2i")["output.weight"]
    assert torch.equal(model.network.decoder.output.weight, expected)
    raw = Subject.of(model, [CAT, DOGS]).start()
    left = Subject.of(grpo(grpo_folder, prompt_padding="left"), [CAT, DOGS]).start()
    assert float((raw.cond - left.cond).abs().max()) > 0.1, "the padding makes a difference"
    assert model.decode_images(torch.zeros(1, 16, dtype=torch.int64)).shape == (1, 3, 64, 64)


@HF
def test_an_ar_grpo_folder_of_another_kind_is_refused(grpo_folder: Path) -> None:
    with pytest.raises(ScalingarError, match="These weights are t2i B at 64 px"):
        grpo(grpo_folder, "L")
    (grpo_folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ScalingarError, match="model_type 'qwen2'"):
        grpo(grpo_folder)
    (grpo_folder / "config.json").write_text("{")
    with pytest.raises(ScalingarError, match="damaged or not JSON"):
        grpo(grpo_folder)
    (grpo_folder / "config.json").unlink()
    with pytest.raises(ScalingarError, match=r"no config\.json"):
        grpo(grpo_folder)


def generate(*words: object) -> dict[str, Any]:
    """`run.json` of a run with two candidates."""
    from click.testing import CliRunner

    from scalingar_fw.cli import main

    result = CliRunner().invoke(main, ["generate", *map(str, words), "--device", "cpu", "-n", "2"])
    assert result.exit_code == 0, result.output
    return dict(json.loads((Path(str(words[-1])) / "run.json").read_text()))


def test_classes_are_drawn_from_the_command_line(c2i_folder: Path, tmp_path: Path) -> None:
    record = generate(
        "--class", 3, "--model", "llamagen-c2i", "--weights", c2i_folder, "--option", "size=B",
        "--option", "image_size=64", "--option", "preset=fid", "--out", tmp_path / "out",
    )  # fmt: skip
    assert record["prompt"] == Prompt(class_id=3).label
    assert record["model"]["settings"]["preset"]["name"] == "fid"
    assert record["sampling"]["guidance"] == 2.0


def test_captions_are_drawn_from_the_command_line(t2i_folder: Path, tmp_path: Path) -> None:
    record = generate(
        "a cat", "--model", "llamagen-t2i", "--weights", t2i_folder, "--option", "size=B",
        "--option", "image_size=64", "--option", "caption_cleaning=none",
        "--option", f"feature_cache={tmp_path / 'cache'}", "--out", tmp_path / "out",
    )  # fmt: skip
    assert record["model"]["settings"]["cleaning"] == "none"
    assert record["tokens"]["per_candidate"] == 16
    assert list((tmp_path / "cache").iterdir()), "the caption's features are kept"
