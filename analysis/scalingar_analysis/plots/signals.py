"""Signals over the steps of one prompt: entropy, margin, KL and log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.steps import (
    draw_curve,
    median_over_live,
    median_style,
    note,
    pairs_of,
    smooth,
    step_axes,
)

#: What the axis says: name and unit.
LABELS = {
    "entropy": "entropy / ln V",
    "entropy_nats": "entropy (nats)",
    "margin": "margin (probability)",
    "kl": "KL(cond || uncond) in nats",
    "log_prob_cond": "log p cond. (nats)",
    "log_prob_uncond": "log p uncond. (nats)",
    "log_prob_guided": "log p guided (nats)",
    "confidence": "confidence C",
    "scale": "guidance scale s",
}
#: Those that a plot of all of them shows, one below the other.
SIGNALS = ("entropy", "margin", "kl", "log_prob_cond", "log_prob_guided")
_NOT_NEGATIVE = ("entropy", "entropy_nats", "margin", "kl")


def label_of(signal: str) -> str:
    """Name and unit of a signal; a plugin's has its own name and no unit that we know."""
    return LABELS.get(signal, signal.replace("_", " "))


def plot_signal(run: Any, signal: str, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """A signal of each candidate and the median of the live ones.

    Curves are moving means over a thirty-sixth of the steps: single tokens jump too much to read.
    """
    total = run.decoded.total_tokens
    window = max(1, round(total / 36))
    label = label_of(signal) + (f"\n(mean of {window} steps)" if window > 1 else "")
    ax, colours = step_axes(ax, total, label)
    pairs = pairs_of(run, prompt)
    if not any(signal in t.signals for t, _ in pairs):
        note(ax, 0.5, 0.5, f"{signal} was not recorded")
        return ax
    for t, answer in pairs:
        if signal in t.signals:
            draw_curve(ax, t, answer, smooth(t.signals[signal], window))
    if len(pairs) > 1:
        median = smooth(median_over_live(pairs, signal, total), window)
        ax.plot(np.arange(total) + 1, median, **median_style(colours))
    if signal in _NOT_NEGATIVE:
        ax.set_ylim(bottom=0)
    return ax


def plot_entropy(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """Normalised entropy of each candidate: `plot_signal` of what a run is first asked for."""
    return plot_signal(run, "entropy", ax, prompt)
