"""Every kind of plot by name: from a run to a figure.

import scalingar_analysis as analysis
analysis.plot(run, "maps", signal="kl")      # in a notebook, or with an ax
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalingar_analysis.plots import (
    bands,
    comparison,
    comparison_data,
    contact_sheet,
    dynamics,
    maps,
    outcomes,
    ranking,
)
from scalingar_analysis.plots.confidence import plot_confidence
from scalingar_analysis.plots.guidance import plot_guidance
from scalingar_analysis.plots.live import plot_live, plot_tokens
from scalingar_analysis.plots.signals import SIGNALS, label_of, plot_signal
from scalingar_analysis.plots.steps import POLICY
from scalingar_analysis.plots.style import axes_or_new, fit, head, new_figure, our_style
from scalingar_analysis.runs.example import Example
from scalingar_analysis.runs.run import Run, as_run
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError, unknown_name


@frozen
class Options:
    """What narrows a plot: `prompt`: which one, from 0; `candidate`: its id (the answer where
    None); `signal`: a recorded one; `by`: outcome, task or strategy; `strategy`: a label."""

    prompt: int = 0
    candidate: int | None = None
    signal: str = "entropy"
    by: str = "outcome"
    strategy: str | None = None


@frozen
class Kind:
    """`draw`: into one Axes; `figure`: where a plot needs several. One of them is given."""

    summary: str
    draw: Callable[[Run, Options, Axes | None], Axes] | None = None
    figure: Callable[[Run, Options, bool], Figure] | None = None


def example_of(run: Run, o: Options) -> Example:
    """The prompt that the options ask for."""
    found = run.examples(o.strategy)
    if not 0 <= o.prompt < len(found):
        raise ScalingarError(f"prompt={o.prompt} must be below {len(found)}, the run's prompts.")
    return found[o.prompt]


def _panel(plot: Callable[..., Axes]) -> Callable[[Run, Options, Axes | None], Axes]:
    return lambda run, o, ax: plot(example_of(run, o), ax)


def _signals(run: Run, o: Options, dark: bool) -> Figure:
    example = example_of(run, o)
    known = {name for t in example.decoded.trajectories for name in t.signals}
    names = [name for name in SIGNALS if name in known]

    def panel(name: str) -> Callable[..., Axes]:
        return lambda run, ax, prompt: plot_signal(run, name, ax, prompt)

    heights = [3.2] * len(names)
    return dynamics.stacked(example, [panel(n) for n in names], heights, 0, dark, POLICY)


def _maps(run: Run, o: Options, dark: bool) -> Figure:
    """Entropy, margin and KL of one candidate, or `signal` of the answer's rivals beside it."""
    example = example_of(run, o)
    shown = _candidate(example, o)
    names = [n for n in ("entropy", "margin", "kl") if n in shown.signals]
    if o.signal not in names:
        names = [o.signal]
    with our_style(dark):
        figure = new_figure(0.3 + 3.3 * len(names), 3.35)
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - 0.55 / 3.35))
        for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            maps.plot_map(shown.trajectory, example.grid, shown.picture, ax, signal=name)
        head(figure, 0.02, example.prompt.label, example.config, int(28 * len(names)))
    return figure


def _candidate(example: Example, o: Options) -> Any:
    if o.candidate is None:
        return example.answer
    found = [c for c in example.candidates if c.id == o.candidate]
    if not found:
        ids = ", ".join(str(c.id) for c in example.candidates)
        raise ScalingarError(f"candidate={o.candidate} is none of this prompt's: {ids}.")
    return found[0]


def _map(run: Run, o: Options, ax: Axes | None) -> Axes:
    example = example_of(run, o)
    shown = _candidate(example, o)
    return maps.plot_map(shown.trajectory, example.grid, shown.picture, ax, signal=o.signal)


def _groups(run: Run, o: Options) -> dict[str, Array]:
    return bands.split(run.examples(o.strategy), o.signal, o.by)


def _bands(run: Run, o: Options, ax: Axes | None) -> Axes:
    return bands.plot_bands(_groups(run, o), ax, label=label_of(o.signal))


def _profile(axis: str) -> Callable[[Run, Options, Axes | None], Axes]:
    def draw(run: Run, o: Options, ax: Axes | None) -> Axes:
        grid = run.examples(o.strategy)[0].grid
        groups, label = _groups(run, o), label_of(o.signal)
        return bands.plot_profile(groups, grid, ax, axis=axis, label=label)

    return draw


def _outcomes(run: Run, o: Options, ax: Axes | None) -> Axes:
    """Of scored candidates by correctness, else by how each ended."""
    table = run.table()
    groups: dict[str, Array] = {}
    by_strategy = _estimating(table, o)
    for label, inside in by_strategy.items():
        prefix = f"{label}: " if len(by_strategy) > 1 else ""
        score, confidence = table["score"][inside], table["confidence"][inside]
        if np.isfinite(score).any():
            groups[f"{prefix}correct"] = confidence[score > 0.5]
            groups[f"{prefix}incorrect"] = confidence[score <= 0.5]
        else:
            status = table["status"][inside]
            groups |= {f"{prefix}{s}": confidence[status == s] for s in sorted(set(status))}
    return outcomes.plot_distributions(groups, ax)


