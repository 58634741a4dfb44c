"""What the plots over decoding steps share: whose curve, in which colour, on which axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scalingar_analysis.plots.style import Palette, axes_or_new, palette_of
from scalingar_fw.decoding.result import Array, Status, Trajectory

Pairs = list[tuple[Trajectory, bool]]


def median_style(colours: Palette) -> dict[str, Any]:
    return {"color": colours.ink, "linewidth": 1.4, "zorder": 3.3}


def threshold_style(colours: Palette) -> dict[str, Any]:
    return {"color": colours.ink, "linewidth": 1.2, "ls": (0, (4, 2)), "zorder": 4}


def base_style(colours: Palette) -> dict[str, Any]:
    return {"color": colours.ink, "linewidth": 0.9, "ls": (0, (1, 2)), "zorder": 2}


def _event(colours: Palette, colour: str, marker: str, size: float) -> dict[str, Any]:
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "",
        "markersize": size,
        "markeredgecolor": colours.paper,
        "markeredgewidth": 0.5,
        "zorder": 5,
        "clip_on": False,
    }


def recovered_style(colours: Palette) -> dict[str, Any]:
    return _event(colours, colours.recovered, "^", 5)


def flagged_style(colours: Palette) -> dict[str, Any]:
    return _event(colours, colours.flagged, "v", 4.5)


def pruned_style(colours: Palette) -> dict[str, Any]:
    return {
        "color": colours.ended,
        "marker": "x",
        "linestyle": "",
        "markersize": 5,
        "mew": 1.4,
        "zorder": 5,
        "clip_on": False,
    }


def probation_style(colours: Palette) -> dict[str, Any]:
    """A pale, thick line under the curve while the candidate is under a flag."""
    return {
        "color": colours.flagged,
        "linewidth": 4.5,
        "alpha": 0.3,
        "zorder": 2.6,
        "solid_capstyle": "butt",
    }


def line_style(colours: Palette, trajectory: Trajectory, answer: bool) -> dict[str, Any]:
    if answer:
        return {"color": colours.answer, "linewidth": 1.7, "zorder": 3.5}
    if trajectory.completed:
        return {"color": colours.other, "linewidth": 0.8, "zorder": 3}
    return {"color": colours.ended, "linewidth": 0.8, "alpha": 0.75, "zorder": 3.2}


def pairs_of(run: Any, prompt: int = 0) -> Pairs:
    """A prompt's candidates and whether each is the answer; the answer last, so that it is on top."""
    decoded = run.decoded
    answer = decoded.answer(prompt)
    pairs = [(t, t is answer) for t in decoded.trajectories if t.prompt == prompt]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0].completed))


def smooth(values: Array, window: int) -> Array:
    """Centred moving mean over `window` values (fewer at the ends), NaNs left out."""
    if window <= 1 or len(values) == 0:
        return values
    kernel = np.ones(min(window, 2 * len(values) - 1))
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")[: len(values)]
    count = np.convolve(known.astype(float), kernel, "same")[: len(values)]
    out: Array = np.full(len(values), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out


def table_of(pairs: Pairs, signal: str, total: int) -> Array:
    """A signal as `[candidates, T]`; NaN where it was not recorded, and in what a fork shares."""
    table = np.full((len(pairs), total), np.nan)
    for row, (t, _) in enumerate(pairs):
        values = t.signals.get(signal)
        if values is not None:
            table[row, t.forked_at : len(t)] = values[t.forked_at :]
    return table


def median_over_live(pairs: Pairs, signal: str, total: int, least: int = 2) -> Array:
    """The median of a signal over the candidates that are live at each step, `[T]`.

    NaN where fewer than `least` are live: the median of one is a second line over the first.
    """
    table = table_of(pairs, signal, total)
    out = np.full(total, np.nan)
    some = np.isfinite(table).sum(0) >= least
    out[some] = np.nanmedian(table[:, some], axis=0)
    return out


def step_axes(ax: Axes | None, total: int, label: str) -> tuple[Axes, Palette]:
    """Axes over the steps 1..T, and the colours that can be read on them."""
    ax = axes_or_new(ax)
    ax.set_xlim(0, total * 1.005)
    ax.set_xlabel("step (image token)")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    return ax, palette_of(ax)


def draw_curve(ax: Axes, t: Trajectory, answer: bool, values: Array) -> None:
    """One candidate's curve, with a cross where it was pruned.

    A fork's begins where it left its parent's; the answer's is its whole history.
    """
    colours = palette_of(ax)
    start = 0 if answer else t.forked_at
    ax.plot(np.arange(start, len(t)) + 1, values[start:], **line_style(colours, t, answer))
    if t.status is Status.PRUNED and len(t) and np.isfinite(values[-1]):
        ax.plot(len(t), values[-1], **pruned_style(colours))


def note(ax: Axes, x: float, y: float, text: str, size: float = 9, transform: Any = None) -> None:
    """A remark in the plot, centred at `x, y` (in shares of the Axes unless `transform` says)."""
    ax.text(
        x,
        y,
        text,
        transform=ax.transAxes if transform is None else transform,
        ha="center",
        va="center",
        color=palette_of(ax).muted,
        fontsize=size,
    )


#: What is not a curve of a candidate, or their median.
POLICY = ("flagged", "probation", "recovered", "threshold", "base scale")


def legend_entries(
    run: Any, prompt: int, colours: Palette, without: Sequence[str] = ()
) -> list[Line2D]:
    """Entries for what the panels of a prompt really show; `without`: what they leave out."""
    pairs = pairs_of(run, prompt)
    signals = [t.signals for t, _ in pairs]
    early = [t.status for t, _ in pairs if not t.completed]
    pruned = {"marker": "x", "markersize": 5, "mew": 1.4} if Status.PRUNED in early else {}

    def happened(name: str) -> bool:
        return any(np.nansum(s.get(name, 0.0)) > 0 for s in signals)

    entries: list[tuple[bool, str, dict[str, Any]]] = [
        (True, "answer", {"color": colours.answer, "linewidth": 1.7}),
        (
            any(t.completed and not a for t, a in pairs),
            "completed",
            {"color": colours.other, "linewidth": 0.9},
        ),
        (
            bool(early),
            "pruned" if pruned else "ended early",
            {"color": colours.ended, "linewidth": 0.9, **pruned},
        ),
        (happened("flagged"), "flagged", flagged_style(colours)),
        (happened("flagged"), "probation", probation_style(colours)),
        (happened("recovered"), "recovered", recovered_style(colours)),
        (len(pairs) > 1, "median of live", median_style(colours)),
        (
            any(np.isfinite(s.get("threshold", np.nan)).any() for s in signals),
            "threshold",
            threshold_style(colours),
        ),
        (True, "base scale", base_style(colours)),
    ]
    return [
        Line2D([], [], label=label, **style)
        for wanted, label, style in entries
        if wanted and label not in without
    ]
