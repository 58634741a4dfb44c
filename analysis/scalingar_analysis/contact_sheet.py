"""All candidates of a run side by side: what was chosen, what was ended, where and why."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scalingar_analysis.style import (
    BLUE,
    GREY,
    INK,
    PAPER,
    VERMILLION,
    axes_or_new,
    new_figure,
    our_style,
    save,
    shorten,
    text_options,
)
from scalingar_fw.result import Status
from scalingar_fw.state import Grid

_CELL = 1.9  # inches: width of an image
_GAP = 0.22
_CAPTION = 0.74  # below each image
_HEAD = 0.72  # above all
_CHARACTERS = 34  # of caption that fit below an image


def undecoded(tokens: int, grid: Grid) -> list[tuple[float, float, float, float]]:
    """What lies beyond the first `tokens` cells in raster order, as (x, y, width, height) in
    shares of the image, from its top left corner."""
    if tokens >= grid.size:
        return []
    row, col = divmod(tokens, grid.cols)
    out = []
    if col:
        out.append((col / grid.cols, row / grid.rows, 1 - col / grid.cols, 1 / grid.rows))
        row += 1
    if row < grid.rows:
        out.append((0.0, row / grid.rows, 1.0, 1 - row / grid.rows))
    return out


def plot_candidate(candidate: Any, grid: Grid, ax: Axes | None = None) -> Axes:
    """One candidate's image, hatched where it was never decoded, framed by how it ended."""
    ax = axes_or_new(ax, _CELL, _CELL)
    pixels = candidate.pixels
    height, width = pixels.shape[:2]
    # Small images as the squares they are; large ones resampled well.
    ax.imshow(
        pixels,
        interpolation="nearest" if width <= 128 else "antialiased",
        extent=(0, 1, 1, 0),
        aspect=height / width,
    )
    for x, y, w, h in undecoded(len(candidate.tokens), grid):
        ax.add_patch(
            Rectangle((x, y), w, h, facecolor=PAPER, edgecolor="#BDBDBD", hatch="////", linewidth=0)
        )
    style: Any = "-"
    colour, line = GREY, 0.9
    if candidate.chosen:
        colour, line = BLUE, 3.0
    elif not candidate.completed:
        colour, line, style = VERMILLION, 1.3, (0, (3, 1.5))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=line, linestyle=style)
    return ax


def caption(candidate: Any, confidence: bool = True) -> tuple[str, str]:
    """The line in bold, and what stands below it."""
    name = f"#{candidate.id}"
    if candidate.chosen:
        name += "  answer"
    elif candidate.status is not Status.COMPLETED:
        name += f"  {candidate.status.value.replace('_', ' ')} at token {len(candidate.tokens)}"
    if confidence and math.isfinite(candidate.confidence):
        name += f"  C {candidate.confidence:.3f}"
    reason = "" if candidate.status is Status.COMPLETED else candidate.reason
    return name, "\n".join(textwrap.wrap(shorten(reason, 2 * _CHARACTERS), _CHARACTERS)[:2])


def figure_of(run: Any) -> Figure:
    """The sheet of a `Generation`."""
    candidates = run.candidates
    count = len(candidates)
    columns = min(count, 4 if count <= 16 else 8)
    rows = math.ceil(count / columns)
    shape = run.pixels.shape
    tall = _CELL * shape[0] / shape[1]
    # A single narrow image would leave no room for the prompt above it.
    width = max(columns * (_CELL + _GAP) + _GAP, 4.4)
    height = _HEAD + rows * (tall + _CAPTION)
    # Without an estimator every value is the neutral one: a number there would mislead.
    known = any(
        (c.signals["confidence"] != 0.5).any() for c in candidates if "confidence" in c.signals
    )
    with our_style():
        figure = new_figure(width, height)
        left = (width - columns * (_CELL + _GAP) + _GAP) / 2
        config = run.config
        about = (
            f"{config.strategy['name']}  ·  {config.model.split('/')[-1]}  ·  "
            f"N = {config.n}  ·  seed {config.seed}"
        )
        fit = max(24, int(13.5 * (width - 2 * _GAP)))
        figure.text(
            _GAP / width,
            1 - 0.2 / height,
            shorten(run.prompt.label, fit),
            **text_options(fontsize=11, fontweight="bold", color=INK, va="center"),
        )
        figure.text(
            _GAP / width,
            1 - 0.42 / height,
            shorten(about, int(1.3 * fit)),
            **text_options(fontsize=8.5, color="#555555", va="center"),
        )
        for place, candidate in enumerate(candidates):
            row, column = divmod(place, columns)
            x = left + column * (_CELL + _GAP)
            y = height - _HEAD - row * (tall + _CAPTION) - tall
            ax = figure.add_axes((x / width, y / height, _CELL / width, tall / height))
            plot_candidate(candidate, run.grid, ax)
            bold, below = caption(candidate, known)
            colour = BLUE if candidate.chosen else INK if candidate.completed else VERMILLION
            figure.text(
                x / width,
                (y - 0.08) / height,
                bold,
                **text_options(fontsize=8, fontweight="bold", color=colour, va="top"),
            )
            figure.text(
                x / width,
                (y - 0.24) / height,
                below,
                **text_options(fontsize=7.3, color="#444444", va="top", linespacing=1.25),
            )
    return figure


def write(run: Any, path: Path | str) -> None:
    """The artefact `candidates.png`."""
    with our_style():
        save(figure_of(run), path)
