"""The oracle ladder: random, selected and oracle at every k up to N, from one complete pool.

Whether to work on signals or on search: the distance from random to oracle is what a selector could
gain, and selection efficiency = (selected - random) / (oracle - random) is what one does gain.

The candidates of a pool are independent draws of one distribution, so the mean over all subsets of
size k estimates a pool of k without bias (`subsets.py`). That fails where a candidate's tokens
depend on the others (beam search, SMC, forks) or where candidates were ended in comparison with
others, and is refused there: such strategies are decoded, or replayed, at each k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.intervals import Estimate, estimate
from scalingar_analysis.statistics.ratios import ratio
from scalingar_analysis.statistics.subsets import between, oracle_at, selected_at
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_fw.decoding.strategy import Strategy


@frozen
class Rung:
    """The ladder at one k. `efficiency` is NaN where oracle and random are equal."""

    k: int
    oracle: Estimate
    selected: dict[str, Estimate]
    efficiency: dict[str, tuple[float, float, float]]


@frozen(eq=False)
class Ladder:
    """`random`: one candidate, whatever k. `rungs`: k from 1 to N."""

    random: Estimate
    rungs: tuple[Rung, ...]
    scores: Array
    groups: Groups

    def oracle_for(self, k: float) -> Array:
        """Expected best score of each item at a budget of `k` complete candidates, between whole
        numbers in a straight line, `[items]`.

        Raises:
            ScalingarError: the pool is smaller than `k`, or `k` below 1.
        """
        return between(lambda n: oracle_at(self.scores, n), k, self.scores.shape[1])


def ladder(
    scores: Array,
    signals: dict[str, Array],
    tasks: Sequence[str],
    clusters: Sequence[str],
    *,
    ks: Sequence[int] | None = None,
    level: float = 0.95,
) -> Ladder:
    """The ladder of complete, independent pools of one size.

    Args:
        scores: `[items, N]`, no NaN.
        signals: by name, `[items, N]`: higher is better.
        tasks, clusters: one for each item.
        ks: which rungs; all of 1 to N where None.

    Raises:
        ScalingarError: a score is missing, so that a candidate was not completed.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ScalingarError(
            "The oracle ladder needs every candidate of every prompt complete and scored: record "
            "with a strategy that ends nobody, such as best-of-n."
        )
    groups = Groups.of(tasks, clusters)
    alone = scores.mean(1)

    def simple(values: Array) -> Estimate:
        return estimate(values, tasks, clusters, level=level)

    rungs = []
    for k in range(1, scores.shape[1] + 1) if ks is None else ks:
        best = oracle_at(scores, k)
        chosen = {name: selected_at(scores, signal, k) for name, signal in signals.items()}
        efficiency = {
            name: ratio(
                np.stack([values, alone, best], axis=1), groups, [1, -1, 0], [0, -1, 1], level=level
            )
            for name, values in chosen.items()
            if k > 1
        }
        selected = {name: simple(values) for name, values in chosen.items()}
        rungs.append(Rung(k, simple(best), selected, efficiency))
    return Ladder(simple(alone), tuple(rungs), scores, groups)


def check_independent(strategy: Strategy) -> None:
    """Raise `ScalingarError` unless the strategy's candidates are independent of one another."""
    from scalingar_fw.decoding.memory_budget import interacting

    part = interacting(strategy)
    if part is not None:
        raise ScalingarError(
            f"No oracle ladder of {strategy.name!r}: its {part} compares candidates, so a subset "
            "of its pool is not what a smaller n would have given. Decode or replay it at each n, "
            "or take the pool of best-of-n."
        )
