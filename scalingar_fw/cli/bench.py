"""`scalingar bench`: strategies compared on a benchmark, in units that are never lost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli import completion
from scalingar_fw.cli.command import Grouped
from scalingar_fw.cli.generate import _pairs, share_cores
from scalingar_fw.cli.group import app_of, common_options, ending_tidily
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_fw.experiments.sweep import Sweep

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Grouped,
    groups={
        "What is compared": ("--strategy", "-n", "--seeds", "--set", "--config"),
        "On what": (
            "--benchmark", "--benchmark-option", "--split", "--limit", "--model", "--weights",
            "--option",
        ),
        "How to sample": ("--guidance", "--temperature", "--top-k", "--top-p"),
        "Where to run": (
            "--device", "--dtype", "--executor", "--executor-option", "--workers", "--threads",
            "--batch", "--max-tokens", "--max-hours",
        ),
        "What to write": ("--out", "--record", "--images", "--tracker", "--dry-run", "--json"),
    },
    examples=(
        "scalingar bench --strategy scalingar --strategy best-of-n -n 4 --limit 12",
        "scalingar bench --strategy scalingar -n 1,2,4,8 --seeds 0-4 --out runs/budgets",
        "scalingar bench --benchmark prompts.jsonl --strategy base --dry-run",
        "scalingar bench --out runs/budgets          # go on where it stopped",
    ),
)  # fmt: skip
@click.option(
    "--config",
    type=_FILE,
    metavar="FILE",
    help="YAML with these options as keys (docs/experiments.md); options win.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The experiment's folder; one that is there is gone on with "
    "(default: runs/bench-<benchmark>-<split>-<model>).",
)
@click.option(
    "--model",
    metavar="NAME",
    help="The model (default: shapes).",
    shell_complete=completion.names("model"),
)
@click.option(
    "--weights",
    metavar="WEIGHTS",
    help="A folder, a file or org/name[@revision] (default: its own).",
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="The loader's own.")
@click.option(
    "--benchmark",
    metavar="NAME",
    help="The benchmark, or a .jsonl, .csv or .parquet file of prompts (default: shapes).",
    shell_complete=completion.names("benchmark"),
)
@click.option(
    "--benchmark-option",
    "benchmark_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="The benchmark's own, such as where official files are (repeatable).",
)
@click.option("--split", metavar="NAME", help="The benchmark's split (default: test).")
@click.option("--limit", type=click.IntRange(1), metavar="K", help="K items, in turn from tasks.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME",
    help="A strategy (repeatable).",
    shell_complete=completion.names("strategy"),
)
@click.option("-n", "n", metavar="N,N", help="Candidates: 8, or 1,4,8 (default: a strategy's own).")
@click.option("--seeds", metavar="S-S", help="Seeds: 0, 0-4 or 1,3 (default: 0).")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of every strategy (repeatable).",
    shell_complete=completion.settings,
)
@click.option("--guidance", type=float, metavar="S", help="Guidance scale (default: the model's).")
@click.option("--temperature", type=float, metavar="T", help="Temperature (default: the model's).")
@click.option("--top-k", type=int, metavar="K", help="Keep K tokens (default: the model's).")
@click.option("--top-p", type=float, metavar="P", help="Keep this probability.")
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps (default: auto).")
@click.option("--dtype", metavar="D", help="auto, float32, bfloat16 or float16.")
@click.option("--batch", type=click.IntRange(1), metavar="B", help="Items of a unit (default: 8).")
@click.option(
    "--threads", type=click.IntRange(1), metavar="K", help="Threads of a worker (default: 1)."
)
@click.option("--record/--no-record", default=None, help="Keep every step's signals (default).")
@click.option(
    "--images",
    type=click.Choice(["none", "chosen", "all"]),
    help="Keep pictures of the answers, or of all completed candidates (default: none).",
)
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="NAME",
    help="Who does the units: local, ray, slurm, inline, or module:Class.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="K",
    help="Units at a time, each worker with its own model.",
)
@click.option(
    "--executor-option",
    "executor_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="The executor's own: slurm_partition=gpu, minutes=60, num_gpus=1 (repeatable).",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="The K-th of N parts of the items: N machines fill one --out (default: all).",
)
@click.option(
    "--max-tokens", type=click.IntRange(1), metavar="K", help="Begin nothing beyond K tokens."
)
@click.option("--max-hours", type=float, metavar="H", help="Begin nothing after H hours.")
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Report to tensorboard, wandb, or module:Class (repeatable).",
)
@click.option("--dry-run", is_flag=True, help="Say what there is to do, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
@common_options
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    config: Path | None,
    out: Path | None,
    options: tuple[str, ...],
    benchmark_options: tuple[str, ...],
    strategies: tuple[str, ...],
    settings: tuple[str, ...],
    executor: str,
    workers: int,
    executor_options: tuple[str, ...],
    shard: str | None,
    max_tokens: int | None,
    max_hours: float | None,
    trackers: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare strategies on a benchmark.

    The work is cut into units that are finished one by one; the same command again does what is
    missing, and more strategies, seeds or items amend what is there. Without --config and
    --strategy, --out goes on with the sweep that the folder holds.
    """
    if out is None and config is None and not strategies:
        raise click.UsageError(
            "Nothing to compare: give --strategy NAME, --config FILE, or --out DIR of a sweep to go "
            "on with."
        )
    share_cores()
    app = app_of(ctx)
    registry = app.registry
    # torch is imported from here on
    from scalingar_fw.cli import bench_progress
    from scalingar_fw.experiments.driver import run_sweep
    from scalingar_fw.experiments.layout import Layout
    from scalingar_fw.experiments.sweep import Shard, make_sweep, parse_sweep, read_sweep
    from scalingar_fw.experiments.trackers import make_tracker

    given: dict[str, Any] = {}
    if config is not None:
        given = read_sweep(config)
    elif out is not None and not strategies:
        there = Layout(out).sweep
        if not there.is_file():
            raise ScalingarError(
                f"{out} holds no sweep to go on with: give --config FILE, or --strategy NAME."
            )
        given = read_sweep(there)
    typed: dict[str, Any] = {k: v for k, v in flags.items() if v is not None}
    if "model" in typed:  # the file's weights and options are another model's
        given = {k: v for k, v in given.items() if k not in ("weights", "options")}
    if "benchmark" in typed:
        given = {k: v for k, v in given.items() if k not in ("benchmark_options", "split")}
    for key, flag, pairs in (
        ("set", "--set", settings),
        ("options", "--option", options),
        ("benchmark_options", "--benchmark-option", benchmark_options),
    ):
        if pairs:
            typed[key] = {**given.get(key, {}), **_pairs(flag, pairs, "name=value")}
    if strategies:
        typed["strategies"] = list(strategies)
    given |= parse_sweep(typed, "the command line")
    sweep = make_sweep(given, registry)
    out = default_folder(sweep) if out is None else out
    observers = [bench_progress.make_observer(as_json), *(make_tracker(t, out) for t in trackers)]
    with ending_tidily():
        ended = run_sweep(
            sweep,
            out,
            executor=executor,
            workers=workers,
            executor_options=_values(executor_options),
            registry=registry,
            plugins=app.files,
            observers=observers,
            max_tokens=max_tokens,
            max_hours=max_hours,
            shard=None if shard is None else Shard.parse(shard),
            dry_run=dry_run,
        )
    if not as_json and not dry_run:
        click.echo("\n".join(bench_progress.summary(ended, str(out))))
    if ended.failed:
        ctx.exit(1)


def default_folder(sweep: Sweep) -> Path:
    """`runs/bench-<benchmark>-<split>-<model>`: what strategies, seeds and items are added to, so
    that the same command, or one with another strategy, finds what is there. Weights or loader
    options other than the default make it another model: their hash is added."""
    from scalingar_fw.files import slug

    benchmark = Path(sweep.benchmark).stem
    parts = [benchmark, sweep.split, sweep.model.split("/")[-1]]
    own = {
        "weights": sweep.weights,
        "options": dict(sweep.options),
        "benchmark": sweep.benchmark if benchmark != sweep.benchmark else None,
        "benchmark_options": dict(sweep.benchmark_options),
        "sampling": dict(sweep.sampling),
    }
    if any(own.values()):
        text = json.dumps(own, sort_keys=True, default=str)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:6])
    return Path("runs") / "-".join(["bench", *map(slug, parts)])


def _values(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Executor options: numbers are numbers, the rest is text."""
    from scalingar_fw.config.serialization import scalar
    from scalingar_fw.decoding.params import Rule

    given = _pairs("--executor-option", pairs, "minutes=60")
    return {k: scalar(v, Rule("", kind=float)) for k, v in given.items()}
