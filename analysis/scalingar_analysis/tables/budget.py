"""Every strategy against exact best-of-k of plain samples, at its own tokens and its own FLOPs.

The pool of plain samples that a comparison holds already gives the expected accuracy of best-of-k
for every k up to its size without another decoding: the mean over all its subsets
(`scalingar_analysis/statistics/subsets.py`). So each strategy meets the best-of-k that costs what it
costs. Between whole k both cost and accuracy lie on a straight line, as if each prompt tossed a coin
between the two; nothing is extrapolated.

k complete candidates of T tokens cost k T tokens. Their FLOPs are a straight line in k exactly (a
prompt is read once, whatever k), drawn through the narrowest and the widest n that were measured.

A random cut to k candidates that are then chosen between by a score is this best-of-k as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.paired import Difference
from scalingar_analysis.statistics.subsets import between, selected_at
from scalingar_analysis.tables.arms import Arm
from scalingar_analysis.tables.costs import Cost
from scalingar_analysis.tables.frame import Frame
from scalingar_analysis.tables.plain import gap, interval
from scalingar_analysis.tables.pools import Family
from scalingar_fw.decoding.result import Array

#: The score of the declared baseline: the mean log-probability that best-of-n itself picks by.
DEFAULT = "mean_log_prob_cond"

#: The model's own scores that every strategy is held against; the second never reads the prompt.
SCORES = (DEFAULT, "mean_log_prob_uncond")

#: What one sample, the mean over all candidates of the pool, is called.
ONE = "one sample"

AXES = ("tokens", "flops")


@frozen(eq=False)
class Baseline:
    """Complete, independent samples of one model: `scores`, `by[name]` `[cells, N]`.

    `line`: FLOPs of k candidates are line[0] + line[1] k; None where a single n was measured.
    """

    name: str
    total: int
    scores: Array
    by: Mapping[str, Array]
    line: tuple[float, float] | None

    @classmethod
    def of(cls, family: Family, frame: Frame, costs: Mapping[int, Cost]) -> Baseline:
        arm = family.widest
        cells = [arm.cells[key] for key in frame.keys]
        known: dict[str, Array] = {
            **{name: np.stack([c.signals[name] for c in cells]) for name in SCORES},
            **{
                name: np.stack([c.controls.get(name, np.full(arm.n, np.nan)) for c in cells])
                for name in dict.fromkeys(name for c in cells for name in c.controls)
            },
        }
        by = {name: v for name, v in known.items() if np.isfinite(v).all()}
        scores = np.stack([c.scores for c in cells])
        return cls(arm.name, arm.total, scores, by, _line(family, costs))

    @property
    def size(self) -> int:
        return int(self.scores.shape[1])

    def best(self, score: str, k: float, frame: Frame) -> Array:
        """Each item's expected success of the best of k by `score`, `[items]`."""
        signal = self.by[score]
        found = between(lambda n: selected_at(self.scores, signal, n), k, self.size)
        return frame.by_item(found)

    def one(self, frame: Frame) -> Array:
        """Each item's success of one sample: the mean over all candidates, `[items]`."""
        return frame.by_item(self.scores.mean(1))

    def affords(self, arm: Arm, cost: Cost, axis: str) -> float | None:
        """How many candidates the arm's cost buys; None where it is not known."""
        if axis == "tokens":
            return cost.tokens / self.total
        flops = cost.total_flops
        if self.line is None or flops is None:
            return None
        return (flops - self.line[0]) / self.line[1]


def _line(family: Family, costs: Mapping[int, Cost]) -> tuple[float, float] | None:
    """Through the cheapest arm at the narrowest and at the widest n: others of that n pay for a
    selector that best-of-k by a likelihood does not need."""
    cheapest: dict[int, float] = {}
    for arm in family.arms:
        flops = costs[id(arm)].total_flops
        if flops:
            cheapest[arm.n] = min(flops, cheapest.get(arm.n, flops))
    if len(cheapest) < 2:
        return None
    low, high = min(cheapest), max(cheapest)
    slope = (cheapest[high] - cheapest[low]) / (high - low)
    return (cheapest[low] - slope * low, slope) if slope > 0 else None


def baseline_of(
    arm: Arm, families: Sequence[Family], frame: Frame, costs: Mapping[int, Cost]
) -> Baseline | None:
    """The widest pool of plain samples of the arm's model."""
    mine = [
        f for f in families
        if f.plain and f.widest.config.get("model_hash") == arm.config.get("model_hash")
    ]  # fmt: skip
    if not mine:
        return None
    return Baseline.of(max(mine, key=lambda f: f.widest.n), frame, costs)


def best_of_k(
    arms: Sequence[Arm],
    families: Sequence[Family],
    baselines: Sequence[str],
    frame: Frame,
    values: Mapping[int, Array],
    costs: Mapping[int, Cost],
    level: float,
) -> list[dict[str, Any]]:
    """A row for each strategy, axis and score: best-of-k at its budget, and what it has beyond.

    Oracles and the labels in `baselines` have none. `p` is None in rows that are not of the
    declared family of tests (see `scalingar_analysis.tables.comparison`).
    """
    rows = []
    for arm in arms:
        if arm.oracle or arm.label in baselines:
            continue
        pool = baseline_of(arm, families, frame, costs)
        if pool is None:
            continue
        against: list[tuple[str, str, float, Array]] = [(ONE, "", 1.0, pool.one(frame))]
        for axis in AXES:
            k = pool.affords(arm, costs[id(arm)], axis)
            if k is None or not 1 - 1e-9 <= k <= pool.size + 1e-9:
                continue
            k = min(max(k, 1.0), float(pool.size))
            against += [(axis, score, k, pool.best(score, k, frame)) for score in pool.by]
        for axis, score, k, there in against:
            found = frame.difference(values[id(arm)], there, level)
            tested = axis != ONE and score == DEFAULT
            rows.append(
                {
                    "strategy": arm.label,
                    "n": arm.n,
                    "axis": axis,
                    "score": score,
                    "k": k,
                    "pool": pool.name,
                    "baseline": interval(frame.estimate(there, level)),
                    **gap(found),
                    "p": found.p if tested else None,
                    "p_holm": None,
                    "parts": parts_of(frame, values[id(arm)], there, level),
                }
            )
    return rows


def parts_of(frame: Frame, values: Array, there: Array, level: float) -> dict[str, dict[str, Any]]:
    """The difference on held-out and on in-distribution items, where both are there."""
    out = {}
    for name, places in frame.parts.items():
        found: Difference = frame.part(places).difference(values[places], there[places], level)
        out[name] = {k: v for k, v in gap(found).items() if k != "p"}
    return out


def one_sample(
    families: Sequence[Family], frame: Frame, costs: Mapping[int, Cost], level: float
) -> list[dict[str, Any]]:
    """One sample of each model: the mean over all candidates of its widest pool."""
    out, seen = [], set()
    for family in families:
        model = family.widest.config.get("model_hash")
        if model in seen:
            continue
        pool = baseline_of(family.widest, families, frame, costs)
        if pool is None:
            continue
        seen.add(model)
        values = pool.one(frame)
        out.append(
            {
                "pool": pool.name,
                "accuracy": interval(frame.estimate(values, level)),
                "parts": {
                    name: interval(frame.part(places).estimate(values[places], level))
                    for name, places in frame.parts.items()
                },
            }
        )
    return out
