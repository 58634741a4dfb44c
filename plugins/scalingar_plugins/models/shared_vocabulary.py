"""Language models whose vocabulary holds image codes beside words: what all of them do alike.

Emu3, SimpleAR, Chameleon, Lumina-mGPT and whatever `hf-causal` describes differ in how a prompt
becomes tokens and codes become pixels, and in nothing else. Some write an end-of-line token behind
each row of the grid. The loop never sees that token: `step` feeds it after the last code of a row,
and `calls` counts it. What follows the last row (ends of frame, image and sequence) depends on
nothing and nothing depends on it, so it is not fed at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from attrs import field, frozen
from torch import Tensor, nn

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.branches import split_branches
from scalingar_plugins.models.checkpoints import fingerprint
from scalingar_plugins.models.hf import PaddedIds, Trunk, TrunkCache, repeat_rows


@frozen(eq=False, slots=False, kw_only=True)
class SharedVocabulary(ABC):
    """An adapter around a decoder-only language model; subclasses say `pair` and `decode_images`.

    Args:
        name: under which it is registered.
        trunk: the transformer between embeddings and output layer.
        embed: token ids to embeddings.
        head: `[V, dim]`, the rows of the output layer that score the permitted tokens.
        ids: `[V]`, the token id of each permitted code.
        end_of_line: the id fed behind each row of the grid; None where rows follow each other.
        pad: the id of padding, which nothing attends to.
        grid: rows and columns of codes.
        device: of the weights.
        dtype: of the weights.
        preset: the sampling that is used where the user says nothing.
        presets: the official ones by name.
        settings: what changes results, for the record.
        files: what the weights were read from.
    """

    name: str
    trunk: Trunk = field(repr=False)
    embed: nn.Module = field(repr=False)
    head: Tensor = field(repr=False)
    ids: Tensor = field(repr=False)
    end_of_line: int | None = None
    pad: int
    grid: Grid
    device: torch.device
    dtype: torch.dtype
    preset: Sampling
    presets: Mapping[str, Sampling]
    settings: Mapping[str, Any] = field(factory=dict)
    files: Sequence[Path] = field(default=(), repr=False)
    branches: int = 2
    finite_logits: bool = True

    @abstractmethod
    def pair(self, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
        """Token ids that precede the first code: with the prompt, and without it."""

    @abstractmethod
    def decode_images(self, tokens: Tensor) -> Tensor:
        """Codes `[B, grid.size]` to images `[B, 3, H, W]` in [-1, 1]."""

    @property
    def vocab_size(self) -> int:
        """Permitted codes; the words of the vocabulary are not among them."""
        return int(self.ids.shape[0])

    def fingerprint(self) -> str:
        """A hash of the weights and of the settings that change results."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.files, self.settings)

    def encode(self, prompts: Sequence[Prompt]) -> PaddedIds:
        """Tokens of the prompts, then of their unconditional twins, padded on the left."""
        rows, twins = [], []
        for prompt in prompts:
            if prompt.class_id is not None:
                raise ScalingarError(f"class {prompt.class_id}: {self.name!r} draws texts.")
            if not prompt.text.strip():
                raise ScalingarError(f"The prompt of {self.name!r} is empty: say what to draw.")
            row, twin = self.pair(prompt)
            rows.append(row)
            twins.append(twin)
        return PaddedIds.of(rows + twins, self.pad, self.device)

    def prefill(self, conditioning: PaddedIds, copies: int) -> tuple[TrunkCache, Logits]:
        room = image_slots(self.grid, self.end_of_line)
        cache, hidden = self.trunk.prefill(self.embed(conditioning.ids), conditioning.mask, room)
        cache, hidden = repeat_rows(cache, hidden, copies)
        return cache, self._logits(hidden)

    def step(self, cache: TrunkCache, token: Tensor, index: int) -> Logits:
        hidden = self._read(cache, self.ids[token.repeat(2)])
        if self.end_of_line is not None and self.calls(index) > 1:
            hidden = self._read(cache, torch.full_like(token, self.end_of_line).repeat(2))
        return self._logits(hidden)

    def _read(self, cache: TrunkCache, ids: Tensor) -> Tensor:
        return self.trunk.read(cache, self.embed(ids[:, None]))

    def _logits(self, hidden: Tensor) -> Logits:
        return split_branches(F.linear(hidden, self.head).float())

    def teacher_forced(self, prompts: Sequence[Prompt], tokens: Tensor) -> Logits:
        """Logits `[P, t + 1, V]` along `tokens [P, t]`, read at once without a cache."""
        given = self.encode(prompts)
        ids, kept = given.ids, [given.ids.shape[1] - 1]
        columns: list[Tensor] = []
        for index in range(tokens.shape[1]):
            columns.append(self.ids[tokens[:, index]])
            if self.end_of_line is not None and self.calls(index) > 1:
                columns.append(torch.full_like(tokens[:, index], self.end_of_line))
            kept.append(given.ids.shape[1] - 1 + len(columns))
        if columns:
            ids = torch.cat([ids, torch.stack(columns, 1).repeat(2, 1)], 1)
        mask = torch.cat([given.mask, given.mask.new_ones(ids.shape[0], len(columns))], 1)
        return self._logits(self.trunk.whole(self.embed(ids), mask)[:, kept])

    def calls(self, index: int) -> int:
        """2 where an end of line follows the code, else 1."""
        closes = self.end_of_line is not None and (index + 1) % self.grid.cols == 0
        return 2 if closes else 1

    def row_bytes(self) -> int:
        return self.branches * (self.trunk.row_bytes + 4 * self.vocab_size)

    def beside_bytes(self) -> int:
        return self.branches * self.trunk.beside_bytes


def image_slots(grid: Grid, end_of_line: int | None) -> int:
    """Cache positions of a whole image: its codes, and the ends of their lines where there are."""
    return grid.size + (0 if end_of_line is None else grid.rows)


def in_parts(tokens: Tensor, grid: Grid, pixels_per_token: int, pixels: int) -> list[Tensor]:
    """`tokens [B, grid.size]` as grids `[b, rows, cols]`, about `pixels` pixels each: an image
    decoder's maps take far more room than the images."""
    at_once = max(1, pixels // (pixels_per_token**2 * grid.size))
    parts = torch.split(tokens, at_once)
    return [part.reshape(-1, grid.rows, grid.cols) for part in parts]
