"""A signal over steps or over the grid's rows and columns, summed up over many prompts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scalingar_analysis.plots.steps import smooth, step_axes
from scalingar_analysis.plots.style import axes_or_new, legend_above, look, palette_of, shorten
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError


def padded(trajectories: Sequence[Trajectory], signal: str, total: int) -> Array:
    """A signal as `[trajectories, T]`, NaN after an end and where it was not recorded."""
    out = np.full((len(trajectories), total), np.nan)
    for row, t in enumerate(trajectories):
        values = t.signals.get(signal)
        if values is not None:
            out[row, : len(t)] = values
    return out


def quantiles(table: Array, levels: Sequence[float]) -> Array:
    """Quantiles over rows, `[levels, T]`; NaN in columns without a value."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        return np.asarray(np.nanquantile(table, levels, axis=0))


def plot_bands(
    groups: Mapping[str, Array],
    ax: Axes | None = None,
    *,
    label: str = "",
    band: tuple[float, float] = (0.25, 0.75),
    window: int | None = None,
) -> Axes:
    """Median and quantile band over rows, for each group.

    Args:
        groups: a signal by group (outcome, task, strategy), `[rows, T]` with NaN where a
            trajectory had ended.
        ax: where to draw; a new figure's where None.
        label: of the vertical axis, with its unit.
        band: the two quantiles between which is shaded.
        window: steps of the moving mean over medians and quantiles; a thirty-sixth of T where
            None.
    """
    low, high = band
    if not 0 <= low < high <= 1:
        raise ScalingarError(f"band={band!r} must be two quantiles, such as (0.25, 0.75).")
    if not groups:
        raise ScalingarError("There is no group to plot: give at least one table of a signal.")
    total = next(iter(groups.values())).shape[1]
    wide = max(1, round(total / 36)) if window is None else window
    ax = axes_or_new(ax, 5.4, 2.8)
    ax, colours = step_axes(ax, total, label + (f"\n(mean of {wide} steps)" if wide > 1 else ""))
    steps = np.arange(total) + 1
    for place, (name, table) in enumerate(groups.items()):
        lower, middle, upper = (smooth(q, wide) for q in quantiles(table, [low, 0.5, high]))
        style = {**look(colours, place), "marker": None}
        ax.fill_between(steps, lower, upper, color=style["color"], alpha=0.16, linewidth=0)
        ax.plot(steps, middle, linewidth=1.5, label=f"{shorten(name, 28)} ({len(table)})", **style)
    legend_above(ax)
    return ax


def plot_profile(
    groups: Mapping[str, Array],
    grid: Grid,
    ax: Axes | None = None,
    *,
    axis: str = "row",
    label: str = "",
    band: tuple[float, float] = (0.25, 0.75),
) -> Axes:
    """The mean of a signal in each row or column of the grid: median and band over trajectories.

    Raster order is row by row, so a row's profile is a coarse time, a column's is a place alone.
    """
    if axis not in ("row", "column"):
        raise ScalingarError(f"axis={axis!r} must be row or column.")
    ax = axes_or_new(ax, 5.0, 2.6)
    colours = palette_of(ax)
    for place, (name, table) in enumerate(groups.items()):
        cells = table.reshape(len(table), grid.rows, grid.cols)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Mean of empty slice")
            means = np.nanmean(cells, axis=2 if axis == "row" else 1)
        lower, middle, upper = quantiles(means, [band[0], 0.5, band[1]])
        style = look(colours, place)
        at = np.arange(means.shape[1])
        ax.fill_between(at, lower, upper, color=style["color"], alpha=0.16, linewidth=0)
        ax.plot(at, middle, markersize=3.5, label=f"{shorten(name, 28)} ({len(table)})", **style)
    ax.set_xlabel(f"{axis} of the grid, from the {'top' if axis == 'row' else 'left'}")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    legend_above(ax)
    return ax


def split(examples: Sequence[Any], signal: str, by: str = "outcome") -> dict[str, Array]:
    """A signal of all candidates by group, as `plot_bands` takes it.

    `by`: "outcome" (correct or not where a judge scored, else how each ended), "task" or
    "strategy". `examples`: see examples.py.
    """
    if by not in ("outcome", "task", "strategy"):
        raise ScalingarError(f"by={by!r} must be outcome, task or strategy.")
    groups: dict[str, list[Trajectory]] = {}
    total = 0
    for example in examples:
        total = max(total, example.decoded.total_tokens)
        for place, t in enumerate(example.decoded.trajectories):
            if by == "outcome":
                name = example.outcome(place)
            else:
                name = str((example.task or "no task") if by == "task" else example.strategy)
            groups.setdefault(name, []).append(t)
    return {name: padded(ts, signal, total) for name, ts in sorted(groups.items())}
