"""`scalingar compare`: which strategy is better, at what cost, and is the difference real.

One family of tests is declared for a comparison, and Holm's correction is over all of it: every
strategy against every baseline (`differences`), and every strategy against exact best-of-k by mean
log-probability at its own tokens and at its own FLOPs (`best_of_k`). All other rows (other scores,
single tasks, held-out and in-distribution items apart, baselines interpolated between measured n)
describe: they have intervals and no p-value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.intervals import estimate
from scalingar_analysis.statistics.matched import Point, at_budget, pareto
from scalingar_analysis.statistics.paired import holm
from scalingar_analysis.statistics.signal_quality import risk_coverage
from scalingar_analysis.tables.arms import Arm
from scalingar_analysis.tables.budget import best_of_k, one_sample, parts_of
from scalingar_analysis.tables.costs import AXES, Cost, cost_of
from scalingar_analysis.tables.frame import Frame
from scalingar_analysis.tables.plain import gap, interval, number
from scalingar_analysis.tables.pools import families, gaps, ladders
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, unknown_name

#: Baselines where none is named, as far as they are there.
BASELINES = ("base", "best-of-n")

#: Which comparisons Holm's correction is over.
FAMILY = (
    "every strategy against every baseline, and against exact best-of-k by mean log-probability at "
    "its own tokens and FLOPs"
)


def compare(
    arms: Sequence[Arm],
    *,
    baselines: Sequence[str] = (),
    level: float = 0.95,
    resolution: float = 0.03,
    make: Callable[[Mapping[str, Any]], Strategy] | None = None,
) -> dict[str, Any]:
    """Every table of a comparison, as plain data.

    Args:
        arms: of one split; compared on the cells that all of them have.
        baselines: labels that the others are held against; `BASELINES` where none is given.
        level: coverage of every interval.
        resolution: half a width for which the number of prompts needed is stated.
        make: a strategy from its description, for what needs complete pools (exact best-of-k, the
            oracle ladder); without it there is none of that.

    Raises:
        ScalingarError: no cell in common, or an unknown baseline.
    """
    if not 0.5 <= level < 1:
        raise ScalingarError(f"level={level} must be in [0.5, 1): coverage, such as 0.95.")
    frame = Frame.of(arms)
    labels = list(dict.fromkeys(a.label for a in arms))
    for label in baselines:
        if label not in labels:
            raise unknown_name("baseline", label, labels)
    chosen = list(baselines) or [b for b in BASELINES if b in labels] or labels[:1]
    values = {id(a): frame.values(a) for a in arms}
    costs = {id(a): cost_of(a, frame.keys) for a in arms}
    drawn = [] if make is None else families(arms, frame.keys, make)
    pools = [f.widest for f in drawn]
    differences = _differences(arms, chosen, frame, values, level, resolution)
    budgets = best_of_k(arms, drawn, chosen, frame, values, costs, level)
    tested = [row for row in [*differences, *budgets] if row["p"] is not None]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted
    missing = [
        {"strategy": a.label, "n": a.n, "cells": len(frame.keys), "of": len(a.cells)}
        for a in arms
        if len(a.cells) > len(frame.keys)
    ]
    return {
        "items": len(frame.items),
        "cells": len(frame.keys),
        "clusters": len(set(zip(frame.tasks, frame.clusters, strict=True))),
        "seeds": sorted({seed for _, seed in frame.keys}),
        "level": level,
        "resolution": resolution,
        "baselines": chosen,
        "left_out": missing,
        "strategies": [_row(a, frame, values[id(a)], costs[id(a)], level) for a in arms],
        "one_sample": one_sample(drawn, frame, costs, level),
        "family": {"members": FAMILY, "tests": len(tested)},
        "differences": differences,
        "best_of_k": budgets,
        "fronts": _fronts(arms, frame, values, costs),
        "matched": _matched(arms, chosen, frame, values, costs, level),
        "ladders": ladders(pools, frame, level),
        "gaps": gaps(arms, pools, frame, values, costs, level),
        "notes": _notes(arms, frame, missing, costs),
    }


def _row(arm: Arm, frame: Frame, values: Array, cost: Cost, level: float) -> dict[str, Any]:
    tasks = {}
    for task in dict.fromkeys(frame.tasks):
        inside = [i for i, t in enumerate(frame.tasks) if t == task]
        clusters = [frame.clusters[i] for i in inside]
        tasks[task] = interval(
            estimate(values[inside], [task] * len(inside), clusters, level=level)
        )
    return {
        "strategy": arm.label,
        "n": arm.n,
        "oracle": arm.oracle,
        "accuracy": interval(frame.estimate(values, level)),
        "tasks": tasks,
        "parts": {
            name: interval(frame.part(places).estimate(values[places], level))
            for name, places in frame.parts.items()
        },
        "risk_coverage": _risk(arm, frame),
        "tokens": cost.tokens,
        "images_of_tokens": cost.tokens / arm.total,
        "forward_rows": cost.forward_rows,
        "flops": cost.total_flops,
        "flops_by_component": cost.flops,
        "seconds": cost.seconds,
        "peak_bytes": cost.peak_bytes,
        "pruned": cost.pruned,
        "dropped": cost.dropped,
        "out_of_budget": cost.out_of_budget,
        "recoveries": cost.recoveries,
        "scale": None if arm.scale is None else list(arm.scale),
        "warnings": list(cost.warnings),
    }


def _risk(arm: Arm, frame: Frame) -> dict[str, float] | None:
    """Error rates of the answers that the arm is surest of; None where it has no confidence."""
    cells = [arm.cells[key] for key in frame.keys]
    confidence = np.array([c.confidence for c in cells])
    if not np.isfinite(confidence).all() or np.ptp(confidence) == 0:
        return None
    found = risk_coverage(confidence, np.array([c.score for c in cells]))
    half = int(np.searchsorted(found.coverage, 0.5))
    return {"all": found.random, "half": float(found.risk[half]), "area": found.area}


def baseline_for(arm: Arm, label: str, arms: Sequence[Arm]) -> Arm | None:
    """The baseline's arm to hold `arm` against: at the same n, else its widest one below, else its
    narrowest."""
    family = sorted((a for a in arms if a.label == label), key=lambda a: a.n)
    if not family or arm.label == label:
        return None
    below = [a for a in family if a.n <= arm.n]
    return below[-1] if below else family[0]


def _differences(
    arms: Sequence[Arm],
    baselines: Sequence[str],
    frame: Frame,
    values: Mapping[int, Array],
    level: float,
    resolution: float,
) -> list[dict[str, Any]]:
    rows = []
    for place, label in enumerate(baselines):
        for arm in arms:
            other = baseline_for(arm, label, arms)
            if other is None or arm.oracle or other.oracle:
                continue
            if arm.label in baselines[:place]:  # the same pair was there the other way round
                continue
            found = frame.difference(values[id(arm)], values[id(other)], level)
            rows.append(
                {
                    "strategy": arm.label,
                    "n": arm.n,
                    "baseline": other.label,
                    "baseline_n": other.n,
                    **gap(found),
                    "resolution": number(found.resolution),
                    "prompts_needed": found.prompts_needed(resolution),
                    "parts": parts_of(frame, values[id(arm)], values[id(other)], level),
                }
            )
    return rows


def _fronts(
    arms: Sequence[Arm],
    frame: Frame,
    values: Mapping[int, Array],
    costs: Mapping[int, Cost],
) -> dict[str, list[dict[str, Any]]]:
    """Who is on the Pareto front by each axis; an oracle is no method and never is."""
    methods = [a for a in arms if not a.oracle]
    out = {}
    for axis in AXES:
        known = [(a, costs[id(a)].on(axis)) for a in methods]
        if not known or not all(cost for _, cost in known):
            continue
        good = [frame.estimate(values[id(a)], 0.95).mean for a, _ in known]
        front = pareto([float(c) for _, c in known if c is not None], good)
        out[axis] = [
            {"strategy": a.label, "n": a.n} for (a, _), on in zip(known, front, strict=True) if on
        ]
    return out


def _matched(
    arms: Sequence[Arm],
    baselines: Sequence[str],
    frame: Frame,
    values: Mapping[int, Array],
    costs: Mapping[int, Cost],
    level: float,
) -> list[dict[str, Any]]:
    """Each arm against the baselines' families at its own cost, where they have several widths."""
    rows = []
    for axis in AXES:
        for label in baselines:
            family = [a for a in arms if a.label == label and not a.oracle]
            if len(family) < 2:
                continue
            points = []
            for a in family:
                cost = costs[id(a)].on(axis)
                if cost:  # a model without products has no FLOPs to match
                    points.append(Point(label, a.n, cost, values[id(a)]))
            for arm in arms:
                budget = costs[id(arm)].on(axis)
                if arm.label == label or arm.oracle or not budget:
                    continue
                there = at_budget(points, budget)
                if there is None:
                    continue
                found = frame.difference(values[id(arm)], there, level)
                rows.append(
                    {
                        "strategy": arm.label,
                        "n": arm.n,
                        "axis": axis,
                        "budget": budget,
                        "baseline": label,
                        "baseline_accuracy": frame.estimate(there, level).mean,
                        **gap(found),
                        "p": None,
                        "parts": parts_of(frame, values[id(arm)], there, level),
                    }
                )
    return rows


