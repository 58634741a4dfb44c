"""`scalingar record`: complete candidates of a benchmark's prompts with every step's signals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options, ending_tidily
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.events import Failed, Progress

if TYPE_CHECKING:
    from scalingar_fw.experiments.events import Event

#: What is watched: the unified confidence and its parts. The recorded confidence decides nothing;
#: replay computes its own from the signals of the logits.
WATCHED = {"confidence": "unified"}


@click.command()
@click.option("--model", default="shapes", show_default=True, metavar="NAME", help="The model.")
@click.option("--weights", type=click.Path(path_type=Path), metavar="PATH", help="Its weights.")
@click.option(
    "--benchmark", default="shapes", show_default=True, metavar="NAME", help="Prompts and judge."
)
@click.option("--split", default="validation", show_default=True, metavar="NAME", help="Its split.")
@click.option("--limit", type=click.IntRange(1), metavar="K", help="Items in all (default: all).")
@click.option("-n", "n", default=8, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--seeds", default="0", show_default=True, metavar="S", help="Such as 0 or 0-4,7.")
@click.option("--guidance", type=float, metavar="S", help="Guidance scale (default: the model's).")
@click.option("--temperature", type=float, metavar="T", help="Temperature (default: the model's).")
@click.option("--top-k", type=int, metavar="K", help="Keep K tokens (default: the model's).")
@click.option("--top-p", type=float, metavar="P", help="Keep this probability (the model's).")
@click.option(
    "--strategy",
    default="base",
    show_default=True,
    metavar="NAME",
    help="Whose guidance, sampler and confidence are recorded; nobody is ended in any case.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of it (repeatable).",
)
@click.option("--device", default="auto", show_default=True, metavar="D", help="cpu, cuda, mps.")
@click.option("--dtype", default="auto", show_default=True, metavar="D", help="float32, bfloat16.")
@click.option(
    "--batch", default=8, show_default=True, type=click.IntRange(1), help="Prompts of a unit."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Output folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@common_options
@click.pass_context
def record(
    ctx: click.Context,
    /,
    strategy: str,
    settings: tuple[str, ...],
    seeds: str,
    out: Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Record complete candidates with all signals, for replay, tune, autopsy and lab.

    An experiment of one strategy that ends nobody: interrupted, the same command goes on; with a
    larger --limit or other --seeds it records what is missing. Prompts of your own, which nobody
    judges, are recorded by `scalingar generate --prompts FILE --strategy best-of-n`.
    """
    from scalingar_analysis.recordings.reading import LABEL
    from scalingar_fw.cli.generate import parse_set, share_cores
    from scalingar_fw.experiments.driver import run_sweep
    from scalingar_fw.experiments.sweep import make_sweep, parse_sweep

    share_cores()
    registry = app_of(ctx).registry
    chosen = {**({} if strategy != "base" else WATCHED), **parse_set(settings)}
    chosen |= {"termination": "never", "selector": "first"}
    entry = {"strategy": strategy, "name": LABEL, "set": chosen}
    flags["weights"] = None if flags["weights"] is None else str(flags["weights"])
    asked = {**flags, "seeds": seeds, "n": [flags["n"]], "record": True, "strategies": [entry]}
    sweep = make_sweep(parse_sweep(asked, "scalingar record"), registry)
    with ending_tidily():
        ended = run_sweep(
            sweep, out, executor="inline", registry=registry, observers=[_Lines(quiet=as_json)]
        )
    if ended.failed:
        raise ScalingarError(
            f"{ended.failed} of {ended.units} units failed; what is finished is in {out}."
        )
    if as_json:
        document = {"folder": str(out), "units": ended.units, "tokens": ended.tokens}
        click.echo(as_document({**document, "accuracy": ended.accuracy.get(LABEL)}))
    else:
        click.echo(f"{'recorded':12}{out} ({ended.units} units)")


class _Lines:
    """A line on stderr for every tenth of the work, and for every failure."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._said = -1

    def notify(self, event: Event) -> None:
        if isinstance(event, Failed):
            click.echo(f"unit {event.key[:12]} failed: {event.error}", err=True)
        if not isinstance(event, Progress) or self._quiet:
            return
        tenth = 10 * event.finished // event.units
        if tenth > self._said:
            self._said = tenth
            left = event.seconds_left
            rest = "" if left is None else f", about {left:.0f} s left"
            click.echo(f"{event.finished} of {event.units} units{rest}", err=True)

    def close(self) -> None:
        return None
