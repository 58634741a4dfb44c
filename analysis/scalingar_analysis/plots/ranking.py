"""Does a number known without the judge rank images rightly? AUROC over steps, risk-coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.style import axes_or_new, legend_above, look, palette_of, shorten
from scalingar_fw.decoding.result import Array


def plot_auroc(
    curves: Mapping[str, Sequence[Any]], shares: Sequence[float] | Array, ax: Axes | None = None
) -> Axes:
    """Within-prompt AUROC over the share of steps, with a band for the interval.

    `curves`: for each signal, one entry for each share, with `value`, `low` and `high`
    (`signal_quality.Auroc`).
    """
    ax = axes_or_new(ax, 5.4, 2.9)
    colours = palette_of(ax)
    ax.axhline(0.5, color=colours.ink, linewidth=0.9, linestyle=(0, (1, 2)))
    at = 100 * np.asarray(shares, dtype=np.float64)
    for place, (name, points) in enumerate(curves.items()):
        style = look(colours, place)
        low, high = [p.low for p in points], [p.high for p in points]
        ax.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)
        values = [p.value for p in points]
        ax.plot(at, values, label=shorten(name, 24), markersize=3.5, linewidth=1.4, **style)
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, 0.4), max(top, 0.7))
    ax.set_xlim(0, 101)
    ax.set_xlabel("share of the steps (%)")
    ax.set_ylabel("AUROC within prompts\n(0.5: chance)")
    legend_above(ax, columns=3)
    return ax


def plot_risk_coverage(curves: Mapping[str, tuple[Array, Array]], ax: Axes | None = None) -> Axes:
    """Share of wrong answers among those given, over the share given; lower is better.

    `curves`: name to (coverage, risk), as of `signal_quality.risk_coverage`. A dotted line is the risk of
    answering everything: a confidence that says nothing stays on it.
    """
    ax = axes_or_new(ax, 4.6, 2.9)
    colours = palette_of(ax)
    top = 0.05
    for place, (name, (coverage, risk)) in enumerate(curves.items()):
        style = {**look(colours, place), "marker": None}
        drawn: Any = ax.step if len(coverage) < 60 else ax.plot
        more: dict[str, Any] = {"where": "post"} if len(coverage) < 60 else {}
        drawn(100 * coverage, risk, label=shorten(name, 24), linewidth=1.5, **style, **more)
        ax.axhline(risk[-1], color=style["color"], linewidth=0.9, linestyle=(0, (1, 2)))
        top = max(top, float(np.max(risk)))
    ax.set_xlim(0, 101)
    ax.set_ylim(0, min(1.02, top * 1.08))
    ax.set_xlabel("coverage: prompts answered (%)")
    ax.set_ylabel("risk: share of answers wrong")
    legend_above(ax, columns=3)
    return ax
