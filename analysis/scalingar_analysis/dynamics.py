"""What happened while decoding: entropy, confidence, guidance and live candidates over steps.

Each `plot_*` draws one prompt of a run (a `Generation` or a `Trace`) into an optional Axes and
returns the Axes; `write` stacks all four into the artefact `dynamics.png`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scalingar_analysis.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    VERMILLION,
    axes_or_new,
    head,
    new_figure,
    our_style,
    save,
)
from scalingar_fw.result import Array, Status, Trajectory

_MEDIAN: dict[str, Any] = {"color": INK, "linewidth": 1.4, "zorder": 3.3}
_THRESHOLD: dict[str, Any] = {"color": INK, "linewidth": 1.2, "ls": (0, (4, 2)), "zorder": 4}
_BASE: dict[str, Any] = {"color": INK, "linewidth": 0.9, "ls": (0, (1, 2)), "zorder": 2}
_RECOVERED: dict[str, Any] = {
    "color": GREEN,
    "marker": "^",
    "linestyle": "",
    "markersize": 5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
    "zorder": 5,
    "clip_on": False,
}


def _of(run: Any, prompt: int) -> list[tuple[Trajectory, bool]]:
    """A prompt's candidates and whether each is the answer; the answer last, so that it is on top."""
    decoded = run.decoded
    answer = decoded.answer(prompt)
    pairs = [(t, t is answer) for t in decoded.trajectories if t.prompt == prompt]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0].completed))


def _line(trajectory: Trajectory, answer: bool) -> dict[str, Any]:
    if answer:
        return {"color": BLUE, "linewidth": 1.7, "zorder": 3.5}
    if trajectory.completed:
        return {"color": GREY, "linewidth": 0.8, "zorder": 3}
    return {"color": VERMILLION, "linewidth": 0.8, "alpha": 0.75, "zorder": 3.2}


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


def median_over_live(
    pairs: list[tuple[Trajectory, bool]], signal: str, total: int, least: int = 2
) -> Array:
    """The median of a signal over the candidates that are live at each step, `[T]`.

    NaN where fewer than `least` are live: the median of one is a second line over the first.
    """
    table = np.full((len(pairs), total), np.nan)
    for row, (t, _) in enumerate(pairs):
        values = t.signals.get(signal)
        if values is not None:
            table[row, t.forked_at : len(t)] = values[t.forked_at :]
    out = np.full(total, np.nan)
    some = np.isfinite(table).sum(0) >= least
    out[some] = np.nanmedian(table[:, some], axis=0)
    return out


def _axes(ax: Axes | None, total: int, label: str) -> Axes:
    ax = axes_or_new(ax)
    ax.set_xlim(0, total * 1.005)
    ax.set_xlabel("step (image token)")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    return ax


def _draw(ax: Axes, t: Trajectory, answer: bool, values: Array) -> None:
    """One candidate's curve, with a cross where it was pruned.

    A fork's begins where it left its parent's; the answer's is its whole history.
    """
    start = 0 if answer else t.forked_at
    ax.plot(np.arange(start, len(t)) + 1, values[start:], **_line(t, answer))
    if t.status is Status.PRUNED and len(t) and np.isfinite(values[-1]):
        ax.plot(
            len(t),
            values[-1],
            "x",
            color=VERMILLION,
            markersize=5,
            mew=1.4,
            zorder=5,
            clip_on=False,
        )


