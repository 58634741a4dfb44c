"""What happened while decoding: entropy, confidence, guidance and live candidates over steps.

The panels are plots of their own (`scalingar_analysis.plots`); here they are stacked into the
artefact `dynamics.png`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalingar_analysis.plots.confidence import has_confidence, plot_confidence
from scalingar_analysis.plots.guidance import plot_guidance
from scalingar_analysis.plots.live import plot_live
from scalingar_analysis.plots.signals import plot_entropy
from scalingar_analysis.plots.steps import legend_entries
from scalingar_analysis.plots.style import figure_palette, head, new_figure, our_style, save

#: Entries of the legend that fit in one line of 8 inches.
_IN_A_LINE = 7


def figure_of(run: Any, prompt: int = 0, dark: bool = False) -> Figure:
    """The four panels of a prompt over one step axis."""
    heights = [3, 4 if has_confidence(run, prompt) else 0.8, 3, 2.2]
    panels = (plot_entropy, plot_confidence, plot_guidance, plot_live)
    return stacked(run, panels, heights, prompt, dark)


def stacked(
    run: Any,
    panels: Sequence[Callable[..., Axes]],
    heights: list[float],
    prompt: int = 0,
    dark: bool = False,
    without: Sequence[str] = (),
) -> Figure:
    """Panels over one step axis, with the prompt and one legend above them all.

    `without`: entries of the legend that none of the panels shows.
    """
    with our_style(dark):
        figure = new_figure(8.0, 1.5 + 0.58 * sum(heights))
        grid = {"height_ratios": heights}
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0]
        for ax, panel in zip(axes, panels, strict=True):
            panel(run, ax, prompt)
        for ax in axes[:-1]:
            ax.set_xlabel("")
        figure.align_ylabels(axes)
        handles = legend_entries(run, prompt, figure_palette(figure), without)
        lines = -(-len(handles) // _IN_A_LINE)
        tall = figure.get_figheight() + 0.2 * (lines - 1)
        figure.set_figheight(tall)
        figure.subplots_adjust(
            left=0.115,
            right=0.97,
            top=1 - (0.68 + 0.2 * lines) / tall,
            bottom=0.5 / tall,
            hspace=0.2,
        )
        head(figure, 0.115, run.decoded.prompts[prompt].label, run.config, limit=85)
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.103, 1 - 0.53 / tall),
            ncols=-(-len(handles) // lines),
            columnspacing=1.2,
            handlelength=1.8,
            borderaxespad=0,
        )
    return figure


def write(run: Any, path: Path | str) -> None:
    """The artefact `dynamics.png`."""
    with our_style():
        save(figure_of(run), path)
