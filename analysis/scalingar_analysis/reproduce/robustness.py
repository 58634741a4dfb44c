"""How much prompts beyond training hurt: the drop from one split to another, method against base."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scalingar_analysis.reproduce import paper, sweeps
from scalingar_analysis.reproduce.findings import Section, Study, interval_text
from scalingar_analysis.reproduce.verdicts import Interval, verdict
from scalingar_analysis.statistics.clusters import NOTHING, Groups, Means
from scalingar_analysis.statistics.student import t_quantile
from scalingar_analysis.tables.arms import Arm
from scalingar_fw.decoding.result import Array

#: Below this accuracy of the base on the hard split, a share of its drop means nothing.
FLOOR = 0.05


def less_hurt(
    easy: tuple[Array, Groups], hard: tuple[Array, Groups], *, level: float = 0.95
) -> Interval:
    """1 - drop / drop of the base, where drop = 1 - accuracy on hard / accuracy on easy prompts.

    Args:
        easy, hard: `[items, 2]` of the method and the base, with their groups; the two splits are
            independent, method and base on one split are not.

    Returns:
        The value and its bounds (by the delta method, with the clustered covariance of all four
        accuracies), NaN where they are not known: too few clusters, or a base whose own drop could
        be 0.
    """
    means = [Means.of(columns, groups) for columns, groups in (easy, hard)]
    with np.errstate(divide="ignore", invalid="ignore"):
        (a, a0), (b, b0) = (m.values for m in means)
        drop, own = 1 - b / a, 1 - b0 / a0
        slopes = (
            np.array([b / a**2 / own, -drop / own**2 * b0 / a0**2]),
            np.array([-1 / a / own, drop / own**2 / a0]),
        )
        value = float(1 - drop / own)
    if easy[1].reason or hard[1].reason or not math.isfinite(value):
        return value, math.nan, math.nan
    if abs(own) <= _half([np.array([0.0, b0 / a0**2]), np.array([0.0, -1 / a0])], means, level):
        return value, math.nan, math.nan
    half = _half(slopes, means, level)
    return value, value - half, value + half


def _half(slopes: Sequence[Array], means: Sequence[Means], level: float) -> float:
    """Half the width of the interval of a function of independent means, from its slopes."""
    parts = [m.variance(s) for s, m in zip(slopes, means, strict=True)]
    if sum(parts) <= NOTHING:
        return 0.0
    dfs = [m.df(s) for s, m in zip(slopes, means, strict=True)]
    df = sum(parts) ** 2 / sum(v**2 / d for v, d in zip(parts, dfs, strict=True))
    return t_quantile(level, df) * math.sqrt(sum(parts))


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
                else f"{what}: inconclusive, the base is right on {floor:.1%} of the "
                f"prompts beyond training, fewer than {FLOOR:.0%}."
            )
    columns = [
        "strategy", "accuracy", "beyond training", "drop", "hurt less than the base", "paper",
    ]  # fmt: skip
    return Section("robustness", sweeps.EXPERIMENTS["robustness"], columns, rows, sentences)


def _pair(study: Study, arm: Arm) -> tuple[Array, Groups]:
    base = study.arm("base")
    columns = np.stack([study.frame.values(arm), study.frame.values(base)], axis=1)
    return columns, Groups.of(study.frame.tasks, study.frame.clusters)
