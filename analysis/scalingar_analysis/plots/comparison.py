"""Strategies side by side: accuracy against cost, settings, and the oracle's ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from attrs import frozen
from matplotlib.axes import Axes

from scalingar_analysis.plots.style import (
    MAP_COLOURS,
    axes_or_new,
    legend_beside,
    look,
    palette_of,
    shorten,
)
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


@frozen
class Point:
    """One strategy at one n: what it costs and how often it is right.

    `cost`: per prompt, in multiples of T or any unit that the axis names. `low`, `high`: the
    interval of `accuracy` (NaN: none). `oracle`: it asks the judge, so it is no method.
    """

    name: str
    n: int
    cost: float
    accuracy: float
    low: float = float("nan")
    high: float = float("nan")
    oracle: bool = False


def frontier(points: Sequence[Point]) -> list[Point]:
    """The methods (not oracles) that no cheaper one matches, by cost."""
    best, out = -np.inf, []
    for p in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not p.oracle and p.accuracy > best:
            best = p.accuracy
            out.append(p)
    return out


def _bar(ax: Axes, p: Point, style: Mapping[str, Any], **more: Any) -> None:
    known = np.isfinite(p.low) and np.isfinite(p.high)
    error = [[max(0, p.accuracy - p.low)], [max(0, p.high - p.accuracy)]] if known else None
    colour, marker = style["color"], style["marker"]
    face = "none" if p.oracle else colour
    ax.errorbar(
        [p.cost],
        [p.accuracy],
        yerr=error,
        color=colour,
        marker=marker,
        markersize=5.5,
        markerfacecolor=face,
        elinewidth=1,
        capsize=2,
        linestyle="",
        zorder=3,
        **more,
    )


def plot_pareto(
    points: Sequence[Point],
    ax: Axes | None = None,
    *,
    cost_label: str = "tokens per prompt / T",
    budget_curves: bool = True,
) -> Axes:
    """Accuracy against cost with intervals; the frontier of the methods, and each strategy's
    curve over n. Oracles are hollow and take no part in the frontier."""
    if not points:
        raise ScalingarError("There is no strategy to compare: give at least one point.")
    ax = axes_or_new(ax, 6.4, 3.4)
    colours = palette_of(ax)
    edge = frontier(points)
    if edge:
        right = max(p.cost for p in points)
        x = [p.cost for p in edge] + [right]
        y = [p.accuracy for p in edge] + [edge[-1].accuracy]
        ax.step(x, y, where="post", color=colours.faint, linewidth=5, zorder=1, label="frontier")
    for place, name in enumerate(dict.fromkeys(p.name for p in points)):
        own = sorted((p for p in points if p.name == name), key=lambda p: (p.n, p.cost))
        style = look(colours, place)
        if budget_curves and len(own) > 1:
            ax.plot(
                [p.cost for p in own],
                [p.accuracy for p in own],
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=1.1,
                zorder=2,
            )
        suffix = " (oracle)" if own[0].oracle else ""
        for number, p in enumerate(own):
            more = {} if number else {"label": shorten(name, 30) + suffix}
            _bar(ax, p, style, **more)
            if len(own) > 1:
                ax.annotate(
                    f"n={p.n}",
                    (p.cost, p.accuracy),
                    xytext=(5, -9),
                    textcoords="offset points",
                    fontsize=7,
                    color=colours.muted,
                )
    costs = [p.cost for p in points if p.cost > 0]
    if costs and max(costs) / min(costs) > 6:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    ax.margins(x=0.08, y=0.12)
    ax.set_xlabel(cost_label)
    ax.set_ylabel("accuracy, 95 % interval")
    legend_beside(ax)
    return ax


def plot_budget(points: Sequence[Point], ax: Axes | None = None) -> Axes:
    """Accuracy over n, a band of its interval for each strategy."""
    if not points:
        raise ScalingarError("There is no strategy to compare: give at least one point.")
    ax = axes_or_new(ax, 6.0, 3.0)
    colours = palette_of(ax)
    for place, name in enumerate(dict.fromkeys(p.name for p in points)):
        own = sorted((p for p in points if p.name == name), key=lambda p: p.n)
        style = look(colours, place)
        n = [p.n for p in own]
        ax.fill_between(
            n, [p.low for p in own], [p.high for p in own], color=style["color"], alpha=0.13, lw=0
        )
        label = shorten(name, 30) + (" (oracle)" if own[0].oracle else "")
        ax.plot(n, [p.accuracy for p in own], label=label, markersize=4.5, linewidth=1.4, **style)
    ax.set_xscale("log", base=2)
    ticks = sorted({p.n for p in points})
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("candidates n")
    ax.set_ylabel("accuracy, 95 % interval")
    legend_beside(ax)
    return ax


def plot_sensitivity(
    table: Array,
    rows: Sequence[Any],
    columns: Sequence[Any],
    ax: Axes | None = None,
    *,
    row_label: str = "",
    column_label: str = "",
    label: str = "accuracy",
    marked: tuple[int, int] | None = None,
) -> Axes:
    """A number for each pair of settings, written into its cell; NaN cells stay empty.

    `table [len(rows), len(columns)]`; `marked`: the default's (row, column), which is framed.
    """
    data = np.asarray(table, dtype=np.float64)
    if data.shape != (len(rows), len(columns)):
        raise ScalingarError(
            f"A table of shape {data.shape} has no {len(rows)} rows and {len(columns)} columns."
        )
    ax = axes_or_new(ax, 1.8 + 0.75 * len(columns), 1.3 + 0.42 * len(rows))
    colours = palette_of(ax)
    shown = ax.imshow(data, cmap=MAP_COLOURS, aspect="auto")
    for (row, column), value in np.ndenumerate(data):
        if np.isfinite(value):
            shade = sum(shown.to_rgba(value)[:3]) / 3
            ink = "#000000" if shade > 0.5 else "#FFFFFF"
            ax.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=8)
    if marked is not None:
        corner = (marked[1] - 0.5, marked[0] - 0.5)
        frame: dict[str, Any] = {"fill": False, "linewidth": 2.5, "edgecolor": colours.ended}
        ax.add_patch(matplotlib.patches.Rectangle(corner, 1, 1, **frame))
    ax.set_xticks(range(len(columns)), [str(c) for c in columns])
    ax.set_yticks(range(len(rows)), [str(r) for r in rows])
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    ax.grid(False)
    ax.tick_params(length=0)
    bar: Any = ax.figure.colorbar(shown, ax=ax, pad=0.03)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return ax


def plot_strategies(points: Sequence[Point], ax: Axes | None = None) -> Axes:
    """Strategies by accuracy with their intervals; oracles, which ask the judge, hatched on top."""
    if not points:
        raise ScalingarError("There is no strategy to compare: give at least one point.")
    order = sorted(points, key=lambda p: (p.oracle, p.accuracy))
    ax = axes_or_new(ax, 6.0, 0.9 + 0.3 * len(order))
    colours = palette_of(ax)
    for y, p in enumerate(order):
        look_: dict[str, Any] = (
            {"facecolor": "none", "edgecolor": colours.other, "hatch": "////"}
            if p.oracle
            else {"facecolor": colours.answer, "alpha": 0.75}
        )
        ax.barh(y, p.accuracy, height=0.62, **look_)
        if np.isfinite(p.low) and np.isfinite(p.high):
            ax.plot([p.low, p.high], [y, y], color=colours.ink, linewidth=1.3)
        end = p.high if np.isfinite(p.high) else p.accuracy
        ax.annotate(
            f"{p.accuracy:.3f}",
            (max(end, p.accuracy), y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colours.ink,
        )
    names = [f"{shorten(p.name, 34)}, n={p.n}" + (" (oracle)" if p.oracle else "") for p in order]
    ax.set_yticks(range(len(order)), names)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_xlim(0, 1.08)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set_xlabel("accuracy, 95 % interval")
    return ax


def plot_ladder(ladder: Any, ax: Axes | None = None) -> Axes:
    """The oracle ladder (`scalingar_analysis.statistics.ladder.Ladder`): accuracy of a random candidate, of
    each selection and of the oracle over k; shaded is what a better selection could still gain."""
    ax = axes_or_new(ax, 6.0, 3.1)
    colours = palette_of(ax)
    ks = [r.k for r in ladder.rungs]
    oracle = [r.oracle.mean for r in ladder.rungs]
    chance = ladder.random.mean
    ax.fill_between(ks, chance, oracle, color=colours.faint, alpha=0.45, linewidth=0)
    names = dict.fromkeys(name for r in ladder.rungs for name in r.selected)
    lines = [
        ("oracle", [r.oracle for r in ladder.rungs], {"color": colours.ink, "marker": "_"}),
        *(
            (n, [r.selected[n] for r in ladder.rungs], look(colours, i))
            for i, n in enumerate(names)
        ),
        ("random", [ladder.random for _ in ks], {"color": colours.other, "linestyle": (0, (1, 2))}),
    ]
    for name, points, style in lines:
        low, high = [p.low for p in points], [p.high for p in points]
        ax.fill_between(ks, low, high, color=style["color"], alpha=0.12, linewidth=0)
        means = [p.mean for p in points]
        ax.plot(ks, means, label=shorten(name, 30), linewidth=1.4, markersize=4.5, **style)
    ax.set_xticks(ks)
    ax.set_xlabel("candidates k")
    ax.set_ylabel("accuracy, 95 % interval")
    legend_beside(ax)
    return ax
