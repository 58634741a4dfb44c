"""How much impossible prompts hurt: the drop from one split to another, method against base."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scalingar_analysis.reproduce import paper, sweeps
from scalingar_analysis.reproduce.findings import Section, Study, interval_text
from scalingar_analysis.reproduce.verdicts import Interval, verdict
from scalingar_analysis.statistics.resampling import Groups
from scalingar_analysis.tables.arms import Arm
from scalingar_fw.decoding.result import Array

#: Below this accuracy of the base on the hard split, a share of its drop means nothing.
FLOOR = 0.05


def less_hurt(
    easy: tuple[Array, Groups],
    hard: tuple[Array, Groups],
    *,
    level: float = 0.95,
    draws: int = 4000,
) -> Interval:
    """1 - drop / drop of the base, where drop = 1 - accuracy on hard / accuracy on easy prompts.

    Args:
        easy, hard: `[items, 2]` of the method and the base, with their groups; the two splits are
            resampled independently, method and base together.

    Returns:
        The value and its bounds, NaN where they are not known.
    """
    groups = (easy[1], hard[1])

    def drops(weights: Sequence[Array]) -> Array:
        a, b = (
            g.means(g.sums(columns), g.sizes, w)
            for (columns, g), w in zip((easy, hard), weights, strict=True)
        )
        drop = 1 - b / a
        return np.asarray(1 - drop[:, 0] / drop[:, 1])

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(drops([np.ones((1, g.clusters)) for g in groups])[0])
        if any(g.lonely for g in groups):
            return value, math.nan, math.nan
        spread = drops([g.resample(draws, seed) for seed, g in enumerate(groups)])
    if not np.isfinite(spread).all():
        return value, math.nan, math.nan
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def robustness(easy: Study, hard: Study) -> Section:
    """The paper's 26 %, beside ours."""
    rows, sentences = [], []
    floor = hard.frame.estimate(hard.frame.values(hard.arm("base")), hard.level).mean
    for arm in hard.arms:
        if not easy.has(arm.label):
            continue
        twin = easy.arm(arm.label)
        means = [s.frame.values(a) for s, a in ((easy, twin), (hard, arm))]
        there = easy.frame.estimate(means[0], easy.level).mean
        here = hard.frame.estimate(means[1], hard.level).mean
        drop = 1 - here / there if there else math.nan
        value = less_hurt(_pair(easy, twin), _pair(hard, arm), level=easy.level)
        mine = arm.label == "base"
        rows.append(
            [
                arm.label,
                easy.accuracy(twin),
                hard.accuracy(arm),
                "-" if math.isnan(drop) else f"{drop:.3f}",
                "-" if mine else interval_text(value),
                f"{paper.ROBUSTNESS:+.0%}".replace("%", " %") if arm.label == "scalingar" else "-",
            ]
        )
        if arm.label == "scalingar":
            what = "How much less `scalingar` loses than `base`"
            sentences.append(
                verdict(value, [paper.ROBUSTNESS], what)
                if floor >= FLOOR
                else f"{what}: inconclusive, the base is right on {floor:.1%} of the impossible "
                f"prompts, fewer than {FLOOR:.0%}."
            )
    columns = [
        "strategy", "accuracy", "on impossible prompts", "drop", "hurt less than the base", "paper",
    ]  # fmt: skip
    return Section("robustness", sweeps.EXPERIMENTS["robustness"], columns, rows, sentences)


def _pair(study: Study, arm: Arm) -> tuple[Array, Groups]:
    base = study.arm("base")
    columns = np.stack([study.frame.values(arm), study.frame.values(base)], axis=1)
    return columns, Groups.of(study.frame.tasks, study.frame.clusters)
