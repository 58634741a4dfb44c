"""How our figures look: one palette for light and one for dark, one way to save, no global state.

Colours are of the Okabe-Ito set (lighter where the paper is dark), which people with any of the
common colour deficiencies can tell apart; what matters is also told apart by line style, marker or
text. A plot takes its colours from the Axes that it is given, so it fits whatever style made it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from scalingar_fw.errors import ScalingarError


@frozen
class Palette:
    """The colours of one theme, by what they say."""

    paper: str  # behind everything
    ink: str  # medians, thresholds, text
    muted: str  # second lines of text
    edge: str  # spines and ticks
    line: str  # grid lines
    faint: str  # areas without data: warm-up, tokens that nobody took
    shade: str  # cells that were never decoded
    answer: str
    other: str  # other completed candidates
    ended: str  # ended early
    recovered: str
    flagged: str
    series: tuple[str, ...]  # groups: strategies, tasks, outcomes

    def of(self, place: int) -> str:
        """The colour of the group at `place`; they repeat, markers and dashes do not (`look`)."""
        return self.series[place % len(self.series)]


LIGHT = Palette(
    paper="#FFFFFF",
    ink="#222222",
    muted="#555555",
    edge="#666666",
    line="#E6E6E6",
    faint="#D9D9D9",
    shade="#F3F3F3",
    answer="#0072B2",
    other="#9A9A9A",
    ended="#D55E00",
    recovered="#009E73",
    flagged="#B07A00",
    series=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07A00", "#56B4E9", "#222222"),
)
DARK = Palette(
    paper="#16181C",
    ink="#ECECEC",
    muted="#B4B4B4",
    edge="#8C8C8C",
    line="#2F333A",
    faint="#3A3F47",
    shade="#23262C",
    answer="#56B4E9",
    other="#8C8C8C",
    ended="#FF8A3D",
    recovered="#2FCB9B",
    flagged="#F0C030",
    series=("#56B4E9", "#FF8A3D", "#2FCB9B", "#E59CC4", "#F0E442", "#4C8FD6", "#ECECEC"),
)

#: What tells groups apart without colour, with a different length than the series of colours.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "p", "<")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
#: Maps of a signal on the grid, and tables of numbers: both uniform and safe.
MAP_COLOURS = "cividis"
FORMATS = ("png", "svg", "pdf")


def palette(dark: bool = False) -> Palette:
    return DARK if dark else LIGHT


def palette_of(ax: Axes) -> Palette:
    """The palette that can be read on `ax`: by its own background, or its figure's where it is
    transparent."""
    background = to_rgba(ax.get_facecolor())
    if background[3] >= 0.5:
        return _palette_on(background)
    figure: Any = ax.get_figure(root=True)
    return figure_palette(figure)


def figure_palette(figure: Figure) -> Palette:
    """The palette of a figure, by its background."""
    return _palette_on(to_rgba(figure.get_facecolor()))


def _palette_on(background: tuple[float, ...]) -> Palette:
    red, green, blue, alpha = background
    return palette(dark=alpha >= 0.5 and 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.4)


def look(colours: Palette, place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the group at `place`."""
    return {
        "color": colours.of(place),
        "linestyle": DASHES[place % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
    }


def _rc(colours: Palette) -> dict[Any, Any]:
    return {
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "figure.facecolor": colours.paper,
        "savefig.facecolor": colours.paper,
        "axes.facecolor": colours.paper,
        "axes.edgecolor": colours.edge,
        "axes.linewidth": 0.7,
        "axes.labelcolor": colours.ink,
        "axes.titlecolor": colours.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": colours.line,
        "grid.linewidth": 0.6,
        "text.color": colours.ink,
        "xtick.color": colours.edge,
        "ytick.color": colours.edge,
        "xtick.labelcolor": colours.ink,
        "ytick.labelcolor": colours.ink,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "legend.labelcolor": colours.ink,
        "hatch.linewidth": 0.5,
        "text.parse_math": False,  # a `$` in a prompt is a dollar
        "svg.hashsalt": "scalingar",  # the same figure gives the same ids
    }


#: Width of one column of a two-column paper, in inches.
COLUMN = 3.3
#: Set in a serif face that matplotlib brings, in the size of a caption. Type 42: fonts go into a
#: PDF whole, which publishers ask for.
_PAPER = {
    "font.family": ["STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.1,
    "pdf.fonttype": 42,
}


@contextlib.contextmanager
def our_style(dark: bool = False, paper: bool = False) -> Iterator[None]:
    """Our look and nobody's matplotlibrc, for the block; `paper`: for print, see `fit`."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_rc(palette(dark)) | (_PAPER if paper else {}))
        yield


def fit(figure: Figure, width: float) -> None:
    """Make a figure of one panel `width` inches wide, its text staying as large as it is.

    Where the legend would take the width from the data, it goes above them.

    Raises:
        ScalingarError: below 2 or above 12 inches there is no figure to read.
    """
    if not 2 <= width <= 12:
        raise ScalingarError(f"width={width:g} must be between 2 and 12 inches.")
    before, tall = figure.get_size_inches()
    figure.set_size_inches(width, max(0.62 * width, min(tall, tall * width / before)))
    for ax in figure.axes:
        legend = ax.get_legend()
        if legend is not None and width < 5:
            ax.set_title("")
            names = [text.get_text() for text in legend.get_texts()]
            # About 14 characters of 7 points to an inch, and the line before each name.
            most = min(4, max(1, int(14 * width / (max(map(len, names)) + 6))))
            legend_above(ax, columns=most, handlelength=1.6, columnspacing=1.0)
            figure.set_figheight(figure.get_figheight() + 0.15 * ((len(names) - 1) // most))


class StandaloneFigure(Figure):
    """A figure of no window, which notebooks show all the same."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        save(self, buffer)
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that belongs to no window."""
    figure = StandaloneFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(ax: Axes | None, width: float = 7.0, height: float = 2.6) -> Axes:
    """`ax`, or the one axes of a new figure."""
    if ax is not None:
        return ax
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained")
    axes: Axes = figure.add_subplot()
    return axes


def legend_above(ax: Axes, columns: int = 4, **options: Any) -> None:
    """A legend between title and data: it can cover neither.

    Of `columns`, as many as fit over the data: a wider legend would push the axes to nothing.
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure = ax.get_figure(root=True)
        assert figure is not None
        letters = 13 * figure.get_size_inches()[0] * ax.get_position().width
        longest = max(len(str(label)) for label in labels) + 6  # the handle and the gap
        columns = max(1, min(columns, int(letters // longest)))
        ax.legend(
            **{
                "handles": handles,
                "labels": labels,
                "loc": "lower left",
                "bbox_to_anchor": (0.0, 1.005),
                "ncols": columns,
                "borderaxespad": 0.0,
                "columnspacing": 1.3,
                "handlelength": 1.9,
                **options,
            }
        )


def legend_beside(ax: Axes, **options: Any) -> None:
    """A legend to the right of the data, for names that are long or many."""
    legend_above(ax, **{"columns": 1, "loc": "upper left", "bbox_to_anchor": (1.01, 1), **options})


def format_of(path: Path | str) -> str:
    """The format that a file's name asks for; raises for one that nobody can write."""
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ScalingarError(
            f"{str(path)!r}: a figure is written as {', '.join('.' + f for f in FORMATS)}."
        )
    return suffix


#: Without version and date, equal figures give equal bytes.
_NO_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save(figure: Figure, path: Path | str | io.BytesIO, dpi: int = 150, kind: str = "") -> None:
    """Write a PNG, SVG or PDF (by the name's end) whose bytes follow from the figure alone."""
    kind = kind or ("png" if isinstance(path, io.BytesIO) else format_of(path))
    with warnings.catch_warnings():
        # Prompts in scripts that the bundled font lacks show boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        figure.savefig(path, dpi=dpi, format=kind, metadata=_NO_METADATA[kind])


def text_options(**more: Any) -> dict[str, Any]:
    """For text that users wrote, in whoever's style: a `$` is a dollar, not mathematics."""
    return {"parse_math": False, **more}


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def head(figure: Figure, left: float, prompt: str, config: Any, limit: int) -> None:
    """Prompt and settings at the top; `left` in shares of the width, `limit` in characters."""
    tall, colours = figure.get_figheight(), figure_palette(figure)
    model = config.model.split("/")[-1]
    about = f"{config.strategy['name']}  ·  {model}  ·  N = {config.n}  ·  seed {config.seed}"
    for text, inches, style in (
        (shorten(prompt, limit), 0.2, {"fontsize": 11, "fontweight": "bold", "color": colours.ink}),
        (shorten(about, int(1.3 * limit)), 0.41, {"fontsize": 8.5, "color": colours.muted}),
    ):
        figure.text(left, 1 - inches / tall, text, **text_options(va="center", **style))
