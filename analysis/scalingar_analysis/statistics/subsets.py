"""Exact best-of-k from a pool of N >= k independent candidates: the mean over all subsets of size k.

A pool of k costs what k candidates cost; the mean over every subset of a larger pool is the same in
expectation, with much less noise than the first k candidates have, and needs no second decoding.
Sorted by the score that selects, the j-th candidate is the best of C(j, k - 1) of the C(N, k)
subsets, which gives each candidate a weight and the mean without listing a subset (the pass@k of
arXiv 2107.03374 is the case where the selecting score is the judge's own).

It holds for candidates that are complete and drawn independently of one another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


def top_weights(count: int, k: int) -> Array:
    """`[count]`: the chance that the j-th of `count` values in ascending order is the largest of
    a random subset of size `k`: C(j, k - 1) / C(count, k), j from 0.

    Raises:
        ScalingarError: no subset has that size.
    """
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


def between(at: Callable[[int], Array], k: float, count: int) -> Array:
    """`at(k)` for a `k` that need not be whole: on the straight line between its neighbours, which
    is what deciding for each prompt by a coin between the two budgets gives. Nothing is
    extrapolated.

    Raises:
        ScalingarError: `k` outside of [1, count].
    """
    if not 1 <= k <= count:
        raise ScalingarError(
            f"k={k:g} must be in [1, {count}]: a budget of so many candidates, of a pool of {count}."
        )
    low = int(k)
    way = k - low
    return at(low) if not way else np.asarray((1 - way) * at(low) + way * at(low + 1))
