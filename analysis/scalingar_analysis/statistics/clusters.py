"""Means over tasks whose items hang together in clusters: their covariance and degrees of freedom.

Items that share a cluster (the same combination of words) are not independent, so the clusters are
what is counted. Every interval, standard error and sample size of this package comes from here:

* the variance is the linearised one of a ratio of cluster totals (Cochran, Sampling Techniques,
  6.4) with the correction CR2 for few clusters of unequal size (Bell & McCaffrey 2002): a cluster
  that holds the share h of its task's items pulls the mean towards itself, so its residual is
  divided by sqrt(1 - h);
* tasks are independent strata of equal weight, so their variances add up, and the degrees of
  freedom follow from Satterthwaite's formula over the tasks' C - 1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from attrs import field, frozen

from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError

#: Fewer clusters than this have no interval: Student's factor is 3.2 for four clusters and 12.7 for
#: two, so that an interval would say more about the factor than about the data.
FEWEST = 5

#: A variance below it is rounding: of scores in [0, 1], nothing else is that small.
NOTHING = 1e-20


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
    def residual(self) -> int:
        """Clusters less tasks: what is left to see a spread by."""
        return self.clusters - len(self.tasks)

    @functools.cached_property
    def sizes(self) -> Array:
        """`[clusters]`: items in each."""
        return np.bincount(self.index, minlength=self.clusters).astype(np.float64)

    @property
    def reason(self) -> str:
        """Why these items have no interval; empty where they have one.

        Every task needs two clusters, and all tasks together as many to spare as `FEWEST` clusters
        of a single task have.
        """
        counts = np.bincount(self.task_of)
        if len(self.tasks) == 1 and self.clusters < FEWEST:
            return f"{_many(self.clusters)}, fewer than {FEWEST}"
        lonely = [t for t, n in zip(self.tasks, counts, strict=True) if n < 2]
        if lonely:
            return f"one cluster only in {', '.join(lonely)}"
        if self.residual < FEWEST - 1:
            return f"{_many(self.clusters)} in {len(self.tasks)} tasks, too few to spare"
        return ""

    def sums(self, values: Array) -> Array:
        """`[clusters]` or `[clusters, K]`: sums of `values [items]` or `[items, K]`."""
        data = np.asarray(values, dtype=np.float64)
        out = np.zeros((self.clusters, *data.shape[1:]))
        np.add.at(out, self.index, data)
        return out


@functools.lru_cache(maxsize=32)
def _groups(tasks: tuple[str, ...], clusters: tuple[str, ...]) -> Groups:
    names = tuple(dict.fromkeys(tasks))
    place = {t: i for i, t in enumerate(names)}
    pairs: dict[tuple[str, str], int] = {}
    index = [pairs.setdefault(pair, len(pairs)) for pair in zip(tasks, clusters, strict=True)]
    return Groups(names, np.array(index), np.array([place[t] for t, _ in pairs]))


def _many(count: int) -> str:
    return "1 cluster" if count == 1 else f"{count} clusters"


@frozen(eq=False)
class Means:
    """Means over tasks of K columns at once, with what is needed to say how sure they are.

    `values [K]`: the unweighted mean over tasks of each column's mean over items. `influences
    [clusters, K]`: what each cluster adds to the error, CR2-corrected, so that their inner products
    are the covariance. `units`: of how many independent units the tasks would be if every cluster
    moved as one (Kish's effective number, the least that they are worth).
    """

    values: Array
    influences: Array = field(repr=False)
    groups: Groups = field(repr=False)
    units: float

    @classmethod
    def of(cls, columns: Array, groups: Groups, weights: Array | None = None) -> Means:
        """Of `columns [items, K]`.

        Args:
            weights: `[items]`, what each item counts in its task's mean; equally where None. A mean
                of w-weighted values is the ratio of two totals, such as pairs won over pairs.

        Raises:
            ScalingarError: lengths differ, or a task weighs nothing.
        """
        data = np.asarray(columns, dtype=np.float64)
        if data.ndim != 2 or len(data) != len(groups.index):
            raise ScalingarError(
                f"Values of shape {data.shape} for {len(groups.index)} items: give a row for each."
            )
        weight = np.ones(len(data)) if weights is None else np.asarray(weights, dtype=np.float64)
        sums, sizes = groups.sums(data * weight[:, None]), groups.sums(weight)
        tasks = len(groups.tasks)
        totals = np.bincount(groups.task_of, sizes, minlength=tasks)
        if not (totals > 0).all():
            raise ScalingarError("A task's items weigh nothing: leave the task out.")
        means = np.stack(
            [np.bincount(groups.task_of, s, minlength=tasks) / totals for s in sums.T], axis=1
        )
        share = sizes / totals[groups.task_of]
        residual = sums - means[groups.task_of] * sizes[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (totals[groups.task_of] * np.sqrt(1 - share) * tasks)
            influences = np.where(share[:, None] < 1, residual * scale[:, None], 0.0)
        units = tasks**2 / np.bincount(groups.task_of, share**2, minlength=tasks).sum()
        return cls(means.mean(0), influences, groups, float(units))

    def variance(self, contrast: Sequence[float] | Array) -> float:
        """Of the linear combination of the columns with these weights."""
        return float(((self.influences @ np.asarray(contrast, float)) ** 2).sum())

    def covariance(self) -> Array:
        """`[K, K]`."""
        return np.asarray(self.influences.T @ self.influences)

    def df(self, contrast: Sequence[float] | Array) -> float:
        """Satterthwaite's degrees of freedom of that combination's variance, from the tasks'."""
        groups = self.groups
        spread = (self.influences @ np.asarray(contrast, float)) ** 2
        parts = np.bincount(groups.task_of, spread, minlength=len(groups.tasks))
        if parts.sum() <= NOTHING:
            return float(max(1, groups.residual))
        own = np.maximum(1, np.bincount(groups.task_of, minlength=len(groups.tasks)) - 1)
        return float(parts.sum() ** 2 / (parts**2 / own).sum())
