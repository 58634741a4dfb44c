"""How our figures look: one palette, one way to save, no global state of matplotlib.

Colours are of the Okabe-Ito set, which people with any of the common colour deficiencies can tell
apart; what matters is also told apart by line style, marker or text.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE = "#0072B2"  # the answer
GREY = "#9A9A9A"  # other completed candidates
VERMILLION = "#D55E00"  # ended early
GREEN = "#009E73"  # recovered
INK = "#222222"  # medians, thresholds, text
FAINT = "#D9D9D9"
PAPER = "#F3F3F3"

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.5,
    "text.parse_math": False,  # a `$` in a prompt is a dollar
}


@contextlib.contextmanager
def our_style() -> Iterator[None]:
    """Our look and nobody's matplotlibrc, for the block."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that belongs to no window."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(ax: Axes | None, width: float = 7.0, height: float = 2.6) -> Axes:
    """`ax`, or the one axes of a new figure."""
    if ax is not None:
        return ax
    figure = new_figure(width, height)
    axes: Axes = figure.add_subplot()
    return axes


def save(figure: Figure, path: Path | str, dpi: int = 150) -> None:
    """Write a PNG whose bytes follow from the figure alone: no version, no date."""
    with warnings.catch_warnings():
        # Prompts in scripts that the bundled font lacks show boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        figure.savefig(path, dpi=dpi, format="png", metadata={"Software": None})


def text_options(**more: Any) -> dict[str, Any]:
    """For text that users wrote, in whoever's style: a `$` is a dollar, not mathematics."""
    return {"parse_math": False, **more}


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def head(figure: Figure, left: float, prompt: str, config: Any, limit: int) -> None:
    """Prompt and settings at the top; `left` in shares of the width, `limit` in characters."""
    tall = figure.get_figheight()
    model = config.model.split("/")[-1]
    about = f"{config.strategy['name']}  ·  {model}  ·  N = {config.n}  ·  seed {config.seed}"
    for text, inches, style in (
        (shorten(prompt, limit), 0.2, {"fontsize": 11, "fontweight": "bold", "color": INK}),
        (shorten(about, int(1.3 * limit)), 0.41, {"fontsize": 8.5, "color": "#555555"}),
    ):
        figure.text(left, 1 - inches / tall, text, **text_options(va="center", **style))
