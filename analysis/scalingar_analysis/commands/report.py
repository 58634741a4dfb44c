"""`scalingar report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from scalingar_fw.cli.group import common_options


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The page (default: RUN/report.html).",
)
@click.option(
    "--megabytes",
    type=click.FloatRange(1, 1000),
    default=9.0,
    show_default=True,
    help="Most that gallery and viewer may take; beyond it, prompts are sampled.",
)
@click.option("--overwrite", is_flag=True, help="Replace the page.")
@common_options
def report(run: Path, out: Path | None, megabytes: float, overwrite: bool) -> None:
    """Write RUN, a folder of `generate` or `bench`, as one HTML page.

    It opens from disk and needs no network: summary, tables, plots, a gallery, and a viewer in which
    a slider over the tokens moves grids, maps, confidence curves and events together.
    """
    from scalingar_analysis.commands.plot import check_file, writing_file

    path = run / "report.html" if out is None else out
    check_file(path, overwrite)
    from scalingar_analysis.report.page import page
    from scalingar_analysis.runs.run import open_run

    text = page(open_run(run), int(megabytes * 10**6))
    with writing_file(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    click.echo(f"{path} ({path.stat().st_size / 10**6:.1f} MB)")
