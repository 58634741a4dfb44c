"""All candidates of a run side by side: what was chosen, what was ended, where and why."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scalingar_analysis.plots.style import (
    axes_or_new,
    figure_palette,
    head,
    new_figure,
    our_style,
    palette_of,
    save,
    shorten,
    text_options,
)
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Grid

#: Beam search and resampling leave hundreds of short branches: the longest are shown.
MOST = 32
_CELL = 1.9  # inches: width of an image
_GAP = 0.22
_HEAD = 0.72  # above all
_CHARACTERS = 35  # of a reason that fit below an image
_LINES = 4


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
    colours = palette_of(ax)
    pixels = candidate.pixels
    height, width = pixels.shape[:2]
    # Small images as the squares they are; large ones resampled well.
    smooth = "nearest" if width <= 128 else "antialiased"
    ax.imshow(pixels, interpolation=smooth, extent=(0, 1, 1, 0), aspect=height / width)
    for x, y, w, h in undecoded(len(candidate.tokens), grid):
        never: dict[str, Any] = {
            "facecolor": colours.shade,
            "edgecolor": colours.other,
            "hatch": "////",
            "linewidth": 0,
        }
        ax.add_patch(Rectangle((x, y), w, h, **never))
    style: Any = "-"
    colour, line = colours.other, 0.9
    if candidate.chosen:
        colour, line = colours.answer, 3.0
    elif not candidate.completed:
        colour, line, style = colours.ended, 1.3, (0, (3, 1.5))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=line, linestyle=style)
    return ax


def caption(candidate: Any, confidence: bool = True) -> tuple[str, list[str]]:
    """The line in bold, and the lines below it: confidence, and why it was ended."""
    title, lines = f"#{candidate.id}", []
    ended = candidate.status is not Status.COMPLETED
    if candidate.chosen:
        title += "  answer"
    elif ended:
        word = candidate.status.value.replace("out_of_budget", "over budget")
        title += f"  {word} at token {len(candidate.tokens)}"
    if confidence and math.isfinite(candidate.confidence):
        lines.append(f"confidence {candidate.confidence:.3f}")
    if ended:
        whole = " ".join(candidate.reason.split()).replace(" %", "\u00a0%")
        reason = textwrap.wrap(whole, _CHARACTERS)
        if len(reason) > _LINES:
            reason = [*reason[: _LINES - 1], shorten(" ".join(reason[_LINES - 1 :]), _CHARACTERS)]
        lines += reason
    return title, lines


def pick(candidates: Sequence[Any], most: int = MOST) -> list[Any]:
    """At most `most` candidates: the answer, then the completed, then the longest; by id."""
    order = sorted(candidates, key=lambda c: (not c.chosen, not c.completed, -len(c.tokens), c.id))
    return sorted(order[:most], key=lambda c: c.id)


def figure_of(run: Any, dark: bool = False) -> Figure:
    """The sheet of a `Generation`, or of an `Example` (examples.py)."""
    shown = pick(run.candidates)
    run.decode_pixels([c.place for c in shown])
    # Without an estimator every value is the neutral one: a number there would mislead.
    known = any((c.signals.get("confidence", 0.5) != 0.5).any() for c in shown if len(c.tokens))
    captions = [caption(c, known) for c in shown]
    columns = min(len(shown), 4 if len(shown) <= 16 else 8)
    rows = math.ceil(len(shown) / columns)
    tall = _CELL * shown[0].pixels.shape[0] / shown[0].pixels.shape[1]
    below = 0.36 + 0.125 * max(len(lines) for _, lines in captions)
    # A single narrow image would leave no room for the prompt above it.
    width = max(columns * (_CELL + _GAP) + _GAP, 4.4)
    height = _HEAD + rows * (tall + below)
    with our_style(dark):
        figure = new_figure(width, height)
        colours = figure_palette(figure)
        head(figure, _GAP / width, run.prompt.label, run.config, limit=int(11 * (width - _GAP)))
        if len(shown) < len(run.candidates):
            figure.text(
                1 - _GAP / width,
                1 - 0.41 / height,
                f"{len(shown)} of {len(run.candidates)} candidates",
                **text_options(fontsize=8.5, color=colours.muted, va="center", ha="right"),
            )
        for place, (candidate, (title, lines)) in enumerate(zip(shown, captions, strict=True)):
            row, column = divmod(place, columns)
            x = _GAP + column * (_CELL + _GAP)
            y = height - _HEAD - row * (tall + below) - tall
            ax = figure.add_axes((x / width, y / height, _CELL / width, tall / height))
            plot_candidate(candidate, run.grid, ax)
            colour = colours.ink if candidate.completed else colours.ended
            colour = colours.answer if candidate.chosen else colour
            bold = text_options(fontsize=8, fontweight="bold", color=colour, va="top")
            plain = text_options(fontsize=7, color=colours.muted, va="top", linespacing=1.25)
            figure.text(x / width, (y - 0.07) / height, title, **bold)
            figure.text(x / width, (y - 0.22) / height, "\n".join(lines), **plain)
    return figure


def write(run: Any, path: Path | str) -> None:
    """The artefact `candidates.png`."""
    with our_style():
        save(figure_of(run), path)
