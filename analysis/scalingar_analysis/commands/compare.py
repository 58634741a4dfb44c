"""`scalingar compare`: which strategy is better, at what cost, and is the difference real."""

from __future__ import annotations

import csv
import io
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_analysis.tables.arms import Arm
    from scalingar_fw.benchmark import Item
    from scalingar_fw.registry import Registry

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    metavar="RUN [RUN ...]",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="LABEL",
    help="Hold the others against this strategy (repeatable; default: base and best-of-n).",
)
@click.option(
    "--strategy", "wanted", multiple=True, metavar="LABEL", help="Only these (repeatable)."
)
@click.option("--split", metavar="NAME", help="Which split, where the runs are of several.")
@click.option(
    "--level", type=float, default=0.95, show_default=True, help="Coverage of the intervals."
)
@click.option(
    "--resolution",
    type=float,
    default=0.03,
    show_default=True,
    help="State how many prompts intervals of half this width need.",
)
@click.option("--all", "everything", is_flag=True, help="Print every table.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Write a row for each task.")
@click.option(
    "--tables",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write each table as a CSV file that documents can be bound to.",
)
@click.option("--parquet", "parquet_file", type=_FILE, metavar="FILE", help="The same as Parquet.")
@common_options
@click.pass_context
def compare(
    ctx: click.Context,
    runs: tuple[Path, ...],
    baselines: tuple[str, ...],
    wanted: tuple[str, ...],
    split: str | None,
    level: float,
    resolution: float,
    everything: bool,
    as_json: bool,
    as_markdown: bool,
    csv_file: Path | None,
    folder: Path | None,
    parquet_file: Path | None,
) -> None:
    """Compare the strategies of RUNs, folders of `scalingar bench`.

    First a verdict in words, with intervals that count clusters of prompts; then accuracies and
    prices. --all adds costs, tasks, paired differences with Holm's correction, equal budgets and
    oracle ladders. Runs with different items are compared on those in common.
    """
    if as_json + as_markdown + everything > 1:
        raise click.UsageError("Give one of --all, --json and --markdown.")
    for path, suffix in ((csv_file, ".csv"), (parquet_file, ".parquet")):
        if path is not None and path.suffix != suffix:
            raise ScalingarError(f"{path} must end in {suffix}.")
    from scalingar_analysis.tables import render

    data = comparison(runs, app_of(ctx).registry, baselines, wanted, split, level, resolution)
    rows = render.flat(data)
    if csv_file is not None:
        replace(csv_file, csv_text(rows).encode())
    if parquet_file is not None:
        replace(parquet_file, parquet_bytes(rows))
    if folder is not None:
        from scalingar_analysis.tables.export import export

        options = [("--baseline", b) for b in baselines] + [("--strategy", w) for w in wanted]
        options += [("--split", split)] if split is not None else []
        words = [w for pair in options for w in pair]
        export(folder, data, shlex.join(["scalingar", "compare", *map(str, runs), *words]))
    if as_json:
        click.echo(as_document(data))
    elif as_markdown:
        click.echo(render.markdown(data), nl=False)
    elif everything:
        click.echo(render.text(data))
    else:
        from scalingar_analysis.tables.verdict import summary

        click.echo(summary(data, width=max(80, shutil.get_terminal_size((80, 24)).columns)))


def comparison(
    runs: Sequence[Path],
    registry: Any,
    baselines: Sequence[str] = (),
    wanted: Sequence[str] = (),
    split: str | None = None,
    level: float = 0.95,
    resolution: float = 0.03,
) -> dict[str, Any]:
    """The document behind all forms of output."""
    from scalingar_analysis.tables.arms import load_arms, with_held_out
    from scalingar_analysis.tables.comparison import compare as compared
    from scalingar_fw.config.serialization import build_strategy
    from scalingar_fw.errors import unknown_name

    arms, benchmark, chosen = load_arms(runs, split)
    labels = list(dict.fromkeys(a.label for a in arms))
    for label in wanted:
        if label not in labels:
            raise unknown_name("strategy in these runs", label, labels)
    kept = [a for a in arms if not wanted or a.label in wanted]
    with_held_out(kept, known_items(kept, benchmark, chosen, registry))
    data = compared(
        kept,
        baselines=baselines,
        level=level,
        resolution=resolution,
        make=lambda described: build_strategy(described, registry),
    )
    models = dict.fromkeys(
        f"{a.config['model']} {a.config.get('model_hash') or 'without a hash'}" for a in kept
    )
    about = {"runs": [str(r) for r in runs], "benchmark": benchmark, "split": chosen}
    return {**about, "models": list(models), **data}


def known_items(
    arms: Sequence[Arm], benchmark: str, split: str, registry: Registry
) -> Sequence[Item]:
    """The split's items where a run did not record which are held out (0.1 did not) and the
    benchmark is at hand; else none."""
    from scalingar_fw.benchmark import make_benchmark

    if all(c.held_out is not None for a in arms for c in a.cells.values()):
        return ()
    try:
        options = arms[0].config.get("benchmark_options") or {}
        return make_benchmark(registry, benchmark, options).items(split)
    except ScalingarError:  # its plugin or its files are not here: nobody knows, then
        return ()


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def parquet_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def replace(path: Path, data: bytes) -> None:
    """Write beside and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
