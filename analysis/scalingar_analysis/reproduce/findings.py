"""The paper's tables from our arms: each figure of the paper beside ours, and what differs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import field, frozen

from scalingar_analysis.reproduce import paper, sweeps
from scalingar_analysis.reproduce.verdicts import Interval, best_value, share, span, verdict
from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.matched import Point, at_budget
from scalingar_analysis.statistics.paired import difference
from scalingar_analysis.statistics.ratios import ratio
from scalingar_analysis.tables import render
from scalingar_analysis.tables.arms import Arm, judged, oracle_of
from scalingar_analysis.tables.costs import cost_of
from scalingar_analysis.tables.frame import Frame
from scalingar_analysis.tables.pools import pool_of
from scalingar_analysis.tables.render import ci, engineering, fixed, percent
from scalingar_fw.decoding.result import Array

#: Where the evaluator judged the answers alone.
UNJUDGED = (
    "Nothing to say: it needs a score for every candidate, and the answers alone were judged."
)


@frozen
class Section:
    """One table with the sentences that go with it."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str] = field(default=())


def interval_text(value: Interval, as_share: bool = True) -> str:
    low = None if math.isnan(value[1]) else value[1]
    high = None if math.isnan(value[2]) else value[2]
    mean = value[0] if math.isfinite(value[0]) else None
    data = {"mean": mean, "low": low, "high": high}
    return percent(data) if as_share else ci(data)


@frozen(eq=False)
class Study:
    """Arms of one store on their common cells."""

    arms: Sequence[Arm]
    frame: Frame
    level: float = 0.95

    @classmethod
    def of(cls, arms: Sequence[Arm], labels: Sequence[tuple[str, int]]) -> Study:
        """Of the named (label, n) that are there."""
        kept = [a for a in arms if (a.label, a.n) in labels]
        return cls(kept, Frame.of(kept))

    def arm(self, label: str) -> Arm:
        return next(a for a in self.arms if a.label == label)

    def has(self, label: str) -> bool:
        return any(a.label == label for a in self.arms)

    def accuracy(self, arm: Arm) -> str:
        return str(self.frame.estimate(self.frame.values(arm), self.level))

    def change(self, arm: Arm, other: Arm) -> Interval:
        """Accuracy relative to another arm's, paired."""
        values, baseline = self.frame.values(arm), self.frame.values(other)
        return self.frame.difference(values, baseline, self.level).relative

    def tokens(self, arm: Arm) -> float:
        return cost_of(arm, self.frame.keys).tokens / arm.total

    @property
    def part_names(self) -> list[str]:
        """ "held out", "in distribution"; none where the benchmark does not say which is which."""
        return list(self.frame.parts)

    def apart(self, arm: Arm) -> list[str]:
        """Accuracy on each part."""
        values = self.frame.values(arm)
        return [
            str(self.frame.part(places).estimate(values[places], self.level))
            for places in self.frame.parts.values()
        ]

    def per_item(self, arm: Arm) -> Array:
        """Tokens of each item, the mean over its seeds."""
        tokens = [float(arm.cells[key].tokens) for key in self.frame.keys]
        return self.frame.by_item(np.array(tokens))


def overall(study: Study) -> Section:
    """Table 1."""
    base = study.arm("base")
    rows, sentences = [], []
    whole = [a for a in study.arms if a.label == "best-of-n" and judged(a.cells.values())]
    for arm in [*study.arms, *map(oracle_of, whole)]:
        changes = [r.change(arm.label) for r in paper.OVERALL]
        known = [c for c in changes if c is not None and arm.label != "base"]
        ours = study.change(arm, base)
        name = f"{arm.label}: no method" if arm.oracle else arm.label
        rows.append(
            [
                name,
                str(arm.n),
                *(fixed(r.scores.get(arm.label), 2) for r in paper.OVERALL),
                span(known) if known else "-",
                study.accuracy(arm),
                "-" if arm is base else interval_text(ours),
                *study.apart(arm),
                f"{study.tokens(arm):.2f}",
            ]
        )
        if known:
            sentences.append(verdict(ours, known, f"`{arm.label}` against `base`"))
    columns = [
        "strategy", "n", *(f"paper: {r.name}" for r in paper.OVERALL), "paper: change to base",
        "ours", "ours: change to base", *study.part_names, "tokens / T",
    ]  # fmt: skip
    sentences.append(
        "The paper's importance sampling and best-of-n pick by an external reward (ImageReward); "
        "ours pick by mean log-probability, and the exact judge picks in the oracle's row only."
    )
    return Section("overall", sweeps.EXPERIMENTS["overall"], columns, rows, sentences)


