"""Oracle ladders and signals' AUROC from the complete pools of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.ladder import check_independent, ladder
from scalingar_analysis.statistics.ratios import ratio
from scalingar_analysis.statistics.signal_quality import auroc
from scalingar_analysis.tables.arms import SIGNALS, Arm, Key, complete, judged
from scalingar_analysis.tables.costs import Cost
from scalingar_analysis.tables.frame import Frame
from scalingar_analysis.tables.plain import interval, number
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class Family:
    """Arms that draw the same independent, complete candidates: they differ in n and selector."""

    arms: tuple[Arm, ...]

    @property
    def widest(self) -> Arm:
        """It serves all smaller n."""
        return max(self.arms, key=lambda a: a.n)

    @property
    def plain(self) -> bool:
        """Whether they are samples at a constant guidance, as one sample is."""
        return self.widest.part("guidance") == "constant"


def families(
    arms: Sequence[Arm], keys: Sequence[Key], make: Callable[[Mapping[str, Any]], Strategy]
) -> list[Family]:
    """The arms whose pools are complete, judged and independent, by their way of drawing."""
    from scalingar_fw.config.identity import identity_of

    found: dict[str, list[Arm]] = {}
    for arm in arms:
        cells = [arm.cells[key] for key in keys]
        if not complete(cells) or not judged(cells):
            continue
        try:
            check_independent(make(arm.strategy))
        except ScalingarError:
            continue
        drawn = {k: arm.strategy.get(k) for k in ("guidance", "sampler", "confidence")}
        if arm.part("guidance") == "constant":
            drawn.pop("confidence")  # nothing that follows from it reaches a token
        name = identity_of({**drawn, "model": arm.config.get("model_hash")})
        found.setdefault(name, []).append(arm)
    return [Family(tuple(own)) for own in found.values() if max(a.n for a in own) > 1]


def ladders(pools: Sequence[Arm], frame: Frame, level: float) -> list[dict[str, Any]]:
    """The oracle ladder of each pool, and of its held-out and in-distribution items apart."""
    out = []
    for arm in pools:
        out.append({"part": None, **pool_of(arm, frame.keys, level)})
        for name, places in frame.parts.items():
            out.append({"part": name, **pool_of(arm, frame.part(places).keys, level)})
    return out


def gaps(
    arms: Sequence[Arm],
    pools: Sequence[Arm],
    frame: Frame,
    values: Mapping[int, Array],
    costs: Mapping[int, Cost],
    level: float,
) -> list[dict[str, Any]]:
    """How much of the way from one sample to the oracle at its own budget each arm goes.

    The budget is k = tokens / T complete candidates; pass@k comes from the widest pool of plain
    samples (constant guidance), without bias, and lies between whole k in a straight line. Arms
    with a budget of one sample, or beyond the pool, have no row.
    """
    plain = [a for a in pools if a.part("guidance") == "constant"]
    if not plain:
        return []
    pool = max(plain, key=lambda a: a.n)
    scores = np.stack([pool.cells[key].scores for key in frame.keys])
    tasks, clusters = ([getattr(pool.cells[k], n) for k in frame.keys] for n in ("task", "cluster"))
    rungs = ladder(scores, {}, tasks, clusters, ks=[1])
    alone = frame.by_item(scores.mean(1))
    rows = []
    for arm in arms:
        k = costs[id(arm)].tokens / arm.total
        if arm.oracle or not 1 < k <= pool.n:
            continue
        best = frame.by_item(rungs.oracle_for(k))
        columns = np.stack([values[id(arm)], alone, best], axis=1)
        rows.append(
            {
                "strategy": arm.label,
                "n": arm.n,
                "k": k,
                "pool": pool.name,
                "random": frame.estimate(alone, level).mean,
                "oracle": frame.estimate(best, level).mean,
                "accuracy": frame.estimate(values[id(arm)], level).mean,
                "closed": _closed(columns, frame, level),
                "parts": {
                    name: _closed(columns[places], frame.part(places), level)
                    for name, places in frame.parts.items()
                },
            }
        )
    return rows


def _closed(columns: Array, frame: Frame, level: float) -> dict[str, float | None]:
    """(accuracy - one sample) / (oracle - one sample), from `columns [items, 3]` of these."""
    found = ratio(columns, frame.groups, [1, -1, 0], [0, -1, 1], level=level)
    return dict(zip(("mean", "low", "high"), map(number, found), strict=True))


def pool_of(arm: Arm, keys: Sequence[Key], level: float = 0.95) -> dict[str, Any]:
    """The oracle ladder of one arm's complete candidates, and what each signal knows of them."""
    cells = [arm.cells[key] for key in keys]
    scores = np.stack([c.scores for c in cells])
    tasks, clusters = [c.task for c in cells], [c.cluster for c in cells]
    signals = {}
    for name in SIGNALS:
        values = np.stack([c.signals[name] for c in cells])
        if np.isfinite(values).all() and np.ptp(values) > 0:
            signals[name] = values
    ks = sorted({*(2**i for i in range(scores.shape[1].bit_length())), scores.shape[1]})
    found = ladder(
        scores, signals, tasks, clusters, ks=[k for k in ks if k <= scores.shape[1]], level=level
    )
    quality = {name: auroc(v, scores, clusters, level=level) for name, v in signals.items()}
    return {
        "strategy": arm.label,
        "n": arm.n,
        "pools": len(cells),
        "random": interval(found.random),
        "rungs": [
            {
                "k": rung.k,
                "oracle": interval(rung.oracle),
                "selected": {name: interval(e) for name, e in rung.selected.items()},
                "efficiency": {
                    name: dict(zip(("mean", "low", "high"), map(number, e), strict=True))
                    for name, e in rung.efficiency.items()
                },
            }
            for rung in found.rungs
        ],
        "auroc": {
            name: {
                "value": number(q.value),
                "low": number(q.low),
                "high": number(q.high),
                "used": q.used,
                "dropped": q.dropped,
            }
            for name, q in quality.items()
        },
    }
