"""`scalingar compare` from Python: the same document, with the same words, and as a data frame."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from scalingar_analysis.commands.compare import comparison
from scalingar_analysis.tables.render import flat
from scalingar_analysis.tables.verdict import sentences, short_table, summary
from scalingar_fw.generation.notebook import data_frame
from scalingar_fw.registry import default_registry

if TYPE_CHECKING:
    import pandas as pd


@frozen(eq=False)
class Comparison:
    """`data`: what `scalingar compare --json` prints. As text it is what the command prints."""

    data: Mapping[str, Any] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """A row for each strategy and task, overall accuracy as task "overall"; columns as in
        `--csv`.

        Raises:
            ScalingarError: pandas is not installed.
        """
        return data_frame(flat(self.data))

    def __str__(self) -> str:
        return summary(self.data)

    def _repr_html_(self) -> str:
        """Notebooks show the verdict and the short table."""
        columns, rows = short_table(self.data)
        said = "".join(f"<p>{html.escape(s)}</p>" for s in sentences(self.data))
        head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        return f"{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare(
    *runs: str | Path,
    baselines: Sequence[str] = (),
    strategies: Sequence[str] = (),
    split: str | None = None,
    level: float = 0.95,
    resolution: float = 0.03,
) -> Comparison:
    """Compare the strategies of runs, folders of `scalingar bench`.

    Args:
        runs: the folders; where their items differ, those in common are compared.
        baselines: what the others are held against (default: base and best-of-n).
        strategies: only these labels (default: all).
        split: which, where the runs are of several.
        level: coverage of the intervals.
        resolution: the half width for which the number of prompts is stated.

    Raises:
        ScalingarError: a folder holds no run, a label is in none, or nothing is in common.
    """
    folders = [Path(run) for run in runs]
    return Comparison(
        comparison(folders, default_registry(), baselines, strategies, split, level, resolution)
    )


__all__ = ["Comparison", "compare"]