def _estimating(table: Mapping[str, Array], o: Options) -> dict[str, Array]:
    """Each strategy that estimates a confidence, and its rows. They are never pooled: what one
    calls 0.7 is another's 0.3."""
    known = np.isfinite(table["confidence"]) & (table["confidence"] != 0.5)  # 0.5: estimates none
    labels = dict.fromkeys(str(s) for s in table["strategy"])
    found = {label: known & (table["strategy"] == label) for label in labels}
    return {k: v for k, v in found.items() if v.any() and o.strategy in (None, k)}


def _auroc(run: Run, o: Options, ax: Axes | None) -> Axes:
    from scalingar_analysis.statistics.signal_quality import auroc_over_steps

    examples, scores, _, clusters = comparison_data.pools(run, o.strategy)
    shares = np.linspace(1 / 12, 1, 12)
    wanted = [*dict.fromkeys((*SIGNALS, "confidence"))]
    tables = comparison_data.signal_tables(examples, wanted)
    if "entropy" in tables:  # so that above 0.5 always means useful
        tables["negative entropy"] = -tables.pop("entropy")
    tables = {name: t for name, t in tables.items() if np.ptp(t) > 0}  # a neutral confidence
    found = auroc_over_steps(tables, scores, clusters, fractions=shares.tolist())
    curves = {f"mean {name}": [mean for mean, _ in row] for name, row in found.items()}
    return ranking.plot_auroc(curves, shares, ax)


def _risk(run: Run, o: Options, ax: Axes | None) -> Axes:
    from scalingar_analysis.statistics.signal_quality import risk_coverage

    given = comparison_data.answers(comparison_data.need_scores(run, "Risk-coverage"))
    curves = {}
    for label in run.strategies if o.strategy is None else [o.strategy]:
        inside = (given["strategy"] == label) & np.isfinite(given["confidence"])
        values = given["confidence"][inside]
        if len(values) and np.ptp(values) > 0:  # the neutral estimator says 0.5 throughout
            found = risk_coverage(values, given["score"][inside])
            curves[label] = (found.coverage, found.risk)
    if not curves:
        raise ScalingarError(
            "None of the strategies estimates a confidence: nothing can be ranked."
        )
    return ranking.plot_risk_coverage(curves, ax)


def _calibration(run: Run, o: Options, ax: Axes | None) -> Axes:
    table = comparison_data.need_scores(run, "Calibration")
    by_strategy = _estimating(table, o)
    if not by_strategy:
        raise ScalingarError("No strategy here estimates a confidence: there is none to calibrate.")
    for place, (label, known) in enumerate(by_strategy.items()):
        columns = (table[k][known] for k in ("task", "cluster", "prompt"))
        homes = [f"{t}: {c or p}" for t, c, p in zip(*columns, strict=True)]
        ax = outcomes.plot_calibration(
            table["confidence"][known],
            table["score"][known],
            ax,
            clusters=homes,
            name=label if len(by_strategy) > 1 else "",
            place=place,
        )
    assert ax is not None
    return ax


def _ladder(run: Run, o: Options, ax: Axes | None) -> Axes:
    from scalingar_analysis.statistics.ladder import ladder

    examples, scores, tasks, clusters = comparison_data.pools(run, o.strategy)
    tables = comparison_data.signal_tables(examples, ["log_prob_cond", "entropy", "confidence"])
    signs = {"log_prob_cond": 1.0, "entropy": -1.0, "confidence": 1.0}
    means = {
        ("mean log p, conditional" if n == "log_prob_cond" else f"mean {n}"): signs[n] * t.mean(2)
        for n, t in tables.items()
        if np.ptp(t) > 0
    }
    return comparison.plot_ladder(ladder(scores, means, tasks, clusters), ax)


def _sensitivity(run: Run, o: Options, ax: Axes | None) -> Axes:
    """Accuracy over the two settings in which the strategies of a sweep differ."""
    varying, own = comparison_data.settings_that_vary(run)
    if len(varying) not in (1, 2):
        raise ScalingarError(
            f"A heat-map shows one or two settings, and this sweep's strategies differ in "
            f"{len(varying)}: {', '.join(varying) or 'none'}."
        )
    row = varying[0]
    column = varying[1] if len(varying) == 2 else None
    best = {p.name: p for p in sorted(comparison_data.points(run), key=lambda p: p.n)}
    rows = sorted({own[s][row] for s in best}, key=_order)
    columns = sorted({own[s][column] for s in best}, key=_order) if column else [""]
    table = np.full((len(rows), len(columns)), np.nan)
    for name, p in best.items():
        place = columns.index(own[name][column]) if column else 0
        table[rows.index(own[name][row]), place] = p.accuracy
    return comparison.plot_sensitivity(
        table, rows, columns, ax, row_label=row, column_label=column or ""
    )


