"""Does a number known without the judge rank images rightly? AUROC over steps, risk-coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.intervals import auroc_within
from scalingar_analysis.plots.bands import padded
from scalingar_analysis.style import axes_or_new, legend_above, look, palette_of, shorten
from scalingar_fw.errors import ScalingarError
from scalingar_fw.result import Array

Curves = Mapping[str, tuple[Array, Array]]


def auroc_over_steps(
    examples: Sequence[Any],
    signals: Sequence[str],
    points: int = 16,
    running: bool = True,
    low_is_good: Sequence[str] = ("entropy", "entropy_nats", "uncertainty"),
) -> dict[str, tuple[Array, Array]]:
    """Within-prompt AUROC of each signal after a share of the steps: name to (share, AUROC).

    Args:
        examples: judged prompts (examples.py); each needs right and wrong candidates to count.
        signals: recorded signals.
        points: how many shares, evenly up to 1.
        running: the running mean of a signal rather than its value at that step.
        low_is_good: signals whose sign is turned, so that above 0.5 always means useful.

    Only candidates that reached a step take part in it: on recorded complete trajectories those
    are all of them.
    """
    judged = [e for e in examples if e.scores is not None]
    if not judged:
        raise ScalingarError("AUROC needs scores: take a run that a judge has scored.")
    total = max(e.decoded.total_tokens for e in judged)
    ends = np.unique(np.linspace(total / points, total, points).round().astype(int))
    out = {}
    for signal in signals:
        if not any(signal in t.signals for e in judged for t in e.decoded.trajectories):
            raise ScalingarError(f"signal={signal!r} was not recorded in this run.")
        sign = -1.0 if signal in low_is_good else 1.0
        tables = [sign * padded(e.decoded.trajectories, signal, total) for e in judged]
        if running:
            tables = [np.cumsum(t, axis=1) / np.arange(1, total + 1) for t in tables]
        curve = []
        for end in ends:
            there = [
                np.isfinite(t[:, end - 1]) & np.isfinite(e.scores) for t, e in _zip(tables, judged)
            ]
            curve.append(
                auroc_within(
                    [t[k, end - 1] for t, k in _zip(tables, there)],
                    [e.scores[k] for e, k in _zip(judged, there)],
                )[0]
            )
        out[signal] = (ends / total, np.array(curve))
    return out


def _zip(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(a, b, strict=True))


def plot_auroc(curves: Curves, ax: Axes | None = None) -> Axes:
    """AUROC over the share of steps: `auroc_over_steps`, or curves of the same form."""
    ax = axes_or_new(ax, 5.4, 2.9)
    colours = palette_of(ax)
    ax.axhline(0.5, color=colours.ink, linewidth=0.9, linestyle=(0, (1, 2)))
    for place, (name, (share, value)) in enumerate(curves.items()):
        ax.plot(
            100 * np.asarray(share),
            value,
            label=shorten(name, 24),
            markersize=3.5,
            linewidth=1.4,
            **look(colours, place),
        )
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.4), max(high, 0.7))
    ax.set_xlim(0, 101)
    ax.set_xlabel("share of the steps (%)")
    ax.set_ylabel("AUROC within prompts\n(0.5: chance)")
    legend_above(ax, columns=3)
    return ax


def risk_coverage(confidence: Sequence[float] | Array, correct: Sequence[float] | Array) -> Any:
    """Coverage and risk where the most confident answers alone are given, `[K]` each."""
    data = np.asarray(confidence, dtype=np.float64)
    wrong = np.asarray(correct, dtype=np.float64) <= 0.5
    known = np.isfinite(data) & np.isfinite(np.asarray(correct, dtype=np.float64))
    data, wrong = data[known], wrong[known]
    if not len(data):
        raise ScalingarError("No answer has both a confidence and a score: was the run judged?")
    values, counts = np.unique(-data, return_counts=True)  # ties are given together
    errors = np.array([wrong[-data == v].sum() for v in values])
    given = np.cumsum(counts)
    return given / len(data), np.cumsum(errors) / given


def plot_risk_coverage(curves: Curves, ax: Axes | None = None) -> Axes:
    """Share of wrong answers among those given, over the share given; lower is better.

    `curves`: name to (coverage, risk), such as `risk_coverage` gives. A dotted line is the risk of
    answering everything: a confidence that says nothing stays on it.
    """
    ax = axes_or_new(ax, 4.6, 2.9)
    colours = palette_of(ax)
    top = 0.05
    for place, (name, (coverage, risk)) in enumerate(curves.items()):
        style = {**look(colours, place), "marker": None}
        drawn = ax.step if len(coverage) < 60 else ax.plot
        more = {"where": "post"} if len(coverage) < 60 else {}
        drawn(100 * coverage, risk, label=shorten(name, 24), linewidth=1.5, **style, **more)
        ax.axhline(risk[-1], color=style["color"], linewidth=0.9, linestyle=(0, (1, 2)))
        top = max(top, float(np.max(risk)))
    ax.set_xlim(0, 101)
    ax.set_ylim(0, min(1.02, top * 1.08))
    ax.set_xlabel("coverage: prompts answered (%)")
    ax.set_ylabel("risk: share of answers wrong")
    legend_above(ax, columns=3)
    return ax
