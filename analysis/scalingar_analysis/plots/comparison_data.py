"""From a run's table to what its comparison plots show: points, answers, settings that vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalingar_analysis.plots.comparison import Point
from scalingar_analysis.runs.run import Run, Table
from scalingar_analysis.statistics.intervals import estimate
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


def need_scores(run: Run, what: str) -> Table:
    """The table of a judged run, or a refusal that says what to do."""
    table = run.table()
    if not len(table.get("score", ())) or not np.isfinite(table["score"]).any():
        raise ScalingarError(
            f"{what} needs scores, and {run.name} has none: take the folder of a `scalingar bench`."
        )
    return table


def answers(table: Table) -> Table:
    """The rows of the chosen candidates that were scored."""
    keep = table["chosen"].astype(bool) & np.isfinite(table["score"])
    return {name: values[keep] for name, values in table.items()}


def points(run: Run) -> list[Point]:
    """Each strategy at each n: tokens per prompt in multiples of T, and accuracy.

    Accuracy is the unweighted mean over tasks with its clustered interval; an item's seeds
    are averaged first, since they are draws of one prompt.
    """
    table = need_scores(run, "A comparison")
    out = []
    for label in run.strategies:
        for n in np.unique(table["n"][table["strategy"] == label]):
            inside = (table["strategy"] == label) & (table["n"] == n)
            own = {name: values[inside] for name, values in table.items()}
            given = answers(own)
            if not len(given["item"]):
                continue
            items = np.unique(given["item"])
            values = [given["score"][given["item"] == i].mean() for i in items]
            first = [int(np.flatnonzero(given["item"] == i)[0]) for i in items]
            tasks = [str(given["task"][k]) for k in first]
            clusters = [str(given["cluster"][k]) for k in first]
            e = estimate(values, tasks, clusters)
            prompts = len(set(zip(own["item"].tolist(), own["seed"].tolist(), strict=True)))
            cost = float((own["tokens"] / own["total"]).sum()) / prompts
            oracle = bool(np.any(own["oracle"]))
            out.append(Point(label, int(n), cost, e.mean, e.low, e.high, oracle))
    return out


def by_task(run: Run) -> dict[tuple[str, int], dict[str, float]]:
    """Accuracy of each (strategy, n) by task."""
    given = answers(need_scores(run, "A comparison"))
    out: dict[tuple[str, int], dict[str, float]] = {}
    for label, n, task in sorted(
        set(zip(given["strategy"], given["n"].tolist(), given["task"], strict=True))
    ):
        inside = (given["strategy"] == label) & (given["n"] == n) & (given["task"] == task)
        out.setdefault((str(label), int(n)), {})[str(task)] = float(given["score"][inside].mean())
    return out


def pools(run: Run, strategy: str | None = None) -> tuple[list[Any], Array, list[str], list[str]]:
    """Complete, judged, independent pools of one strategy and size: examples, scores `[items, N]`,
    tasks, clusters."""
    if not run.judged:
        need_scores(run, "This plot")
    found = [(e, e.scores) for e in run.examples(strategy) if e.scores is not None]
    found = [
        (e, scores)
        for e, scores in found
        if len(scores) > 1
        and np.isfinite(scores).all()
        # A fork shares tokens with its parent: no draw of its own.
        and all(t.parent is None for t in e.decoded.trajectories)
    ]
    if not found:
        raise ScalingarError(
            f"{run.name} has no prompt whose candidates are all complete and scored: record with a "
            "strategy that ends nobody, such as best-of-n."
        )
    # The widest pools of the strategy that has most of them.
    widest = max(len(scores) for _, scores in found)
    found = [(e, scores) for e, scores in found if len(scores) == widest]
    labels = [e.strategy for e, _ in found]
    label = max(dict.fromkeys(labels), key=labels.count)
    kept = [(e, scores) for e, scores in found if e.strategy == label]
    examples = [e for e, _ in kept]
    tasks, clusters = [e.task or "" for e in examples], [e.cluster or "" for e in examples]
    return examples, np.stack([scores for _, scores in kept]), tasks, clusters


def signal_tables(examples: list[Any], names: list[str]) -> dict[str, Array]:
    """Signals of complete pools, `[prompts, N, T]`."""
    out = {}
    for name in names:
        if all(name in t.signals for e in examples for t in e.decoded.trajectories):
            out[name] = np.stack(
                [np.stack([t.signals[name] for t in e.decoded.trajectories]) for e in examples]
            )
    return out


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    out: dict[str, Any] = {}
    if isinstance(data, Mapping):
        for key, value in data.items():
            out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        out[prefix] = tuple(data) if isinstance(data, list) else data
    return out


def settings_that_vary(run: Run) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Dotted settings in which the run's strategies differ, and each strategy's values."""
    from scalingar_fw.experiments import open_store

    if run.source is None or not (run.source / "store.json").is_file():
        raise ScalingarError(f"{run.name} is no sweep: sensitivity needs a `scalingar bench`.")
    store = open_store(run.source)
    own = {label: flat(store.units(label)[0].config["strategy"]) for label in run.strategies}
    skip = ("name", "default_n")
    names = sorted({k for values in own.values() for k in values if k not in skip})
    varying = [k for k in names if len({values.get(k) for values in own.values()}) > 1]
    return varying, own
