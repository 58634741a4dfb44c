"""Confidence over the steps of one prompt, and what termination made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.steps import (
    draw_curve,
    flagged_style,
    median_over_live,
    note,
    pairs_of,
    probation_style,
    recovered_style,
    step_axes,
    threshold_style,
)
from scalingar_fw.decoding.result import Array


def has_confidence(run: Any, prompt: int = 0) -> bool:
    """Whether the strategy estimated any: the neutral estimator says 0.5 throughout."""
    known = [t.signals.get("confidence") for t, _ in pairs_of(run, prompt)]
    return any(v is not None and bool((v != 0.5).any()) for v in known)


def probations(flagged: Array) -> list[tuple[int, int]]:
    """The spans of steps `[first, end)` in which a candidate was under a flag."""
    edges = np.diff(np.concatenate([[0], np.nan_to_num(flagged) > 0, [0]]).astype(int))
    first, end = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    return [(int(a), int(b)) for a, b in zip(first, end, strict=True)]


def plot_confidence(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """Confidence C of each candidate with the pruning threshold, flags, probations, recoveries
    and prunings. A probation ends where its flag is cleared, or where the candidate does."""
    total = run.decoded.total_tokens
    ax, colours = step_axes(ax, total, "confidence C")
    if not has_confidence(run, prompt):
        ax.set_ylabel("C")  # the panel is low: see dynamics.figure_of
        ax.set_yticks([])
        ax.grid(False)
        note(ax, 0.5, 0.5, "this strategy estimates no confidence")
        return ax
    pairs = pairs_of(run, prompt)
    for t, answer in pairs:
        values = t.signals.get("confidence")
        if values is None:
            continue
        draw_curve(ax, t, answer, values)
        own = np.arange(len(t)) >= t.forked_at
        for first, end in probations(t.signals.get("flagged", np.zeros(len(t))) * own):
            # A flag that is cleared within its step spans no line: its two marks say it all.
            ax.plot(np.arange(first, end) + 1, values[first:end], **probation_style(colours))
            ax.plot(first + 1, values[first], **flagged_style(colours))
        cleared = np.flatnonzero(np.nan_to_num(t.signals.get("recovered", 0 * own)) * own > 0)
        ax.plot(cleared + 1, values[cleared], **recovered_style(colours))
    threshold = median_over_live(pairs, "threshold", total, least=1)
    if np.isfinite(threshold).any():
        ax.plot(np.arange(total) + 1, threshold, **threshold_style(colours))
        warm_up = int(np.flatnonzero(np.isfinite(threshold))[0])
        if warm_up:
            ax.axvspan(0, warm_up, color=colours.faint, alpha=0.45, linewidth=0, zorder=0)
            note(ax, warm_up / 2, 0.94, "warm-up", 7.5, ax.get_xaxis_transform())
    ax.margins(y=0.12)
    return ax
