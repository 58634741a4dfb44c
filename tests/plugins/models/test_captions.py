"""The official caption cleaning: what LlamaGen's text encoder sees of a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scalingar_fw.errors import ResultWarning, ScalingarError
from scalingar_plugins.models.captions import clean
from scalingar_plugins.models.llamagen.text import T5Features

pytest.importorskip("ftfy", reason="needs the extra hf")
pytest.importorskip("bs4", reason="needs the extra hf")


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("A Red Circle", "a red circle"),
        ("a 512x512 photo of a cat", "a photo of a cat"),
        ("a cat \u732b and a dog", "a cat and a dog"),
        ("a%20red+car", "a red car"),
        ("<b>bold</b> portrait of <person>", "bold portrait of person"),
        ("a cat https://example.com/cats by @someone", "a cat by"),
        ("see www.example.com now", "see now"),
        ("\u201cquoted\u201d \u2013 text", '"quoted" - text'),
        ("'a whole quoted prompt'", "a whole quoted prompt"),
        ("photo 1234567 of img_001.jpg here", "photo of here"),
        ("free download a wallpaper, free shipping", "a wallpaper"),
        ("one-two-three-four-five", "one two three four five"),
        ("well-known place", "well-known place"),
        ("a (small) [round] {table}", "a small round table"),
        ("ab1234 sofa", "sofa"),
        ("left,right", "left, right"),
        ("page 12 of a book", "of a book"),
        ("cafe\u0301", "caf\u00e9"),
        ("soft\u00adhyphen", "soft\u00adhyphen"),  # no dash among theirs
        ("a cat -_ download", "a cat -"),  # at the first pass a space hides the end
    ],
)
def test_prompts_are_cleaned_as_the_official_scripts_do(typed: str, seen: str) -> None:
    assert clean(typed) == seen


@pytest.mark.parametrize("text", ["a photo of two dogs", "a green bench left of a blue car", ""])
def test_plain_prompts_pass_unchanged(text: str) -> None:
    assert clean(text) == text


def test_cleaning_can_be_switched_off() -> None:
    assert clean(" A 512x512 Photo ", "lower") == "a 512x512 photo"
    assert clean(" A 512x512 Photo ", "none") == " A 512x512 Photo "


@pytest.mark.parametrize("caption", ["一只猫", "R2D2", "###"])
def test_a_caption_of_which_nothing_is_left_is_refused_by_name(
    caption: str, tmp_path: Path
) -> None:
    encoder = T5Features(tmp_path, torch.device("cpu"), torch.float32)
    with pytest.raises(ScalingarError) as caught:
        encoder.encode([caption])
    assert caption in str(caught.value) and "caption_cleaning=none" in str(caught.value)


def test_a_caption_longer_than_the_encoder_reads_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: Any, text: str) -> tuple[Tensor, Tensor]:
        words = len(text.split())
        return torch.zeros(120, 4), torch.arange(120) < words

    monkeypatch.setattr(T5Features, "_compute", read)
    encoder = T5Features(tmp_path, torch.device("cpu"), torch.float32, cleaning="none")
    encoder.encode(["a short one"])
    with pytest.warns(ResultWarning, match="fills the 120 tokens"):
        encoder.encode(["word " * 150])
    encoder.encode(["word " * 150])
