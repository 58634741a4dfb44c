"""Accuracies with intervals that respect how a benchmark's items hang together.

Overall accuracy is the unweighted mean over tasks (as GenEval). Items that share a cluster (the
same combination) are not independent, so the bootstrap resamples clusters, within tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.resampling import Groups, bootstrap
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


@frozen
class Estimate:
    """A mean with a percentile bootstrap interval; `clusters`: how many were resampled.

    The bounds are NaN where a task has a single cluster: its spread is not known.
    """

    mean: float
    low: float
    high: float
    items: int
    clusters: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.3f} [too few clusters]"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def task_mean(values: Sequence[float] | Array, tasks: Sequence[str]) -> float:
    """The unweighted mean over tasks of the mean over items."""
    data, names = np.asarray(values, dtype=np.float64), np.asarray(tasks)
    return float(np.mean([data[names == t].mean() for t in dict.fromkeys(tasks)]))


def estimate(
    values: Sequence[float] | Array,
    tasks: Sequence[str],
    clusters: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> Estimate:
    """Mean over tasks with a cluster bootstrap interval.

    Args:
        values: one per item; scores, or paired differences of two strategies on the same items.
        tasks, clusters: whose they are.
        level: coverage of the interval.
    """
    data = np.asarray(values, dtype=np.float64)
    if not len(data) or not len(data) == len(tasks) == len(clusters):
        raise ScalingarError(
            f"{len(data)} values, {len(tasks)} tasks, {len(clusters)} clusters: give one each."
        )
    groups = Groups.of(tasks, clusters)
    mean, low, high = bootstrap(
        data[:, None], groups, lambda m: m[..., 0], level=level, draws=draws, seed=seed
    )
    return Estimate(mean, low, high, len(data), groups.clusters)


def auroc_within(scores: Sequence[Array], correct: Sequence[Array]) -> tuple[float, int, int]:
    """AUROC of a signal against correctness, within prompts: pairs pooled over prompts.

    Returns the value (0.5 is chance), the prompts used, and those dropped because all their
    candidates were right or all wrong.
    """
    wins = pairs = 0.0
    used = dropped = 0
    for score, right in zip(scores, correct, strict=True):
        good, bad = score[right > 0.5], score[right <= 0.5]
        if not len(good) or not len(bad):
            dropped += 1
            continue
        used += 1
        gap = good[:, None] - bad[None, :]
        wins += float((gap > 0).sum() + 0.5 * (gap == 0).sum())
        pairs += gap.size
    return (wins / pairs if pairs else float("nan")), used, dropped
