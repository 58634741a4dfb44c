"""`scalingar export`, `import` and `score`: judging a run's images after it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_fw.benchmark import Benchmark

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_run = click.argument("run", type=_FOLDER)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_option = click.option(
    "--benchmark-option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="The benchmark's own, such as files=DIR (repeatable; default: those of the run).",
)


def _benchmark(ctx: click.Context, run: Path, name: str, options: tuple[str, ...]) -> Benchmark:
    """The benchmark with the options that the run was made with, unless others are given."""
    from scalingar_fw.benchmark import make_benchmark
    from scalingar_fw.experiments.layout import Layout
    from scalingar_fw.experiments.sweep import read_sweep

    sweep = Layout(run).sweep
    given = dict(read_sweep(sweep).get("benchmark_options", {})) if sweep.is_file() else {}
    for pair in options:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ScalingarError(f"--benchmark-option {pair!r} must have the form KEY=VALUE.")
        given[key.strip()] = value
    return make_benchmark(app_of(ctx).registry, name, given)


def check_name(name: str) -> None:
    """Refuse what is no name of a folder on every system, or what its manifest cannot hold."""
    if (
        not name
        or Path(name).name != name
        or name.startswith(".")
        or not name.isprintable()
        or "\\" in name
    ):
        raise ScalingarError(
            f"--name {name!r} becomes the name of a folder: leave out '/', a '.' at its beginning, "
            "and what cannot be printed."
        )


@click.command()
@click.argument("benchmark")
@_run
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--strategy", metavar="LABEL", help="Which one, where the run has several.")
@click.option("-n", "n", type=click.IntRange(1), metavar="N", help="Which number of candidates.")
@click.option("--name", metavar="NAME", help="What the evaluator shall call the model.")
@click.option("--partial", is_flag=True, help="Even if prompts of the split have no image yet.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in DIR.")
@_option
@_json
@common_options
@click.pass_context
def export(
    ctx: click.Context,
    benchmark: str,
    run: Path,
    folder: Path,
    strategy: str | None,
    n: int | None,
    name: str | None,
    partial: bool,
    overwrite: bool,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Lay out RUN's chosen images in DIR as BENCHMARK's official evaluator reads them.

    One sample for each seed. Says what to run next.
    """
    from attrs import asdict

    from scalingar_fw.experiments import official
    from scalingar_fw.experiments.store import open_store

    if name is not None:
        check_name(name)
    store = open_store(run)
    done = official.export(
        store,
        _benchmark(ctx, run, benchmark, options),
        folder,
        label=strategy,
        n=n,
        name=name,
        partial=partial,
        overwrite=overwrite,
    )
    if as_json:
        click.echo(as_document({**asdict(done), "folder": str(folder)}))
        return
    click.echo(f"{done.images} images of {done.prompts} prompts ({done.label}, n = {done.n})")
    if done.missing:
        click.echo(f"Warning: {done.missing} images of the split are missing.", err=True)
    click.echo(f"written to {folder}. {done.instructions}")
    click.echo(f"then: scalingar import {benchmark} {run} RESULTS")


@click.command("import")
@click.argument("benchmark")
@_run
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--images",
    type=_FOLDER,
    metavar="DIR",
    help="The exported folder that was judged, where RUN was exported more than once.",
)
@_option
@_json
@common_options
@click.pass_context
def import_(
    ctx: click.Context,
    benchmark: str,
    run: Path,
    results: Path,
    images: Path | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bring RESULTS of BENCHMARK's official evaluator back into RUN."""
    from scalingar_fw.experiments import official
    from scalingar_fw.experiments.store import open_store

    store = open_store(run)
    judge = _benchmark(ctx, run, benchmark, options)
    report = official.import_results(store, judge, results, images)
    if as_json:
        click.echo(as_document(report))
        return
    click.echo(
        f"{report['judged']} images of {report['strategy']} (n = {report['n']}) judged, "
        f"{report['accuracy']:.4f} correct on average"
    )
    if report["left_out"]:
        click.echo(f"Warning: {report['left_out']} exported images have no result.", err=True)


@click.command()
@_run
@click.option("--again", is_flag=True, help="Also images that have a score.")
@_option
@_json
@common_options
@click.pass_context
def score(
    ctx: click.Context, run: Path, again: bool, options: tuple[str, ...], as_json: bool
) -> None:
    """Score RUN's stored images by its benchmark's own scorer."""
    from scalingar_fw.experiments.scoring import score_images
    from scalingar_fw.experiments.store import open_store

    store = open_store(run)
    names = {unit.config["benchmark"] for unit in store.units()}
    if len(names) != 1:
        raise ScalingarError(f"{run} has no finished unit.")
    judge = _benchmark(ctx, run, names.pop(), options)
    report: dict[str, Any] = {}
    for report in score_images(store, judge, again):
        if not as_json:
            click.echo(f"\r{report['scored']} of {report['images']} images", nl=False, err=True)
    if as_json:
        click.echo(as_document(report))
        return
    click.echo("", err=True)
    if not report["images"]:
        click.echo("Every image has a score: --again scores them anew.")
    else:
        click.echo(f"{report['scored']} images scored, {report['accuracy']:.4f} correct on average")