def plot_entropy(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """Normalised entropy of each candidate and the median of the live ones.

    Curves are moving means over a thirty-sixth of the steps: single tokens jump too much to read.
    """
    total = run.decoded.total_tokens
    window = max(1, round(total / 36))
    label = "entropy / ln V" + (f"\n(mean of {window} steps)" if window > 1 else "")
    ax = _axes(ax, total, label)
    pairs = _of(run, prompt)
    for t, answer in pairs:
        if "entropy" in t.signals:
            _draw(ax, t, answer, smooth(t.signals["entropy"], window))
    if len(pairs) > 1:
        median = smooth(median_over_live(pairs, "entropy", total), window)
        ax.plot(np.arange(total) + 1, median, **_MEDIAN)
    ax.set_ylim(bottom=0)
    return ax


def has_confidence(run: Any, prompt: int = 0) -> bool:
    """Whether the strategy estimated any: the neutral estimator says 0.5 throughout."""
    known = [t.signals.get("confidence") for t, _ in _of(run, prompt)]
    return any(v is not None and bool((v != 0.5).any()) for v in known)


def plot_confidence(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """Confidence C of each candidate, the pruning threshold, prunings and recoveries."""
    total = run.decoded.total_tokens
    ax = _axes(ax, total, "confidence C")
    if not has_confidence(run, prompt):
        ax.set_ylabel("C")  # the panel is low: see figure_of
        ax.set_yticks([])
        ax.grid(False)
        _note(ax, 0.5, 0.5, "this strategy estimates no confidence", ax.transAxes, size=9)
        return ax
    pairs = _of(run, prompt)
    for t, answer in pairs:
        values = t.signals.get("confidence")
        if values is not None:
            _draw(ax, t, answer, values)
            cleared = np.nan_to_num(t.signals.get("recovered", np.zeros(len(t))))
            at = np.flatnonzero(cleared[t.forked_at :] > 0) + t.forked_at
            ax.plot(at + 1, values[at], **_RECOVERED)
    threshold = median_over_live(pairs, "threshold", total, least=1)
    if np.isfinite(threshold).any():
        ax.plot(np.arange(total) + 1, threshold, **_THRESHOLD)
        warm_up = int(np.flatnonzero(np.isfinite(threshold))[0])
        if warm_up:
            ax.axvspan(0, warm_up, color=FAINT, alpha=0.45, linewidth=0, zorder=0)
            _note(ax, warm_up / 2, 0.94, "warm-up", ax.get_xaxis_transform(), size=7.5)
    ax.margins(y=0.12)
    return ax


def _note(ax: Axes, x: float, y: float, text: str, transform: Any, size: float) -> None:
    ax.text(
        x, y, text, transform=transform, ha="center", va="center", color="#666666", fontsize=size
    )


def plot_guidance(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """The guidance scale of each candidate, the median of the live ones, and the base scale."""
    total = run.decoded.total_tokens
    ax = _axes(ax, total, "guidance scale s")
    pairs = _of(run, prompt)
    base = run.config.sampling.guidance
    ax.axhline(base, **_BASE)
    low = high = float(base)
    for t, answer in pairs:
        values = t.signals.get("scale")
        if values is not None and len(values):
            _draw(ax, t, answer, values)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if len(pairs) > 1:
        ax.plot(np.arange(total) + 1, median_over_live(pairs, "scale", total), **_MEDIAN)
    pad = max(0.12 * (high - low), 0.2)
    ax.set_ylim(low - pad, high + pad)
    return ax


def plot_live(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """How many candidates receive a token at each step; the area is the number of tokens."""
    decoded = run.decoded
    total = decoded.total_tokens
    ax = _axes(ax, total, "live candidates")
    live = np.zeros(total)
    for t, _ in _of(run, prompt):
        live[t.forked_at : len(t)] += 1
    top = max(float(live.max()), decoded.n)
    edges = np.arange(total + 1)
    ax.stairs(np.full(total, top), edges, fill=True, color=FAINT, alpha=0.45, linewidth=0)
    ax.stairs(live, edges, fill=True, color=BLUE, alpha=0.3, linewidth=0)
    ax.stairs(live, edges, color=BLUE, linewidth=1.2, baseline=None)
    used, full = int(live.sum()), int(top * total)
    ax.set_title(
        f"{used} of {full} tokens ({100 * used / full:.0f} %)",
        loc="right",
        pad=3,
        fontsize=8,
        color="#444444",
    )
    ax.set_ylim(0, top * 1.08)
    ax.set_yticks(sorted({0, int(top) // 2, int(top)}))
    return ax


def _legend(run: Any, prompt: int) -> list[Line2D]:
    """Entries for what the figure really shows."""
    pairs = _of(run, prompt)
    signals = [t.signals for t, _ in pairs]
    early = [t.status for t, _ in pairs if not t.completed]
    pruned = {"marker": "x", "markersize": 5, "mew": 1.4} if Status.PRUNED in early else {}
    other = {"color": GREY, "linewidth": 0.9}
    ended = {"color": VERMILLION, "linewidth": 0.9, **pruned}
    entries: list[tuple[bool, str, dict[str, Any]]] = [
        (True, "answer", {"color": BLUE, "linewidth": 1.7}),
        (any(t.completed and not a for t, a in pairs), "completed", other),
        (bool(early), "pruned" if pruned else "ended early", ended),
        (any(np.nansum(s.get("recovered", 0.0)) > 0 for s in signals), "recovered", _RECOVERED),
        (len(pairs) > 1, "median of the live", _MEDIAN),
        (
            any(np.isfinite(s.get("threshold", np.nan)).any() for s in signals),
            "threshold",
            _THRESHOLD,
        ),
        (True, "base scale", _BASE),
    ]
    return [Line2D([], [], label=label, **style) for wanted, label, style in entries if wanted]


def figure_of(run: Any, prompt: int = 0) -> Figure:
    """The four panels over one step axis."""
    heights = [3, 4 if has_confidence(run, prompt) else 0.8, 3, 2.2]
    with our_style():
        figure = new_figure(8.0, 1.5 + 0.58 * sum(heights))
        axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": heights})
        panels = (plot_entropy, plot_confidence, plot_guidance, plot_live)
        for ax, panel in zip(axes, panels, strict=True):
            panel(run, ax, prompt)
        for ax in axes[:-1]:
            ax.set_xlabel("")
        figure.align_ylabels(axes)
        tall = figure.get_figheight()
        figure.subplots_adjust(
            left=0.115, right=0.97, top=1 - 0.88 / tall, bottom=0.5 / tall, hspace=0.2
        )
        head(figure, 0.115, run.decoded.prompts[prompt].label, run.config, limit=85)
        handles = _legend(run, prompt)
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.103, 1 - 0.53 / tall),
            ncols=len(handles),
            columnspacing=1.2,
            handlelength=1.8,
            borderaxespad=0,
        )
    return figure


def write(run: Any, path: Path | str) -> None:
    """The artefact `dynamics.png`."""
    with our_style():
        save(figure_of(run), path)