def _notes(
    arms: Sequence[Arm],
    frame: Frame,
    missing: Sequence[Mapping[str, Any]],
    costs: Mapping[int, Cost],
) -> list[str]:
    notes = []
    if missing:
        most = max(m["of"] for m in missing)
        short = [a.name for a in arms if len(a.cells) < most]
        notes.append(
            f"Compared on the {len(frame.keys)} cells (item and seed) that all strategies have; "
            f"some have up to {most}. Fewer: {', '.join(short) or 'none, but other ones'}."
        )
    notes += [f"{a.name}: {w}." for a in arms for w in costs[id(a)].warnings]
    notes += _few(frame)
    if any(a.oracle for a in arms):
        notes.append("An oracle looks at what is measured: an upper bound, and no method.")
    return notes


def _few(frame: Frame) -> list[str]:
    """Which means have no interval, and why."""
    few = {}
    for task in dict.fromkeys(frame.tasks):
        own = [c for t, c in zip(frame.tasks, frame.clusters, strict=True) if t == task]
        reason = Groups.of([task] * len(own), own).reason
        if reason:
            few[task] = reason
    whole = frame.groups.reason
    notes = [f"No overall intervals: {whole}. Use a larger limit."] if whole else []
    if few:
        each = "; ".join(f"{task} has {reason}" for task, reason in few.items())
        notes.append(f"No interval for single tasks where too few clusters show a spread: {each}.")
    return notes
