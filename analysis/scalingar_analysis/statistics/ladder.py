"""The oracle ladder: random, selected and oracle at every k up to N, from one complete pool.

Whether to work on signals or on search: the distance from random to oracle is what a selector could
gain, and selection efficiency = (selected - random) / (oracle - random) is what one does gain.

The candidates of a pool are independent draws of one distribution, so the mean over all subsets of
size k estimates a pool of k without bias (as the pass@k of arXiv 2107.03374). That fails where a
candidate's tokens depend on the others (beam search, SMC, forks) or where candidates were ended in
comparison with others, and is refused there: such strategies are decoded, or replayed, at each k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.intervals import Estimate
from scalingar_analysis.statistics.resampling import Groups, bootstrap
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_fw.decoding.strategy import Strategy


def top_weights(count: int, k: int) -> Array:
    """`[count]`: the chance that the j-th of `count` values in ascending order is the largest of
    a random subset of size `k`: C(j, k - 1) / C(count, k), j from 0."""
    if not 1 <= k <= count:
        raise ScalingarError(f"k={k} must be in [1, {count}]: the pool's size.")
    weights = np.zeros(count)
    weight = k / count  # of the largest; then downwards by the ratio of neighbours
    for j in range(count - 1, k - 2, -1):
        weights[j] = weight
        weight *= (j - k + 1) / j if j else 0.0
    return weights


def oracle_at(scores: Array, k: int) -> Array:
    """Expected best score of k candidates, `[items]`, from `scores [items, N]`."""
    return np.asarray(np.sort(scores, axis=1) @ top_weights(scores.shape[1], k))


def selected_at(scores: Array, signal: Array, k: int) -> Array:
    """Expected score of the candidate with the highest signal of k, `[items]`.

    `signal [items, N]`: ties go to the lower candidate id, as selectors have it.
    """
    count = scores.shape[1]
    # Candidates from last to first, then by signal: the lower id stands above its equals.
    order = count - 1 - np.argsort(signal[:, ::-1], axis=1, kind="stable")
    return np.asarray(np.take_along_axis(scores, order, 1) @ top_weights(count, k))


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
        count = self.scores.shape[1]
        if not 1 <= k <= count:
            raise ScalingarError(f"A budget of {k:.2f} candidates lies outside [1, {count}].")
        low = min(int(k), count - 1) if count > 1 else 1
        way = k - low
        below = oracle_at(self.scores, low)
        return below if not way else (1 - way) * below + way * oracle_at(self.scores, low + 1)


def ladder(
    scores: Array,
    signals: dict[str, Array],
    tasks: Sequence[str],
    clusters: Sequence[str],
    *,
    ks: Sequence[int] | None = None,
    level: float = 0.95,
    draws: int = 2000,
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
        mean, low, high = bootstrap(
            values[:, None], groups, lambda m: m[..., 0], level=level, draws=draws
        )
        return Estimate(mean, low, high, len(values), groups.clusters)

    rungs = []
    for k in range(1, scores.shape[1] + 1) if ks is None else ks:
        best = oracle_at(scores, k)
        chosen = {name: selected_at(scores, signal, k) for name, signal in signals.items()}
        efficiency = {
            name: bootstrap(
                np.stack([values, alone, best], axis=1),
                groups,
                lambda m: (m[..., 0] - m[..., 1]) / (m[..., 2] - m[..., 1]),
                level=level,
                draws=draws,
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