def ablation(study: Study, name: str, labels: Sequence[str]) -> Section:
    """Tables 2 and 4: each variant relative to the full method."""
    full = study.arm("scalingar")
    rows = [["scalingar", fixed(paper.ABLATION.scores["scalingar"], 1), "-", study.accuracy(full),
             "-", *study.apart(full), f"{study.tokens(full):.2f}"]]  # fmt: skip
    sentences = []
    for label in (*labels, "base"):
        if not study.has(label):
            continue
        arm, reported = study.arm(label), paper.ablated(label)
        ours = study.change(arm, full)
        rows.append(
            [
                label,
                fixed(paper.ABLATION.scores.get(label), 1),
                "-" if reported is None else share(reported),
                study.accuracy(arm),
                interval_text(ours),
                *study.apart(arm),
                f"{study.tokens(arm):.2f}",
            ]
        )
        if reported is not None:
            sentences.append(verdict(ours, [reported], f"`{label}` against the full method"))
    columns = [
        "strategy", f"paper: {paper.ABLATION.name}", "paper: change to the full method", "ours",
        "ours: change to the full method", *study.part_names, "tokens / T",
    ]  # fmt: skip
    return Section(name, sweeps.EXPERIMENTS[name], columns, rows, sentences)


def cost(study: Study, on_gpu: bool) -> Section:
    """Table 5, and what it comes to relative to best-of-n."""
    rows = []
    for arm in study.arms:
        if arm.label not in paper.COSTS:
            continue
        known, ours = paper.COSTS[arm.label], cost_of(arm, study.frame.keys)
        rows.append(
            [
                arm.label,
                f"{known.tokens / 1024:.2f}",
                f"{ours.tokens / arm.total:.2f}",
                f"{known.seconds_per_step:.3f}",
                f"{ours.seconds / ours.model_calls:.4f}",
                f"{known.seconds_per_image:.1f}",
                f"{ours.seconds:.3f}",
                f"{known.gigabytes:.1f}",
                f"{ours.peak_bytes / 1e9:.2f}" if on_gpu else "-",
                f"{ours.forward_rows:.0f}",
                engineering(ours.total_flops),
            ]
        )
    columns = [
        "strategy", "paper: tokens / T", "tokens / T", "paper: s / step", "s / step",
        "paper: s / image", "s / image", "paper: GB", "GB", "forward rows", "FLOPs",
    ]  # fmt: skip
    sentences = []
    if study.has("scalingar") and study.has("best-of-n"):
        mine, theirs = study.arm("scalingar"), study.arm("best-of-n")
        groups = Groups.of(study.frame.tasks, study.frame.clusters)
        both = np.stack([study.per_item(mine), study.per_item(theirs)], axis=1)
        saved = ratio(both, groups, [1, -1], [0, 1], level=study.level, scores=False)
        reported = paper.COSTS["scalingar"].tokens / paper.COSTS["best-of-n"].tokens - 1
        sentences.append(verdict(saved, [reported], "Tokens of `scalingar` against `best-of-n`"))
    sentences.append(
        "Seconds are of this machine, in batches of several prompts, under whatever else it did: "
        "a step is one model call of such a batch. The paper's are of one H200."
    )
    if not on_gpu:
        sentences.append("A process's memory on a CPU says little about a strategy: no figure.")
    return Section("cost", sweeps.EXPERIMENTS["cost"], columns, rows, sentences)


