"""Streams of logits, and components played on them while candidates leave.

`play` keeps what each candidate was shown and what was said of it by identity (prompt, candidate),
so that a reference that knows one candidate at a time can be compared whatever the rows did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals, compute_signals
from scalingar_fw.decoding.state import Grid, Logits, Rows, take

CPU = torch.device("cpu")

KINDS = (
    "varied",
    "constant",
    "ties",
    "one token",
    "masked",
    "agreeing",
    "float16",
    "bfloat16",
)


def logits(kind: str, seed: int, steps: int, rows: int, vocab: int = 24) -> tuple[Tensor, Tensor]:
    """Conditional and unconditional logits `[T, N, V]` float32; -inf in both where forbidden."""
    rng = np.random.default_rng(seed)
    if kind == "one token":
        vocab = 1
    sharpness = rng.uniform(0.2, 5.0, (2, steps, rows, 1))
    cond, uncond = rng.standard_normal((2, steps, rows, vocab)) * sharpness
    if kind == "constant":
        cond, uncond = (
            np.broadcast_to(cond[:1], cond.shape),
            np.broadcast_to(uncond[:1], cond.shape),
        )
    if kind == "ties":  # the top two are equal; every third step all are
        best = cond.max(-1, keepdims=True) + 1
        cond = np.concatenate([best, cond[..., 2:], best], -1)
        cond[::3] = 0.0
    if kind == "agreeing":
        uncond = cond
    if kind == "masked":  # one token left at least, and sometimes no more
        allowed = rng.random(cond.shape) < rng.choice([0.0, 0.3, 0.9], (steps, rows, 1))
        np.put_along_axis(allowed, rng.integers(0, vocab, (steps, rows, 1)), True, -1)
        cond, uncond = np.where(allowed, cond, -np.inf), np.where(allowed, uncond, -np.inf)
    if kind in ("float16", "bfloat16"):
        dtype = getattr(torch, kind)
        return torch.tensor(cond).to(dtype).float(), torch.tensor(uncond).to(dtype).float()
    return torch.tensor(cond).float(), torch.tensor(uncond).float()


@frozen
class Company:
    """Who is decoded together: `counts[p]` candidates of prompt p; `leaving`: step to the
    positions of the rows that go before it."""

    counts: tuple[int, ...] = (4,)
    leaving: Mapping[int, Sequence[int]] = field(factory=dict)

    def rows(self) -> Rows:
        prompt = np.repeat(np.arange(len(self.counts)), self.counts)
        candidate = np.concatenate([np.arange(n) for n in self.counts])
        return Rows.of(prompt, candidate, len(self.counts))

    def keeping(self, step: int, rows: int) -> Tensor | None:
        """The rows that stay at `step`; None for all."""
        if step not in self.leaving:
            return None
        return torch.tensor([i for i in range(rows) if i not in self.leaving[step]])


def context(rows: Rows, grid: Grid, vocab: int = 24, guidance: float = 2.0) -> Context:
    return Context(rows, grid, vocab, Sampling(guidance=guidance), CPU)


def step_at(index: int, grid: Grid, rows: Rows) -> Step:
    return Step(index, grid.size, grid, rows, torch.zeros(len(rows), dtype=torch.float64))


def signals_of(cond: Tensor, uncond: Tensor) -> Signals:
    permitted = torch.isfinite(cond)
    return compute_signals(Logits(cond, uncond, None if bool(permitted.all()) else permitted))


def quantities(confidence: Confidence) -> dict[str, Tensor]:
    return confidence.recorded()


Histories = dict[tuple[int, int], dict[str, list[Any]]]


def play(
    estimator: ConfidenceEstimator, grid: Grid, cond: Tensor, uncond: Tensor, company: Company
) -> tuple[Histories, Histories]:
    """What each candidate was shown (signals, `cond`, `uncond`) and what was said of it."""
    rows = company.rows()
    state = estimator.init(context(rows, grid, cond.shape[-1]))
    place = torch.arange(len(rows))
    shown: Histories = defaultdict(lambda: defaultdict(list))
    said: Histories = defaultdict(lambda: defaultdict(list))
    for t in range(grid.size):
        keep = company.keeping(t, len(rows))
        if keep is not None:
            state, rows, place = take(state, keep), rows.take(keep), place[keep]
        signals = signals_of(cond[t, place], uncond[t, place])
        confidence, state = estimator.update(state, signals, step_at(t, grid, rows))
        for i, who in enumerate(zip(rows.prompt.tolist(), rows.candidate.tolist(), strict=True)):
            shown[who]["cond"].append(cond[t, place[i]].numpy())
            shown[who]["uncond"].append(uncond[t, place[i]].numpy())
            for name in ("entropy_nats", "entropy", "margin", "kl"):
                shown[who][name].append(float(getattr(signals, name)[i]))
            for name, value in quantities(confidence).items():
                said[who][name].append(float(value[i]))
    return shown, said
