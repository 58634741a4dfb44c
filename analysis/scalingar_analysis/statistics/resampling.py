"""Cluster bootstrap of anything that is computed from means over tasks.

Items that share a cluster (the same combination) are not independent, so clusters are resampled,
within tasks; what is compared on the same items is resampled together, so that a difference or a
ratio keeps what its parts have in common.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class Groups:
    """How items hang together: for each task its items, and the cluster of each of them.

    `index [items]` names each item's cluster, numbered over all tasks; `task_of [clusters]`.
    """

    tasks: tuple[str, ...]
    index: Array
    task_of: Array

    @classmethod
    def of(cls, tasks: Sequence[str], clusters: Sequence[str]) -> Groups:
        """From one task and one cluster for each item; a cluster of two tasks counts as two."""
        if not len(tasks) or len(tasks) != len(clusters):
            raise ScalingarError(
                f"{len(tasks)} tasks and {len(clusters)} clusters: give one each for every item."
            )
        return _groups(tuple(map(str, tasks)), tuple(map(str, clusters)))

    @property
    def clusters(self) -> int:
        return len(self.task_of)

    @property
    def lonely(self) -> bool:
        """Whether some task has a single cluster: nothing is known of its spread."""
        return bool((np.bincount(self.task_of) < 2).any())

    def sums(self, values: Array) -> Array:
        """`[clusters]` or `[clusters, K]`: sums of `values [items]` or `[items, K]`."""
        data = np.asarray(values, dtype=np.float64)
        out = np.zeros((self.clusters, *data.shape[1:]))
        np.add.at(out, self.index, data)
        return out

    @property
    def sizes(self) -> Array:
        """`[clusters]`: items in each."""
        return np.bincount(self.index, minlength=self.clusters).astype(np.float64)

    def resample(self, draws: int, seed: int = 0) -> Array:
        """`[draws, clusters]`: how often each cluster is drawn, with replacement within its task.

        Read-only: tables ask for the same resamples again and again.
        """
        return _resamples(self, draws, seed)

    def _draw(self, draws: int, seed: int) -> Array:
        rng = np.random.Generator(np.random.Philox(seed))
        out = np.zeros((draws, self.clusters))
        for task in range(len(self.tasks)):
            inside = np.flatnonzero(self.task_of == task)
            pick = rng.integers(0, len(inside), size=(draws, len(inside)))
            np.add.at(out, (np.arange(draws)[:, None], inside[pick]), 1.0)
        out.setflags(write=False)
        return out

    def means(self, sums: Array, counts: Array, weights: Array) -> Array:
        """`[draws, K]`: the unweighted mean over tasks of a ratio of sums over resampled clusters.

        Args:
            sums: `[clusters, K]`, numerators.
            counts: `[clusters]`, denominators.
            weights: `[draws, clusters]`, as `resample` gives them.
        """
        total = np.zeros((len(weights), sums.shape[1]))
        for task in range(len(self.tasks)):
            inside = self.task_of == task
            part = weights[:, inside]
            total += (part @ sums[inside]) / (part @ counts[inside])[:, None]
        return total / len(self.tasks)


@functools.lru_cache(maxsize=32)
def _groups(tasks: tuple[str, ...], clusters: tuple[str, ...]) -> Groups:
    names = tuple(dict.fromkeys(tasks))
    place = {t: i for i, t in enumerate(names)}
    pairs: dict[tuple[str, str], int] = {}
    index = [pairs.setdefault(pair, len(pairs)) for pair in zip(tasks, clusters, strict=True)]
    return Groups(names, np.array(index), np.array([place[t] for t, _ in pairs]))


@functools.lru_cache(maxsize=8)
def _resamples(groups: Groups, draws: int, seed: int) -> Array:
    return groups._draw(draws, seed)


#: From task means `[K]` to a number; the same for each resample, `[draws, K]` to `[draws]`.
Statistic = Callable[[Array], Array]


def bootstrap(
    columns: Array,
    groups: Groups,
    statistic: Statistic,
    *,
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """A statistic of task means, with the bounds of its percentile bootstrap interval.

    Args:
        columns: `[items, K]`; column k's mean over tasks is the statistic's k-th argument.
        statistic: of `[..., K]`, on the last axis.
        level: coverage.

    Returns:
        The statistic on the data, and the bounds: NaN where a task has a single cluster (there is
        no spread to see), or where the statistic is undefined in a resample.
    """
    data = np.asarray(columns, dtype=np.float64)
    if data.ndim != 2 or len(data) != len(groups.index):
        raise ScalingarError(
            f"Values of shape {data.shape} for {len(groups.index)} items: give a row for each."
        )
    sums, sizes = groups.sums(data), groups.sizes
    once = np.ones((1, groups.clusters))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(groups.means(sums, sizes, once))[0])
        if groups.lonely:
            return value, math.nan, math.nan
        spread = statistic(groups.means(sums, sizes, groups.resample(draws, seed)))
    if not np.isfinite(spread).all():
        return value, math.nan, math.nan
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def standard_error(values: Array, groups: Groups) -> float:
    """Of the mean over tasks, from the spread of cluster totals (no resampling); NaN where a task
    has a single cluster.

    The linearised variance of a ratio estimator in each task, with C / (C - 1) for C clusters
    (Cochran, Sampling Techniques, 6.4).
    """
    if groups.lonely:
        return math.nan
    sums, sizes = groups.sums(np.asarray(values, dtype=np.float64)), groups.sizes
    variance = 0.0
    for task in range(len(groups.tasks)):
        inside = groups.task_of == task
        count, items = int(inside.sum()), sizes[inside].sum()
        mean = sums[inside].sum() / items
        residual = sums[inside] - mean * sizes[inside]
        variance += float((residual**2).sum()) / items**2 * count / (count - 1)
    return math.sqrt(variance) / len(groups.tasks)