def sensitivity(arms: Sequence[Arm], n: int) -> Section:
    """Figures 9 to 11."""
    rows, sentences = [], []
    for name, values in sweeps.SENSITIVITY.items():
        labels = {v: sweeps.setting_label(name, v) for v in values}
        study = Study.of(arms, [(label, n) for label in labels.values()])
        good = {v: study.frame.values(study.arm(label)) for v, label in labels.items()}
        means = {v: study.frame.estimate(g, study.level) for v, g in good.items()}
        reported = paper.BEST[name]
        best = max(means, key=lambda v: (means[v].mean, v == reported))  # of equals, the paper's
        for value, label in labels.items():
            arm = study.arm(label)
            pruned = cost_of(arm, study.frame.keys).pruned
            rows.append(
                [
                    name,
                    value,
                    "best" if value == reported else "",
                    str(means[value]),
                    "best" if value == best else "",
                    f"{study.tokens(arm):.2f}",
                    f"{pruned:.2f}",
                ]
            )
        gap = difference(
            good[best], good[reported], study.frame.tasks, study.frame.clusters
        ).estimate
        sentences.append(best_value(name, best, reported, (gap.mean, gap.low, gap.high)))
    sentences.append(
        "The best of several values is picked on the same items that its interval is of, so that "
        "its advantage is overstated."
    )
    columns = ["setting", "value", "paper", "accuracy", "ours", "tokens / T", "pruned"]
    return Section("sensitivity", sweeps.EXPERIMENTS["sensitivity"], columns, rows, sentences)


def width(arms: Sequence[Arm]) -> Section:
    """Accuracy and tokens as the number of candidates grows, and both strategies at one budget."""
    kept = [a for a in arms if a.label in ("best-of-n", "scalingar")]
    study = Study(kept, Frame.of(kept))
    rows = [[a.label, str(a.n), study.accuracy(a), f"{study.tokens(a):.2f}"] for a in kept]
    frame, values = study.frame, {id(a): study.frame.values(a) for a in kept}
    family = [
        Point(a.label, a.n, study.tokens(a), values[id(a)]) for a in kept if a.label == "best-of-n"
    ]
    sentences = []
    for arm in kept:
        there = at_budget(family, study.tokens(arm)) if arm.label == "scalingar" else None
        if there is None or arm.n == 1:
            continue
        gap = frame.difference(values[id(arm)], there, study.level)
        bounds = f"[{fixed(gap.estimate.low, 3, '+')}, {fixed(gap.estimate.high, 3, '+')}]"
        sentences.append(
            f"At equal tokens, {study.tokens(arm):.2f} T, `scalingar` at N = {arm.n} minus "
            f"`best-of-n` (interpolated between its widths): "
            f"{fixed(gap.estimate.mean, 3, '+')} {bounds}, p = {gap.p:.3f}."
        )
    columns = ["strategy", "n", "accuracy", "tokens / T"]
    return Section("width", sweeps.EXPERIMENTS["width"], columns, rows, sentences)


def ladder(arm: Arm) -> Section:
    """Random, selected and oracle at each k, from the complete pool of best-of-n."""
    if not judged(arm.cells.values()):
        return Section("ladder", sweeps.EXPERIMENTS["ladder"], [], [], [UNJUDGED])
    pool = pool_of(arm, sorted(arm.cells))
    title, columns, rows = render.ladder_table(pool)
    quality = [f"`{name}` {ci({**q, 'mean': q['value']}, 2)}" for name, q in pool["auroc"].items()]
    sentences = [
        f"{title[0].upper()}{title[1:]}.",
        f"Within-prompt AUROC at the last token (0.5 is chance): {', '.join(quality)}.",
    ]
    return Section("ladder", sweeps.EXPERIMENTS["ladder"], columns, rows, sentences)
