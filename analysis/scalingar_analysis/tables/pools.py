"""Oracle ladders and signals' AUROC from the complete pools of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scalingar_analysis.ladder import check_independent, ladder
from scalingar_analysis.signal_quality import auroc
from scalingar_analysis.tables.arms import SIGNALS, Arm, Key, complete
from scalingar_analysis.tables.plain import interval, number
from scalingar_fw.errors import ScalingarError
from scalingar_fw.strategy import Strategy


def ladders(
    arms: Sequence[Arm],
    keys: Sequence[Key],
    level: float,
    make: Callable[[Mapping[str, Any]], Strategy],
) -> list[dict[str, Any]]:
    """One for each way of drawing candidates: strategies that differ in their selector share a
    pool, and the widest one serves all smaller n."""
    from scalingar_fw.composition import canonical

    widest: dict[str, Arm] = {}
    for arm in arms:
        if arm.n < 2 or not complete(arm.cells[key] for key in keys):
            continue
        try:
            check_independent(make(arm.strategy))
        except ScalingarError:
            continue
        drawn = {k: arm.strategy.get(k) for k in ("guidance", "sampler", "confidence")}
        if arm.part("guidance") == "constant":
            drawn.pop("confidence")  # nothing that follows from it reaches a token
        name = canonical({**drawn, "model": arm.config.get("model_hash")})
        if name not in widest or arm.n > widest[name].n:
            widest[name] = arm
    return [pool_of(arm, keys, level) for arm in widest.values()]


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
