"""Where the tokens went: live candidates at each step, and their sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.steps import pairs_of, step_axes
from scalingar_fw.decoding.result import Array


def live_of(run: Any, prompt: int = 0) -> Array:
    """How many candidates receive a token at each step, `[T]`."""
    live = np.zeros(run.decoded.total_tokens)
    for t, _ in pairs_of(run, prompt):
        live[t.forked_at : len(t)] += 1
    return live


def plot_live(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """How many candidates receive a token at each step; the area is the number of tokens."""
    decoded = run.decoded
    total = decoded.total_tokens
    ax, colours = step_axes(ax, total, "live candidates")
    live = live_of(run, prompt)
    top = max(float(live.max()), decoded.n)
    edges = np.arange(total + 1)
    ax.stairs(np.full(total, top), edges, fill=True, color=colours.faint, alpha=0.45, linewidth=0)
    ax.stairs(live, edges, fill=True, color=colours.answer, alpha=0.3, linewidth=0)
    ax.stairs(live, edges, color=colours.answer, linewidth=1.2, baseline=None)
    used, full = int(live.sum()), int(top * total)
    ax.set_title(
        f"{used} of {full} tokens ({100 * used / full:.0f} %)",
        loc="right",
        pad=3,
        fontsize=8,
        color=colours.muted,
    )
    ax.set_ylim(0, top * 1.08)
    ax.set_yticks(sorted({0, int(top) // 2, int(top)}))
    return ax


def plot_tokens(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """Tokens sampled so far in multiples of T, against what n complete candidates take."""
    decoded = run.decoded
    total = decoded.total_tokens
    ax, colours = step_axes(ax, total, "tokens so far / T")
    steps = np.arange(total + 1)
    used = np.concatenate([[0], np.cumsum(live_of(run, prompt))]) / total
    ax.plot(steps, decoded.n * steps / total, color=colours.other, linewidth=1, ls=(0, (4, 2)))
    ax.fill_between(steps, used, color=colours.answer, alpha=0.25, linewidth=0)
    ax.plot(steps, used, color=colours.answer, linewidth=1.6)
    for height, text in ((decoded.n, f"{decoded.n} complete"), (used[-1], f"{used[-1]:.2f} T")):
        ax.annotate(
            text,
            (total, height),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=colours.ink,
        )
    ax.set_ylim(0, max(decoded.n, used[-1]) * 1.18)
    return ax
