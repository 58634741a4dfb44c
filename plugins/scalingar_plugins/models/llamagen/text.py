"""T5 features of prompts for LlamaGen: encoded once, kept on disk, padded as a checkpoint expects."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from attrs import define, field
from torch import Tensor

from scalingar_fw.errors import ResultWarning, ScalingarError, shown
from scalingar_plugins.models.captions import Cleaning, clean
from scalingar_plugins.models.checkpoints import fingerprint_files

Padding = Literal["left", "right_raw"]

ENCODER_FOLDERS = ("flan-t5-xl", "t5")


class TextFeatures(Protocol):
    """Prompts to features, before padding."""

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features `[P, tokens, width]` padded on the right (not zeroed), and their bool mask."""
        ...


def pad(features: Tensor, mask: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    """Features as the generator was trained on them.

    "left" (LlamaGen): the caption's vectors at the end, zeros before them. "right_raw" (AR-GRPO's
    evaluation): as the encoder returned them, padding included; the first image token is then
    predicted at a padding position.

    Args:
        features: `[P, T, width]`, padded on the right.
        mask: `[P, T]` bool, True where a token is.
    """
    if padding == "right_raw":
        return features, mask
    length = mask.shape[1]
    valid = mask.sum(1, keepdim=True)
    # Position i reads i + valid (mod T): the padding comes first, the caption after it.
    source = (torch.arange(length, device=mask.device) + valid) % length
    moved = features.gather(1, source[:, :, None].expand_as(features))
    left = mask.flip(1)
    return moved * left[:, :, None], left


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/scalingar/features`, or `~/.cache/scalingar/features`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "scalingar" / "features"


@define(eq=False)
class T5Features:
    """flan-t5's encoder through transformers, loaded when a prompt is not in the cache.

    `dtype` is float32 or bfloat16: T5 overflows in float16. `cache`: a folder, or None for none.
    Prompts are encoded one at a time, so that features do not depend on a batch's composition.
    """

    folder: Path
    device: torch.device
    dtype: torch.dtype
    tokens: int = 120
    cleaning: Cleaning = "official"
    cache: Path | None = None
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False)
    _identity: str | None = field(default=None, init=False, repr=False)
    _said: set[str] = field(factory=set, init=False, repr=False)

    @property
    def files(self) -> list[Path]:
        """The encoder's weights and tokenizer."""
        wanted = {".safetensors", ".bin", ".json", ".model"}
        return sorted(p for p in self.folder.iterdir() if p.suffix in wanted)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        pairs = []
        for text in texts:
            pairs.append(self._one(self._cleaned(text)))
            if bool(pairs[-1][1].all()) and text not in self._said:
                self._said.add(text)
                warnings.warn(
                    f"Prompt {shown(text, 60)} fills the {self.tokens} tokens that the text encoder "
                    "reads: what goes beyond is not drawn. Shorten it.",
                    ResultWarning,
                    stacklevel=2,
                )
        features = torch.stack([f for f, _ in pairs]).to(self.device)
        return features, torch.stack([m for _, m in pairs]).to(self.device)

    def _cleaned(self, text: str) -> str:
        cleaned = clean(text, self.cleaning)
        if not cleaned:
            raise ScalingarError(
                f"Prompt {shown(text)}: the caption cleaning that this model was trained behind "
                "leaves nothing of it (it drops Chinese characters, catalogue numbers and "
                "symbols): say it in English words, or use --option caption_cleaning=none."
            )
        return cleaned

    def _one(self, text: str) -> tuple[Tensor, Tensor]:
        path = None if self.cache is None else self.cache / f"{self._key(text)}.safetensors"
        if path is not None and (stored := self._read(path)) is not None:
            return stored
        features, mask = self._compute(text)
        if path is not None:
            _write(path, {"features": features, "mask": mask}, {"text": text})
        return features, mask

    def _key(self, text: str) -> str:
        if self._identity is None:
            self._identity = fingerprint_files(self.files)
        content = json.dumps([text, self._identity, str(self.dtype), self.tokens])
        return hashlib.sha256(content.encode()).hexdigest()[:40]

    def _read(self, path: Path) -> tuple[Tensor, Tensor] | None:
        import safetensors.torch

        if not path.is_file():
            return None
        try:
            stored = safetensors.torch.load_file(path)
            return stored["features"], stored["mask"]
        except Exception:  # a damaged entry is made anew: it is a cache
            return None

    def _compute(self, text: str) -> tuple[Tensor, Tensor]:
        if self._loaded is None:
            self._loaded = self._load()
        tokenizer, encoder = self._loaded
        read = tokenizer(
            text,
            max_length=self.tokens,
            padding="max_length",
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = read["input_ids"].to(self.device), read["attention_mask"].to(self.device)
        with torch.inference_mode():
            features = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return features[0].to(self.dtype).cpu(), mask[0].bool().cpu()

    def _load(self) -> tuple[Any, Any]:
        from scalingar_plugins.models.hf import load_pretrained, load_tokenizer, need_transformers

        transformers = need_transformers("flan-t5 (LlamaGen's text encoder)")
        tokenizer = load_tokenizer(self.folder)
        encoder = load_pretrained(
            transformers.T5EncoderModel,
            self.folder,
            self.dtype,
            unused=("decoder.*", "lm_head.*", "encoder.embed_tokens.weight"),
        )
        return tokenizer, encoder.to(self.device).eval()


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Whole or not at all: two runs may fill the same cache."""
    import safetensors.torch

    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {k: v.contiguous() for k, v in tensors.items()}, partial, metadata
        )
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ScalingarError(
            f"The feature cache {str(path.parent)!r} cannot be written ({error.strerror}): choose "
            "another with feature_cache=DIR, or none with feature_cache='none'."
        ) from error


def find_encoder(weights: Path, named: str | Path | None) -> Path:
    """The text encoder's folder: the user's, `flan-t5-xl` below `weights`, or, where the weights
    came from the hub, fetched from there as well."""
    from scalingar_plugins.hub.fetch import fetch, folder_for, in_cache
    from scalingar_plugins.hub.sources import ENCODER

    if named is not None:
        folder = folder_for("flan-t5-xl", named)
        if not (folder / "config.json").is_file():
            raise ScalingarError(
                f"t5={str(folder)!r} has no config.json: name flan-t5-xl's folder."
            )
        return folder
    for name in ENCODER_FOLDERS:
        if (weights / name / "config.json").is_file():
            return weights / name
    if in_cache(weights):
        return fetch(ENCODER).folder
    raise ScalingarError(
        f"{str(weights)!r} has no text encoder: put google/flan-t5-xl in "
        f"{str(weights / ENCODER_FOLDERS[0])!r}, name its folder with --option t5=DIR, or fetch it "
        "with --option t5=google/flan-t5-xl."
    )
