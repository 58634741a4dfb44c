"""Reading finished candidates under other prompts: log p(tokens | prompt), one pass each.

What a picture says about *its* prompt is in contrasts: the likelihood under the prompt against the
likelihood under prompts that differ in a word. That needs the model, but neither a decoder of
images nor a reward model, and no new tokens. A network that reads a whole sequence in parallel does
it in one forward pass; for any other adapter the tokens are fed step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Ledger, Trajectory

#: Sequences that are read at once: bounded memory, and one size of batch for the kernels.
BATCH = 32


@runtime_checkable
class ReadsWhole(Protocol):
    """What an adapter may have beside `ModelAdapter`: a parallel pass over complete candidates."""

    def log_probs(self, prompts: Sequence[Prompt], tokens: Tensor) -> Tensor:
        """Conditional log-probabilities in nats, `[B, T]` float32: of each of `tokens [B, T]` int64
        given the row's prompt and the tokens before it. Equal to stepping, up to rounding."""
        ...


@runtime_checkable
class KnowsWordClasses(Protocol):
    """What an adapter of a closed vocabulary may have: which words can replace one another."""

    @property
    def word_classes(self) -> Sequence[Sequence[str]]:
        """Disjoint classes of words, such as all colours."""
        ...


def read(
    model: ModelAdapter,
    candidates: Sequence[Trajectory],
    prompts: Sequence[Prompt],
    ledger: Ledger,
) -> Array:
    """Log-probabilities in nats of complete candidates under each prompt.

    Args:
        model: the adapter that decoded them.
        candidates: K complete ones.
        prompts: M, that the model can read.
        ledger: `scored_rows` grows by the rows read, `model_calls` by the passes.

    Returns:
        `[M, K, T]` float64.

    Raises:
        ScalingarError: the model cannot read one of the prompts.
    """
    total = model.grid.size
    tokens = torch.from_numpy(np.stack([np.asarray(c.tokens) for c in candidates])).long()
    pairs = [(p, k) for p in range(len(prompts)) for k in range(len(candidates))]
    out = np.empty((len(prompts), len(candidates), total))
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        own = tokens[[k for _, k in part]].to(model.device)
        asked = [prompts[p] for p, _ in part]
        with torch.inference_mode():
            if isinstance(model, ReadsWhole):
                found = model.log_probs(asked, own)
                ledger.scored_rows += len(part) * total
                ledger.model_calls += 1
            else:
                found = _stepped(model, asked, own, ledger)
        for (p, k), row in zip(part, found.double().cpu().numpy(), strict=True):
            out[p, k] = row
    return out


def _stepped(
    model: ModelAdapter, prompts: Sequence[Prompt], tokens: Tensor, ledger: Ledger
) -> Tensor:
    """The same by feeding the tokens, as decoding does: for adapters without a parallel pass."""
    cache, logits = model.prefill(model.encode(prompts), 1)
    columns = []
    for index in range(tokens.shape[1]):
        values = logits.cond.float()
        if logits.permitted is not None:
            values = values.masked_fill(~logits.permitted, -torch.inf)
        chosen = tokens[:, index]
        columns.append(values.log_softmax(-1).gather(1, chosen[:, None])[:, 0])
        ledger.scored_rows += model.branches * len(prompts)
        if index + 1 < tokens.shape[1]:
            logits = model.step(cache, chosen, index)
            ledger.model_calls += model.calls(index)
    return torch.stack(columns, 1)
