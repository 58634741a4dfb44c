"""`scalingar reproduce scalingar-2026`: the paper's experiments, its figures beside ours."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options, ending_tidily
from scalingar_fw.errors import ScalingarError, unknown_name

PAPERS = ("scalingar-2026",)


@click.command()
@click.argument("paper", metavar="PAPER")
@click.option("--model", default="shapes", show_default=True, metavar="NAME", help="The model.")
@click.option("--weights", metavar="PATH", help="The model's weights, where it takes any.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="The loader's own.")
@click.option(
    "--benchmark", metavar="NAME", help="The benchmark (default: shapes for shapes, else geneval)."
)
@click.option("--split", default="test", show_default=True, metavar="NAME", help="Of the tables.")
@click.option("--limit", type=click.IntRange(1), metavar="K", help="K items of each split.")
@click.option("-n", "n", type=click.IntRange(2), default=8, show_default=True, metavar="N")
@click.option("--seeds", metavar="S-S", help="Seeds: 0, 0-4 or 1,3 (default: 0).")
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps (default: auto).")
@click.option("--dtype", metavar="D", help="auto, float32, bfloat16 or float16.")
@click.option("--batch", type=click.IntRange(1), metavar="B", help="Items of a unit (default: 8).")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/PAPER-MODEL."
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="One experiment (repeatable; see --list)."
)
@click.option("--executor", default="local", show_default=True, metavar="NAME")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, metavar="W")
@click.option("--dry-run", is_flag=True, help="Say what there is to do, and write nothing.")
@click.option("--list", "listing", is_flag=True, help="List the experiments.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@common_options
@click.pass_context
def reproduce(
    ctx: click.Context,
    /,
    paper: str,
    listing: bool,
    as_json: bool,
    dry_run: bool,
    out: Path | None,
    **asked: Any,
) -> None:
    """Run the experiments of PAPER (scalingar-2026) on a model and print its figures beside ours.

    The work is that of `scalingar bench`: stopped at any moment, the same command goes on. The
    report is printed and left in DIR/report.md.
    """
    from scalingar_analysis.reproduce import sweeps

    if paper not in PAPERS:
        raise unknown_name("paper", paper, PAPERS)
    if listing:
        wide = max(map(len, sweeps.EXPERIMENTS))
        click.echo("\n".join(f"{k:{wide}}  {v}" for k, v in sweeps.EXPERIMENTS.items()))
        return
    names = sweeps.chosen(asked["only"])
    folder = Path("runs") / f"{paper}-{asked['model'].rsplit('/', 1)[-1]}" if out is None else out
    finished, plan = _run(ctx, folder, names, asked, dry_run)
    if dry_run:
        return
    if not finished:
        raise ScalingarError(
            "Some units failed, so there is no report: see above, mend, run again."
        )
    from scalingar_analysis.commands.compare import replace
    from scalingar_analysis.reproduce import report

    built = report.sections(folder, plan, names, asked["n"])
    about = report.facts(folder, plan, names, asked["n"])
    text = report.markdown(built, about, _command(paper, asked))
    replace(folder / "report.md", text.encode())
    if as_json:
        data = report.as_data(built, about)
        click.echo(as_document(data))
    else:
        click.echo(text, nl=False)


def _run(
    ctx: click.Context, folder: Path, names: Sequence[str], asked: dict[str, Any], dry_run: bool
) -> tuple[bool, Any]:
    """Every sweep of the experiments, one after the other; whether all units are there."""
    from scalingar_analysis.reproduce import sweeps
    from scalingar_fw.cli import bench_progress
    from scalingar_fw.cli.generate import _pairs, share_cores

    share_cores()
    app = app_of(ctx)
    registry = app.registry
    from scalingar_fw.benchmark import judged_elsewhere, make_benchmark
    from scalingar_fw.experiments.driver import run_sweep
    from scalingar_fw.experiments.sweep import make_sweep, parse_sweep

    model = registry.find("model", asked["model"]).name
    name = asked["benchmark"] or ("shapes" if model == "shapes" else "geneval")
    benchmark = make_benchmark(registry, name)
    plan = sweeps.Plan.of(benchmark.splits, asked["split"])
    frame = {
        k: asked[k] for k in ("model", "weights", "limit", "seeds", "device", "dtype", "batch")
    }
    frame["benchmark"] = name
    frame["options"] = _pairs("--option", asked["options"], "name=value")
    # Whoever judges later needs the answers' pictures.
    frame["images"] = "chosen" if judged_elsewhere(benchmark) else "none"
    finished = True
    for store, given in sweeps.sweeps(plan, names, asked["n"]):
        click.echo(f"{store}: {', '.join(_label(s) for s in given['strategies'])}", err=True)
        sweep = make_sweep(parse_sweep({**frame, **given}, "reproduce"), registry)
        with ending_tidily():
            ended = run_sweep(
                sweep,
                folder / store,
                executor=asked["executor"],
                workers=asked["workers"],
                registry=registry,
                plugins=app.files,
                observers=[bench_progress.make_observer(False)],
                dry_run=dry_run,
            )
        finished = finished and ended.finished == ended.units
    return finished, plan


def _label(strategy: Any) -> str:
    return strategy if isinstance(strategy, str) else strategy.get("name", strategy["strategy"])


def _command(paper: str, asked: dict[str, Any]) -> str:
    """The command that gives this report again, without what does not change it."""
    words = ["scalingar", "reproduce", paper]
    flags = ("model", "weights", "benchmark", "split", "limit", "n", "seeds", "device", "dtype")
    default = {"split": "test", "n": 8}
    for flag in flags:
        if asked[flag] is not None and asked[flag] != default.get(flag):
            words += ["-n" if flag == "n" else f"--{flag}", str(asked[flag])]
    for flag, values in (("--option", asked["options"]), ("--only", asked["only"])):
        for value in values:
            words += [flag, value]
    return shlex.join(words)