def _order(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (not number, value if number else str(value))


KINDS: dict[str, Kind] = {
    "dynamics": Kind(
        "entropy, confidence, guidance and live candidates of a prompt",
        figure=lambda run, o, dark: dynamics.figure_of(example_of(run, o), 0, dark),
    ),
    "signals": Kind("entropy, margin, KL and log-probabilities of a prompt", figure=_signals),
    "signal": Kind(
        "one signal of a prompt (--signal)",
        draw=lambda run, o, ax: plot_signal(example_of(run, o), o.signal, ax),
    ),
    "confidence": Kind(
        "confidence with threshold, flags, probations, prunings and recoveries",
        draw=_panel(plot_confidence),
    ),
    "guidance": Kind("the guidance scale of a prompt", draw=_panel(plot_guidance)),
    "live": Kind("live candidates of a prompt", draw=_panel(plot_live)),
    "tokens": Kind("tokens so far of a prompt", draw=_panel(plot_tokens)),
    "maps": Kind("entropy, margin and KL on the grid over a candidate's image", figure=_maps),
    "map": Kind("one signal on the grid over a candidate's image (--signal)", draw=_map),
    "candidates": Kind(
        "all candidates of a prompt with status and confidence",
        figure=lambda run, o, dark: contact_sheet.figure_of(example_of(run, o), dark),
    ),
    "bands": Kind("a signal over steps: median and quantile band by --by", draw=_bands),
    "rows": Kind("a signal by row of the grid, by --by", draw=_profile("row")),
    "columns": Kind("a signal by column of the grid, by --by", draw=_profile("column")),
    "outcomes": Kind("distribution of confidence by outcome", draw=_outcomes),
    "auroc": Kind("AUROC of each signal over steps, on complete candidates", draw=_auroc),
    "risk": Kind("risk-coverage of the answers by confidence", draw=_risk),
    "calibration": Kind("share correct by confidence", draw=_calibration),
    "pareto": Kind(
        "accuracy against tokens, with intervals and frontier",
        draw=lambda run, o, ax: comparison.plot_pareto(comparison_data.points(run), ax),
    ),
    "budget": Kind(
        "accuracy over n, with intervals",
        draw=lambda run, o, ax: comparison.plot_budget(comparison_data.points(run), ax),
    ),
    "strategies": Kind(
        "accuracy of each strategy, oracles apart",
        draw=lambda run, o, ax: comparison.plot_strategies(comparison_data.points(run), ax),
    ),
    "sensitivity": Kind("accuracy over the settings that a sweep varies", draw=_sensitivity),
    "ladder": Kind("random, selected and oracle at every k", draw=_ladder),
}


def kind_of(name: str) -> Kind:
    if name not in KINDS:
        raise unknown_name("kind of plot", name, KINDS)
    return KINDS[name]


def figure(
    run: Any,
    kind: str = "dynamics",
    dark: bool = False,
    paper: float | None = None,
    **options: Any,
) -> Figure:
    """A figure of its own, in our style; `paper`: for print, so many inches wide."""
    entry, o = kind_of(kind), _options(options)
    if paper is not None and entry.draw is None:
        one = ", ".join(name for name, k in KINDS.items() if k.draw is not None)
        raise ScalingarError(
            f"kind={kind!r} has several panels, which no column holds: for a paper take one of {one}."
        )
    source = as_run(run)
    if entry.figure is not None:
        return entry.figure(source, o, dark)
    assert entry.draw is not None
    with our_style(dark, paper is not None):
        ax = entry.draw(source, o, None)
        out: Any = ax.get_figure(root=True)
        made: Figure = out
        if paper is not None:
            fit(made, paper)
    return made


def plot(
    run: Any,
    kind: str = "dynamics",
    ax: Axes | None = None,
    dark: bool = False,
    paper: float | None = None,
    **options: Any,
) -> Any:
    """Plot a run: into `ax` where it is given (and returned), else as a figure.

    Args:
        run: a folder, a `Generation`, a `Trace`, or a list of such.
        kind: a name in `scalingar_analysis.plots.plot_registry.KINDS`.
        ax: an Axes to draw into; kinds of several panels make a figure of their own.
        dark: light on dark; an `ax` keeps its own colours.
        paper: for print: so many inches wide (a column is about 3.3), small serif type.
        options: prompt, candidate, signal, by, strategy (`Options`).
    """
    if ax is None:
        return figure(run, kind, dark, paper, **options)
    if paper is not None:
        raise ScalingarError("paper= sets a figure's width, and `ax` has one: give one of the two.")
    entry = kind_of(kind)
    if entry.draw is None:
        raise ScalingarError(f"kind={kind!r} has several panels: leave ax out.")
    return entry.draw(as_run(run), _options(options), axes_or_new(ax))


def _options(given: dict[str, Any]) -> Options:
    known = [a.name for a in Options.__attrs_attrs__]
    for name in given:
        if name not in known:
            raise unknown_name("option of a plot", name, known)
    return Options(**{k: v for k, v in given.items() if v is not None})
