"""A signal on the token grid over the decoded image (the paper's Figure 7)."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from scalingar_analysis.plots.contact_sheet import undecoded
from scalingar_analysis.plots.signals import label_of
from scalingar_analysis.plots.style import MAP_COLOURS, axes_or_new, palette_of
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError

#: The paper's block size and share of worst blocks (eq. 6).
BLOCK, WORST = 4, 0.1
#: Signals of which the lowest values are the worrying ones.
LOW_IS_BAD = ("margin", "kl", "log_prob_cond", "log_prob_guided", "confidence")


def grid_of(values: Array, grid: Grid) -> Array:
    """One value per token as `[rows, cols]`; NaN where nothing was decoded."""
    if len(values) > grid.size:
        raise ScalingarError(
            f"{len(values)} values do not fit a grid of {grid.rows} x {grid.cols}: is this the "
            "grid of that run?"
        )
    flat = np.full(grid.size, np.nan)
    flat[: len(values)] = values
    return flat.reshape(grid.rows, grid.cols)


def worst_blocks(
    cells: Array, block: int = BLOCK, share: float = WORST, lowest: bool = False
) -> list[tuple[int, int, int, int]]:
    """The worst share (at least one) of the started blocks, as (row, col, rows, cols).

    A block is as bad as the mean of its decoded cells is high, or low with `lowest`. Blocks start
    at the top left; those at the edge may be smaller (eq. 6).
    """
    if block < 1 or not 0 < share <= 1:
        raise ScalingarError(f"block={block}, share={share}: a block has cells, a share is (0, 1].")
    rows, cols = cells.shape
    found = []
    for top in range(0, rows, block):
        for left in range(0, cols, block):
            part = cells[top : top + block, left : left + block]
            if np.isfinite(part).any():
                mean = float(np.nanmean(part))
                found.append((mean if lowest else -mean, top, left, *part.shape))
    found.sort(key=lambda entry: entry[:3])
    return [entry[1:] for entry in found[: math.ceil(share * len(found))]]


def plot_map(
    trajectory: Trajectory,
    grid: Grid,
    image: Array | None = None,
    ax: Axes | None = None,
    *,
    signal: str = "entropy",
    block: int = BLOCK,
    share: float = WORST,
    limits: tuple[float, float] | None = None,
    colorbar: bool = True,
) -> Axes:
    """A signal of one candidate on the grid, laid over its image, worst blocks outlined.

    Args:
        trajectory: whose signal; hatched beyond its last token.
        grid: rows and columns of its tokens.
        image: its pixels `[H, W, 3]` uint8; the map is opaque without.
        ax: where to draw; a new figure's where None.
        signal: a recorded signal; of margin, KL and log-probabilities the lowest blocks are worst.
        block, share: what is outlined: the worst share of block x block cells (eq. 6).
        limits: the ends of the colour scale, to compare maps; the values' own where None.
        colorbar: whether to add one, labelled with the unit.
    """
    values = trajectory.signals.get(signal)
    if values is None:
        known = ", ".join(trajectory.signals) or "none"
        raise ScalingarError(f"signal={signal!r} was not recorded. Recorded: {known}.")
    ax = axes_or_new(ax, 3.4, 3.0)
    colours = palette_of(ax)
    cells = grid_of(values, grid)
    place: dict[str, Any] = {"extent": (0, grid.cols, grid.rows, 0), "interpolation": "nearest"}
    if image is not None:
        grey = np.asarray(image, dtype=float) @ np.array([0.299, 0.587, 0.114]) / 255
        ax.imshow(grey, cmap="gray", vmin=0, vmax=1, **place)
    low, high = (np.nanmin(cells), np.nanmax(cells)) if limits is None else limits
    shown = ax.imshow(
        cells,
        cmap=matplotlib.colormaps[MAP_COLOURS].reversed()
        if signal in LOW_IS_BAD
        else matplotlib.colormaps[MAP_COLOURS],
        vmin=low,
        vmax=high,
        alpha=0.62 if image is not None else 1.0,
        **place,
    )
    for x, y, wide, tall in undecoded(len(values), grid):
        never: dict[str, Any] = {
            "facecolor": colours.shade,
            "edgecolor": colours.other,
            "hatch": "////",
            "linewidth": 0,
        }
        corner = (x * grid.cols, y * grid.rows)
        ax.add_patch(Rectangle(corner, wide * grid.cols, tall * grid.rows, **never))
    for top, left, tall_, wide_ in worst_blocks(cells, block, share, signal in LOW_IS_BAD):
        # Two lines, so that the frame is seen on dark and on light cells.
        for width, colour in ((3.2, "#FFFFFF"), (1.6, "#D55E00")):
            ax.add_patch(
                Rectangle((left, top), wide_, tall_, fill=False, edgecolor=colour, linewidth=width)
            )
    ax.set_xlim(0, grid.cols)
    ax.set_ylim(grid.rows, 0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    if colorbar:
        bar: Any = ax.figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.03)
        bar.set_label(label_of(signal))
        bar.solids.set_alpha(1)
        bar.outline.set_visible(False)
    return ax
