"""`scalingar plot`: a figure of a run, as a vector graphic or an image."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import click

from scalingar_fw.cli.command import Grouped
from scalingar_fw.cli.group import common_options
from scalingar_fw.errors import ScalingarError


def _kinds(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """What may be typed for --kind."""
    from scalingar_analysis.plots.plot_registry import KINDS

    return [name for name in KINDS if name.startswith(typed)]


@click.command(
    cls=Grouped,
    groups={
        "What is drawn": (
            "--kind", "--prompt", "--candidate", "--signal", "--by", "--strategy", "--list",
        ),
        "How it looks, and where it goes": (
            "--format", "--out", "--paper", "--dark", "--dpi", "--overwrite",
        ),
    },
    examples=(
        "scalingar plot picture --kind confidence",
        "scalingar plot picture --kind map --signal margin --format png --dpi 300",
        "scalingar plot runs/budgets --kind pareto --paper --format pdf",
    ),
)  # fmt: skip
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--kind",
    default="dynamics",
    show_default=True,
    metavar="KIND",
    help="See --list.",
    shell_complete=_kinds,
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A .svg, .pdf or .png (default: KIND.svg).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "pdf", "png"]),
    help="The format, where --out does not say it (default: svg).",
)
@click.option(
    "--paper",
    is_flag=False,
    flag_value=3.3,
    type=click.FloatRange(2, 12),
    metavar="[INCHES]",
    help="For print: this wide (default: 3.3, a column), small serif type.",
)
@click.option("--dark", is_flag=True, help="Light on dark.")
@click.option("--prompt", type=click.IntRange(0), metavar="P", help="Which prompt, from 0 (0).")
@click.option("--candidate", type=int, metavar="C", help="Its id (default: the answer).")
@click.option("--signal", metavar="NAME", help="A recorded signal (default: entropy).")
@click.option("--by", metavar="GROUP", help="outcome, task or strategy (default: outcome).")
@click.option("--strategy", metavar="LABEL", help="One strategy of a store (default: all).")
@click.option("--dpi", type=click.IntRange(20, 1200), default=150, help="Of a .png (150).")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@click.option("--list", "listing", is_flag=True, help="List the kinds.")
@common_options
def plot(
    run: Path | None,
    kind: str,
    out: Path | None,
    form: str | None,
    paper: float | None,
    dark: bool,
    dpi: int,
    overwrite: bool,
    listing: bool,
    **options: Any,
) -> None:
    """Plot RUN: a folder of `generate` or `bench`.

    The file is a vector graphic unless its name ends in .png. Equal runs give equal bytes.
    """
    from scalingar_analysis.plots.plot_registry import KINDS, kind_of

    if listing:
        wide = max(map(len, KINDS))
        click.echo("\n".join(f"{name:{wide}}  {entry.summary}" for name, entry in KINDS.items()))
        return
    if run is None:
        raise click.UsageError("Missing RUN: name the folder of a run, or give --list.")
    kind_of(kind)
    path = Path(f"{kind}.{form or 'svg'}") if out is None else out
    if form is not None and path.suffix.lower() != f".{form}":
        raise ScalingarError(f"--format {form} writes no {path.name}: let --out end in .{form}.")
    check_file(path, overwrite)
    from scalingar_analysis.plots.plot_registry import figure
    from scalingar_analysis.plots.style import format_of, our_style, save

    written = format_of(path)
    made = figure(run, kind, dark, paper, **options)
    with writing_file(path) as beside, our_style(dark, paper is not None):
        save(made, beside, dpi=dpi, kind=written)
    click.echo(path)


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse a file that is there already, or that no folder can hold."""
    if path.is_dir():
        raise ScalingarError(f"{path} is a folder: name a file with --out.")
    if path.exists() and not overwrite:
        raise ScalingarError(f"{path} exists: choose another --out, or add --overwrite.")
    there = next((p for p in path.absolute().parents if p.is_dir()), None)
    if there is not None and not os.access(there, os.W_OK):
        raise ScalingarError(f"{there} cannot be written: name another file with --out.")


class writing_file:
    """A path beside `target` to write; it becomes `target` when the block ends well."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")

    def __enter__(self) -> Path:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        return self.beside

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            os.replace(self.beside, self.target)
        else:
            self.beside.unlink(missing_ok=True)
