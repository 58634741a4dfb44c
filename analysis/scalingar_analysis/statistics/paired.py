"""Is the difference between two strategies real? Paired on the same items, noise in common.

The same item and seed have the same noise under every strategy, so most of what makes an item hard
or lucky cancels in the difference: far fewer prompts settle it than two separate intervals would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.intervals import Estimate, estimate_difference
from scalingar_analysis.statistics.ratios import ratio
from scalingar_analysis.statistics.student import t_quantile
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError

#: Up to so many clusters that differ, all sign patterns are tried instead of drawn.
EXACT = 14


@frozen
class Difference:
    """A paired difference in accuracy: strategy minus baseline.

    `estimate`: the mean over tasks with its interval and standard error. `p`: of the cluster
    sign-flip test. `relative`: the difference as a share of the baseline's accuracy, with its
    bounds (NaN where there are none: too few clusters, or a baseline that could be 0).
    """

    estimate: Estimate
    p: float
    relative: tuple[float, float, float]
    level: float = 0.95

    @property
    def stderr(self) -> float:
        return self.estimate.stderr

    @property
    def resolution(self) -> float:
        """Half the width of the interval: what these items can tell apart. NaN where there is
        none."""
        if self.estimate.reason:
            return math.nan
        return t_quantile(self.level, self.estimate.df) * self.stderr

    def prompts_needed(self, resolution: float) -> int | None:
        """Items for an interval of half the width `resolution`, with the same mix of tasks and
        the same items in a cluster; None where the spread is not known.

        The interval's own standard error and degrees of freedom, both of which more clusters
        change: the one falls with their square root, the other grows in proportion.
        """
        if not 0 < resolution < 1:
            raise ScalingarError(
                f"resolution={resolution} must be in (0, 1): a share, such as 0.03."
            )
        if self.estimate.reason:
            return None
        factor = 1.0
        for _ in range(100):
            df = max(1.0, self.estimate.df * factor)
            wanted = (t_quantile(self.level, df) * self.stderr / resolution) ** 2
            if math.isclose(wanted, factor, rel_tol=1e-9):
                break
            factor = math.sqrt(factor * wanted)  # t falls with df, so the plain iteration swings
        return max(1, math.ceil(self.estimate.items * factor))


def sign_flip(values: Array, groups: Groups, *, draws: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of a mean over tasks of paired differences.

    Under the null hypothesis a cluster's differences might as well have the other sign, all of
    them together: which strategy is called which does not matter. Exact (all patterns) for up to
    `EXACT` clusters that differ at all; else (1 + hits) / (1 + draws), which is valid at any
    number of draws.
    """
    sums, sizes = groups.sums(values), groups.sizes
    items = np.bincount(groups.task_of, sizes)
    share = sums / items[groups.task_of] / len(groups.tasks)
    share = share[share != 0]
    observed = abs(float(share.sum()))
    if not len(share):
        return 1.0
    slack = 1e-12 * float(np.abs(share).sum())  # equal patterns must not differ by rounding
    if len(share) <= EXACT:
        bits = np.arange(2 ** len(share))[:, None] >> np.arange(len(share)) & 1
        flipped = np.abs((1.0 - 2.0 * bits) @ share)
        return float((flipped >= observed - slack).mean())
    rng = np.random.Generator(np.random.Philox(seed))
    hits = 0
    for start in range(0, draws, 1000):
        count = min(1000, draws - start)
        signs = rng.integers(0, 2, size=(count, len(share))) * 2.0 - 1.0
        hits += int((np.abs(signs @ share) >= observed - slack).sum())
    return (1 + hits) / (1 + draws)


def difference(
    values: Sequence[float] | Array,
    baseline: Sequence[float] | Array,
    tasks: Sequence[str],
    clusters: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """`values` minus `baseline`, both one for each item and in the same order.

    `seed`: of the sign patterns, where there are too many to try them all.
    """
    groups = Groups.of(tasks, clusters)
    both = np.stack([np.asarray(values, float), np.asarray(baseline, float)], axis=1)
    gap = both[:, 0] - both[:, 1]
    found = estimate_difference(gap, tasks, clusters, level=level)
    relative = ratio(both, groups, [1, -1], [0, 1], level=level)
    return Difference(found, sign_flip(gap, groups, seed=seed), relative, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: rejecting what is at most alpha keeps the chance of any false
    rejection in the table at alpha, whatever the tests' dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = floor
    return adjusted
