"""The guidance scale over the steps of one prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scalingar_analysis.plots.steps import (
    base_style,
    draw_curve,
    median_over_live,
    median_style,
    pairs_of,
    step_axes,
)


def plot_guidance(run: Any, ax: Axes | None = None, prompt: int = 0) -> Axes:
    """The guidance scale of each candidate, the median of the live ones, and the base scale."""
    total = run.decoded.total_tokens
    ax, colours = step_axes(ax, total, "guidance scale s")
    pairs = pairs_of(run, prompt)
    base = run.config.sampling.guidance
    ax.axhline(base, **base_style(colours))
    low = high = float(base)
    for t, answer in pairs:
        values = t.signals.get("scale")
        if values is not None and len(values):
            draw_curve(ax, t, answer, values)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if len(pairs) > 1:
        median = median_over_live(pairs, "scale", total)
        ax.plot(np.arange(total) + 1, median, **median_style(colours))
    pad = max(0.12 * (high - low), 0.2)
    ax.set_ylim(low - pad, high + pad)
    return ax
