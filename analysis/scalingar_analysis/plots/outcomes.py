"""How a number that is known without the judge (confidence) differs by outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.style import axes_or_new, legend_above, look, palette_of, shorten
from scalingar_analysis.statistics.intervals import estimate
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


def plot_distributions(
    groups: Mapping[str, Sequence[float] | Array],
    ax: Axes | None = None,
    *,
    label: str = "confidence C",
    bins: int = 24,
) -> Axes:
    """A histogram for each group, as a share of the group; a tick at each group's median.

    `groups`: values by outcome, such as {"correct": ..., "incorrect": ...}; NaNs are left out.
    """
    finite = {}
    for name, values in groups.items():
        data = np.asarray(values, dtype=np.float64)
        finite[name] = data[np.isfinite(data)]
    known = [v for v in finite.values() if len(v)]
    if not known:
        raise ScalingarError(f"There are no values of {label!r} to plot: was it recorded?")
    ax = axes_or_new(ax, 5.0, 2.8)
    colours = palette_of(ax)
    low, high = min(v.min() for v in known), max(v.max() for v in known)
    edges = np.linspace(low, high if high > low else low + 1e-6, bins + 1)
    for place, (name, data) in enumerate(finite.items()):
        if not len(data):
            continue
        share = np.histogram(data, edges)[0] / len(data)
        style = {**look(colours, place), "marker": None}
        ax.stairs(share, edges, fill=True, color=style["color"], alpha=0.15, linewidth=0)
        ax.stairs(
            share,
            edges,
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=1.5,
            label=f"{shorten(name, 28)} ({len(data)})",
            baseline=None,
        )
        ax.plot(
            np.median(data),
            -0.02,
            marker="|",
            markersize=9,
            markeredgewidth=2.2,
            color=style["color"],
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"{label} (thick tick: median)")
    ax.set_ylabel("share of group")
    legend_above(ax)
    return ax


def plot_calibration(
    confidence: Sequence[float] | Array,
    correct: Sequence[float] | Array,
    ax: Axes | None = None,
    *,
    clusters: Sequence[str] | None = None,
    bins: int = 10,
    label: str = "confidence C",
    diagonal: bool = False,
    name: str = "",
    place: int = 0,
) -> Axes:
    """The share of correct images in bins of equally many, with 95 % intervals.

    A confidence is a rank and no probability, so the diagonal is drawn only where asked for.

    Args:
        clusters: whose images hang together (candidates of one prompt, prompts of one combination):
            they count together in the intervals, and a bin of fewer than five clusters has none.
            Every image by itself where None.
        name, place: the strategy and its place among those that are drawn into the same Axes;
            their confidences are different quantities, so each has a curve of its own.

    Raises:
        ScalingarError: lengths differ, or no image has both a confidence and a score.
    """
    data = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if data.shape != right.shape:
        raise ScalingarError(f"{data.size} confidences, {right.size} scores: give one each.")
    known = np.isfinite(data) & np.isfinite(right)
    homes = np.arange(len(data)).astype(str) if clusters is None else np.asarray(clusters)
    if len(homes) != len(data):
        raise ScalingarError(f"{data.size} confidences, {len(homes)} clusters: give one each.")
    data, right, homes = data[known], (right[known] > 0.5).astype(np.float64), homes[known]
    if not len(data):
        raise ScalingarError("No image has both a confidence and a score: was the run judged?")
    ax = axes_or_new(ax, 5.0, 2.8)
    colours = palette_of(ax)
    order = np.argsort(data, kind="stable")
    # Fewer than eight images make no share.
    parts = np.array_split(order, max(1, min(bins, len(order) // 8)))
    x = np.array([data[p].mean() for p in parts])
    found = [estimate(right[p], ["all"] * len(p), homes[p].tolist()) for p in parts]
    y = np.array([e.mean for e in found])
    error = np.array([[e.mean - e.low, e.high - e.mean] for e in found]).T  # NaN: no bar
    ax.errorbar(
        x,
        y,
        yerr=error,
        **look(colours, place),
        label=shorten(name, 28) or None,
        markersize=4,
        linewidth=1.3,
        elinewidth=1,
        capsize=2,
    )
    if not name:  # lines of several strategies, and what they say, would lie on each other
        ax.axhline(right.mean(), color=colours.ink, linewidth=0.9, linestyle=(0, (1, 2)))
        ax.annotate(
            f"all {len(data)}: {right.mean():.2f}",
            (1, right.mean()),
            xycoords=ax.get_yaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=colours.muted,
        )
    if diagonal:
        ends = [max(0.0, x.min()), min(1.0, x.max())]
        ax.plot(ends, ends, color=colours.other, linewidth=1, linestyle=(0, (4, 2)))
    ax.set_ylim(0, 1.02)
    if name:
        legend_above(ax, columns=2)
    ax.set_xlabel(f"{label} (mean of a bin)")
    ax.set_ylabel("share correct, 95 % interval")
    return ax
