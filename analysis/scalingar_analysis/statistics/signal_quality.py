"""Does a signal know a good image from a bad one? Apart from any policy that acts on it.

On complete, unpruned candidates only: what a policy ended early cannot be scored, and leaving it
out would flatter the signal that ended it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.intervals import estimate
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError

#: Shares of the tokens at which signals are read by default.
FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)


@frozen
class Auroc:
    """Within-prompt AUROC: pairs of a right and a wrong candidate of one prompt, pooled.

    0.5 is chance; below it, lower values are the better ones. `low`, `high`: its clustered
    interval, NaN for fewer than five clusters. `used`, `dropped`: prompts with mixed outcomes, and
    those whose candidates are all right or all wrong.
    """

    value: float
    low: float
    high: float
    used: int
    dropped: int


def pair_counts(signal: Array, scores: Array) -> tuple[Array, Array]:
    """For each prompt: pairs won (ties count half) and pairs in all; `signal`, `scores`
    `[prompts, N]`, a score above 0.5 counts as right."""
    right = scores > 0.5
    pair = right[:, :, None] & ~right[:, None, :]
    gap = signal[:, :, None] - signal[:, None, :]
    won = (pair & (gap > 0)).sum((1, 2)) + 0.5 * (pair & (gap == 0)).sum((1, 2))
    return won.astype(np.float64), pair.sum((1, 2)).astype(np.float64)


def auroc(
    signal: Array,
    scores: Array,
    clusters: Sequence[str],
    *,
    level: float = 0.95,
) -> Auroc:
    """AUROC of `signal [prompts, N]` against `scores [prompts, N]`.

    It is the mean over prompts of the share of pairs won, each prompt weighted by its pairs, and
    has the interval of such a mean.
    """
    won, pairs = pair_counts(np.asarray(signal, float), np.asarray(scores, float))
    used = int((pairs > 0).sum())
    dropped = len(pairs) - used
    if not used:
        return Auroc(np.nan, np.nan, np.nan, 0, dropped)
    mixed = np.flatnonzero(pairs > 0)
    won, pairs = won[mixed], pairs[mixed]
    own = [clusters[int(i)] for i in mixed]
    found = estimate(won / pairs, ["all"] * used, own, weights=pairs, level=level)
    return Auroc(float(won.sum() / pairs.sum()), found.low, found.high, used, dropped)


def steps_read(total: int, fractions: Sequence[float] = FRACTIONS) -> list[int]:
    """How many tokens each fraction of `total` is, at least 1."""
    for f in fractions:
        if not 0 < f <= 1:
            raise ScalingarError(f"fraction={f} must be in (0, 1]: a share of the tokens.")
    return [max(1, round(f * total)) for f in fractions]


def auroc_over_steps(
    signals: Mapping[str, Array],
    scores: Array,
    clusters: Sequence[str],
    *,
    fractions: Sequence[float] = FRACTIONS,
) -> dict[str, list[tuple[Auroc, Auroc]]]:
    """For each signal and fraction of the tokens: AUROC of its mean so far, and of its value at
    that step.

    Args:
        signals: by name, `[prompts, N, T]`, without NaN.
        scores: `[prompts, N]`.
        clusters: one for each prompt.
    """
    out = {}
    for name, values in signals.items():
        so_far = np.cumsum(values, axis=2, dtype=np.float64)
        row = []
        for count in steps_read(values.shape[2], fractions):
            mean = so_far[:, :, count - 1] / count
            now = values[:, :, count - 1]
            row.append((auroc(mean, scores, clusters), auroc(now, scores, clusters)))
        out[name] = row
    return out


@frozen(eq=False)
class RiskCoverage:
    """`coverage`, `risk`: share of the answers kept, the surest first, and their error rate.
    `area`: mean risk over coverages (AURC); `random`: the error rate of all, which a signal that
    knows nothing has as its area."""

    coverage: Array
    risk: Array
    area: float
    random: float


def risk_coverage(confidence: Array, scores: Array) -> RiskCoverage:
    """Answers of different prompts, ranked by confidence: how wrong are the surest ones?

    Args:
        confidence, scores: `[items]`, of each item's answer. Of equally sure answers none comes
            first: each counts as their mean.
    """
    confidence, wrong = np.asarray(confidence, float), 1.0 - np.asarray(scores, float)
    if not len(wrong) or confidence.shape != wrong.shape or not np.isfinite(confidence).all():
        raise ScalingarError("Risk-coverage needs a finite confidence for every answer.")
    _, level = np.unique(-confidence, return_inverse=True)
    counts = np.bincount(level)
    mean = np.bincount(level, wrong) / counts
    ordered = np.repeat(mean, counts)
    kept = np.arange(1, len(wrong) + 1)
    risk = np.cumsum(ordered) / kept
    return RiskCoverage(kept / len(wrong), risk, float(risk.mean()), float(wrong.mean()))
