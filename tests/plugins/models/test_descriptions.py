"""A model's description for `hf-causal`: what is read, and what is refused with which words."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.descriptions import described

WHOLE: dict[str, Any] = {
    "codes": {"first": 40, "count": 24},
    "grid": {"rows": 3, "cols": 4},
    "prompt": "<s>{prompt} {rows}x{cols} {width}x{height}",
    "negative": "<s>{prompt}",
    "sampling": {"guidance": 3, "top_k": 5},
    "image": {"file": "vqgan.ckpt"},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(WHOLE)
    *outer, last = path.split(".")
    inner = data
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return data


def test_a_description_says_ids_texts_and_sampling() -> None:
    about = described(WHOLE, "it")
    assert about.grid == Grid(3, 4) and about.decoder == "vqgan" and about.prompt_tokens == 128
    assert about.token_ids(99, lambda token: 0) == list(range(40, 64))
    assert about.sampling.guidance == 3.0 and about.sampling.top_k == 5
    asked, twin = about.texts(Prompt("a {cols} cat"), height=48, width=64)
    assert asked == "<s>a {cols} cat 3x4 64x48", "a prompt's own braces are its own"
    assert twin == "<s>"
    assert about.texts(Prompt("a", negative="b"), 48, 64)[1] == "<s>b"


def test_codes_may_follow_the_tokenizer_or_a_pattern() -> None:
    assert described(changed("codes.first", "tokenizer"), "it").token_ids(7, len)[:2] == [7, 8]
    named = changed("codes", {"pattern": "<v{code:04d}>", "count": 3})
    ids = {"<v0000>": 9, "<v0001>": 4, "<v0002>": 7}
    assert described(named, "it").token_ids(0, ids.__getitem__) == [9, 4, 7]


def test_a_negative_prompt_without_a_place_is_refused() -> None:
    about = described(changed("negative", "<unconditional>"), "it")
    assert about.texts(Prompt("a"), 1, 1)[1] == "<unconditional>"
    with pytest.raises(ScalingarError, match="takes no negative prompt"):
        about.texts(Prompt("a", negative="b"), 1, 1)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("codes.first", -1, r"first=-1 must be a whole number from 0"),
        ("codes.first", True, "first=True"),
        ("codes.first", None, "first=None"),
        ("codes.count", "many", "count='many'"),
        ("codes.pattern", "<v{code}>", "and not both"),
        ("grid.rows", 0, "rows=0 must be a whole number from 1"),
        ("grid.cols", 2.5, "cols=2.5"),
        ("grid", [3, 4], "must be a mapping"),
        ("prompt", "no place", "prompt='no place' must be a text with {prompt}"),
        ("negative", 3, "negative=3 must be a text"),
        ("image.decoder", "vqgam", "Did you mean 'vqgan'"),
        ("sampling.top_k", 2.5, "top_k=2.5 must be a whole number"),
        ("sampling.top_p", 2.0, "top_p"),
        ("sampling.guidance", "strong", "guidance='strong'"),
        ("promt", "x", "Did you mean 'prompt'"),
        ("prompt_tokens", 0, "prompt_tokens=0"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(path: str, value: Any, said: str) -> None:
    with pytest.raises(ScalingarError) as caught:
        described(changed(path, value), "it")
    assert re.search(said, str(caught.value).replace("\n", " ")) or said in str(caught.value)


@pytest.mark.parametrize("key", ["codes", "grid", "prompt", "negative", "image"])
def test_what_is_missing_is_named(key: str) -> None:
    data = {k: v for k, v in WHOLE.items() if k != key}
    with pytest.raises(ScalingarError, match=rf"'{key}' is missing|{key}="):
        described(data, "it")


@pytest.mark.parametrize(
    "pattern",
    ["<v>", "<v{code}{code}>", "<{code.__class__}>", "<{code!r}>", "<{0}>", "<{code:>9999}>"],
)
def test_a_pattern_reaches_nothing_but_the_number(pattern: str) -> None:
    with pytest.raises(ScalingarError, match="pattern="):
        described(changed("codes", {"pattern": pattern, "count": 3}), "it")


# ---------------------------------------------------------------- from a folder

YAML = """
codes: {{pattern: "<v{{code:02d}}>", count: {count}}}
grid: {{rows: 2, cols: 3}}
prompt: "<s> {{prompt}} <boi>"
negative: "<s> <boi>"
end_of_line: "<eol>"
image: {{file: decoder.safetensors}}
prompt_tokens: 12
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    import safetensors.torch
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from vqgan_files import vqgan_state

    from scalingar_plugins.models import tiny

    tiny.causal_network().save_pretrained(tmp_path)
    ids = {"<pad>": 0, "<s>": 1, "<unk>": 3, "a": 5, "cat": 6, "<boi>": 38, "<eol>": 39}
    ids |= {f"<v{code:02d}>": 63 - code for code in range(24)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = [t for t in ids if t.startswith("<") and t != "<unk>"]
    inner.add_special_tokens([AddedToken(t, special=True) for t in marks])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>"
    )
    fast.save_pretrained(tmp_path)
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in vqgan_state().items()}, tmp_path / "decoder.safetensors"
    )
    (tmp_path / "model.yaml").write_text(YAML.format(count=24))
    return tmp_path


def load(folder: Path, **options: Any) -> Any:
    from scalingar_plugins.models import hf_causal

    given = {"weights": folder, "description": folder / "model.yaml"} | options
    return hf_causal.load(**given)


def test_a_folder_and_a_description_make_a_model_that_conforms(folder: Path) -> None:
    from scalingar_fw.testing.adapters import check_adapter

    model = load(folder)
    assert model.ids.tolist() == list(range(63, 39, -1)) and model.end_of_line == 39
    given = model.encode([Prompt("a cat")])
    assert [given.ids[i][given.mask[i]].tolist() for i in (0, 1)] == [[1, 5, 6, 38], [1, 38]]
    assert model.decode_images(torch.zeros(1, 6, dtype=torch.int64)).shape == (1, 3, 2, 3)
    assert model.settings["description"]["end_of_line"] == "<eol>"
    assert [f.detail for f in check_adapter(model) if not f.passed] == []


def test_what_does_not_belong_together_is_said(folder: Path) -> None:
    with pytest.raises(ScalingarError, match="needs its description"):
        load(folder, description=None)
    with pytest.raises(ScalingarError, match="cannot be read"):
        load(folder, description=folder / "nowhere.yaml")
    (folder / "model.yaml").write_text(YAML.format(count=23))
    with pytest.raises(ScalingarError, match="has 23 and the image decoder 24"):
        load(folder)
    (folder / "model.yaml").write_text(YAML.format(count=25))
    with pytest.raises(ScalingarError, match="no token '<v24>'"):
        load(folder)
    (folder / "model.yaml").write_text(YAML.format(count=24).replace("decoder.safet", "none.safet"))
    with pytest.raises(ScalingarError, match="--option vqgan=PATH"):
        load(folder)
