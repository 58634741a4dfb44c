"""Accuracies and differences with intervals that respect how a benchmark's items hang together.

Overall accuracy is the unweighted mean over tasks (as GenEval). One estimator gives the interval,
the standard error and the number of items needed: the clustered variance of `clusters.py` with
Student's t. Two scales, since a score has ends that it cannot pass:

* a score in [0, 1] is worth n = m (1 - m) / variance independent answers. One right and one wrong
  answer are added to them (Laplace), and the interval is symmetric in log-odds, so that it never
  leaves [0, 1]. Where all answers are right, or all wrong, every cluster counts as a single answer
  (how alike the items of a cluster are cannot be seen then), with the exact interval of Clopper &
  Pearson;
* a difference in [-1, 1] has an interval symmetric around it. Where no item differs, one unit at
  each end is added to what the clusters are worth (Bonett & Price 2012).

`scalingar_analysis.studies.coverage` simulates how often they hold the truth, beside the bootstraps
and sandwich intervals that they were chosen from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.clusters import NOTHING, Groups, Means
from scalingar_analysis.statistics.student import t_quantile
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


@frozen
class Estimate:
    """A mean with its interval.

    `low`, `high`, `stderr`: NaN where the clusters are too few to know the spread; `reason` says
    then why, and is empty otherwise. `items`, `clusters`: how many there are. `df`: degrees of
    freedom of the variance.
    """

    mean: float
    low: float
    high: float
    items: int
    clusters: int
    stderr: float = math.nan
    df: float = math.nan
    reason: str = ""

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.3f} [no interval: {self.reason or 'spread not known'}]"
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
    weights: Sequence[float] | Array | None = None,
    level: float = 0.95,
) -> Estimate:
    """Mean over tasks of scores in [0, 1].

    Args:
        values: one score for each item.
        tasks, clusters: whose they are.
        weights: what each item counts within its task; equally where None.
        level: coverage of the interval.

    Raises:
        ScalingarError: lengths differ, or a value lies outside of [0, 1].
    """
    data = _checked(values, tasks, clusters, 0.0)
    groups = Groups.of(tasks, clusters)
    found = Means.of(data[:, None], groups, None if weights is None else np.asarray(weights))
    mean = min(1.0, max(0.0, float(found.values[0])))
    if groups.reason:
        return Estimate(mean, math.nan, math.nan, len(data), groups.clusters, reason=groups.reason)
    variance, df = found.variance([1.0]), found.df([1.0])
    worth = found.units if variance <= NOTHING else mean * (1 - mean) / variance
    centre = (mean * worth + 1) / (worth + 2)
    stderr = math.sqrt(centre * (1 - centre) / (worth + 2))
    odds = math.log(centre / (1 - centre))
    half = t_quantile(level, df) * stderr / (centre * (1 - centre))
    low, high = (1 / (1 + math.exp(min(700.0, -x))) for x in (odds - half, odds + half))
    if variance <= NOTHING and mean in (0.0, 1.0):
        unseen = 1 - ((1 - level) / 2) ** (1 / worth)
        low, high = (0.0, unseen) if mean == 0 else (1 - unseen, 1.0)
    # Of nearly equal answers the pseudo-answers may move the interval past the mean itself.
    low, high = min(low, mean), max(high, mean)
    return Estimate(mean, low, high, len(data), groups.clusters, stderr, df)


def estimate_difference(
    values: Sequence[float] | Array,
    tasks: Sequence[str],
    clusters: Sequence[str],
    *,
    level: float = 0.95,
) -> Estimate:
    """Mean over tasks of paired differences in [-1, 1], of two scores of each item.

    Raises:
        ScalingarError: lengths differ, or a value lies outside of [-1, 1].
    """
    data = _checked(values, tasks, clusters, -1.0)
    groups = Groups.of(tasks, clusters)
    found = Means.of(data[:, None], groups)
    mean = float(found.values[0])
    if groups.reason:
        return Estimate(mean, math.nan, math.nan, len(data), groups.clusters, reason=groups.reason)
    variance, df = found.variance([1.0]), found.df([1.0])
    stderr = math.sqrt(variance) if variance > NOTHING else unseen_error(found.units)
    half = t_quantile(level, df) * stderr
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Estimate(mean, low, high, len(data), groups.clusters, stderr, df)


def unseen_error(units: float) -> float:
    """The standard error of a difference of which `units` units show no spread: as if two more had
    been seen, one at each end of [-1, 1]."""
    return math.sqrt(2) / (units + 2)


def _checked(
    values: Sequence[float] | Array, tasks: Sequence[str], clusters: Sequence[str], lowest: float
) -> Array:
    data = np.asarray(values, dtype=np.float64)
    if not len(data) or not len(data) == len(tasks) == len(clusters):
        raise ScalingarError(
            f"{len(data)} values, {len(tasks)} tasks, {len(clusters)} clusters: give one each."
        )
    wrong = ~((data >= lowest - 1e-9) & (data <= 1 + 1e-9))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        other = "" if lowest else " A difference of two scores has `estimate_difference`."
        raise ScalingarError(
            f"values[{place}]={data[place]:g} must be in [{lowest:g}, 1]: a score of the benchmark"
            f"{' less another' if lowest else ''}.{other}"
        )
    return data


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
