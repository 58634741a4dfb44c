"""Models without weights whose logits are exact functions of one row's history.

Matrix products round differently with the shape of the batch, so exact statements ("N=4 is a
prefix of N=8") can only be tested where a row's logits cannot depend on its neighbours: here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.errors import ScalingarError

#: History of a row (prompt, tokens so far) -> (conditional, unconditional) logits, `[V]` each.
Rule = Callable[[Prompt, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]


@frozen(eq=False)
class History:
    """The "KV cache": what each row has read."""

    prompts: tuple[Prompt, ...]
    tokens: list[tuple[int, ...]]

    def take(self, rows: Tensor) -> History:
        picked = rows.tolist()
        return History(tuple(self.prompts[i] for i in picked), [self.tokens[i] for i in picked])


@frozen
class ReferenceModel:
    """Logits drawn from a hash of (prompt, history): any vocabulary, batch-invariant, no weights.

    `sharpness` scales the logits; `forbidden`: how many of the vocabulary's tokens each prompt
    forbids (which ones depends on the prompt); `branches`: 1 leaves out the unconditional branch.
    """

    vocab_size: int = field(default=16, validator=lambda i, a, v: _positive(a.name, v))
    grid: Grid = Grid(4, 4)
    sharpness: float = 2.0
    forbidden: int = 0
    branches: int = 2
    preset: Sampling = Sampling(guidance=2.0)
    dtype: torch.dtype = torch.float32
    name: str = "reference"
    device: torch.device = torch.device("cpu")

    @property
    def finite_logits(self) -> bool:
        return True

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
        return tuple(prompts)

    def prefill(self, conditioning: Sequence[Prompt], copies: int) -> tuple[History, Logits]:
        rows = tuple(p for p in conditioning for _ in range(copies))
        history = History(rows, [() for _ in rows])
        return history, self._logits(history)

    def step(self, cache: Any, token: Tensor, index: int) -> Logits:
        for row, t in enumerate(token.tolist()):
            cache.tokens[row] = (*cache.tokens[row], t)
        return self._logits(cache)

    def calls(self, index: int) -> int:
        return 1

    def decode_images(self, tokens: Tensor) -> Tensor:
        """Grey level by token, one pixel per cell: `[N, 3, rows, cols]`."""
        grey = tokens.float() / max(1, self.vocab_size - 1) * 2 - 1
        image = grey.view(-1, 1, self.grid.rows, self.grid.cols)
        return image.expand(-1, 3, -1, -1).contiguous()

    def row_bytes(self) -> int:
        return self.grid.size * 8 + self.branches * self.vocab_size * 4

    def rule(self, prompt: Prompt, tokens: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The logits after `tokens`; override in tests by `ScriptedModel`."""
        cond = _hashed(f"{prompt.key}:{tokens}", self.vocab_size) * self.sharpness
        uncond = _hashed(f"-:{tokens}", self.vocab_size) * self.sharpness
        return cond, uncond

    def _logits(self, history: History) -> Logits:
        pairs = [self.rule(p, t) for p, t in zip(history.prompts, history.tokens, strict=True)]
        cond = torch.tensor(np.array([c for c, _ in pairs]), dtype=self.dtype)
        uncond = torch.tensor(np.array([u for _, u in pairs]), dtype=self.dtype)
        permitted = None
        if self.forbidden:
            mask = np.ones(cond.shape, dtype=bool)
            for row, prompt in enumerate(history.prompts):
                start = prompt.key % self.vocab_size
                out = [(start + k) % self.vocab_size for k in range(self.forbidden)]
                mask[row, out] = False
            permitted = torch.from_numpy(mask)
        return Logits(cond, uncond if self.branches == 2 else cond, permitted)


@frozen
class ScriptedModel(ReferenceModel):
    """Logits from a function of (prompt, tokens so far): hand-made scripts for exact tests."""

    script: Rule | None = None

    def rule(self, prompt: Prompt, tokens: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        assert self.script is not None
        return self.script(prompt, tokens)

    @property
    def finite_logits(self) -> bool:
        return False  # scripts may hold -inf


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ScalingarError(f"{name}={value} must be at least 1.")


@functools.lru_cache(maxsize=1 << 14)  # properties ask for the same histories again and again
def _hashed(text: str, count: int) -> np.ndarray:
    """`count` standard normal numbers, a function of `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64))
    uniform = (bits.random_raw(2 * count) >> np.uint64(11)) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:count]))
    normal: np.ndarray = radius * np.cos(2 * np.pi * uniform[count:])
    normal.setflags(write=False)
    return normal
