"""`scalingar tune`: settings of a policy by replay, judged on held-out prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_analysis.commands.options import (
    headline,
    lines,
    load_recording,
    load_strategy,
    plain,
    recording_options,
    strategy_options,
)
from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options

if TYPE_CHECKING:
    from scalingar_analysis.tuning.objective import Point
    from scalingar_analysis.tuning.search import Tuned, Verdict


@click.command()
@recording_options
@strategy_options
@click.option(
    "--space",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML: settings and what they may be, such as `termination.quantile: [0.1, 0.5]`.",
)
@click.option(
    "--objective",
    default="pareto",
    show_default=True,
    metavar="GOAL",
    help="pareto, accuracy, or accuracy@B: the most accurate within B x T tokens.",
)
@click.option(
    "--trials", default=100, show_default=True, type=click.IntRange(1), help="Trials in all."
)
@click.option(
    "--held-out", default=0.5, show_default=True, help="The share of clusters kept for judging."
)
@click.option("--study-seed", default=0, show_default=True, help="Keys the split and the search.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where studies are kept (default: RUN/tune).",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@common_options
@click.pass_context
def tune(
    ctx: click.Context,
    /,
    run: Path,
    recorded: str | None,
    n: int | None,
    seed: int | None,
    strategy: str,
    settings: tuple[str, ...],
    space: Path,
    objective: str,
    trials: int,
    held_out: float,
    study_seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Search a strategy's settings on the candidates in RUN, and judge them on held-out prompts.

    Half of each task's clusters is tuned on; the rest judges. The same command goes on where it
    was interrupted, and more --trials add to the same study.
    """
    from scalingar_analysis.tuning.search import import_optuna
    from scalingar_analysis.tuning.search import tune as search
    from scalingar_analysis.tuning.space import read_space

    import_optuna()
    built = load_strategy(ctx, strategy, settings)
    known = read_space(space, built)
    recording = load_recording(ctx, run, recorded, n, seed, built)
    folder = run / "tune" if out is None else out

    def heard(number: int, point: Point | None) -> None:
        if not as_json and (number + 1) % 25 == 0:
            click.echo(f"{number + 1} of {trials} trials", err=True)

    found = search(
        built,
        recording,
        known,
        registry=app_of(ctx).registry,
        objective=objective,
        trials=trials,
        held_out=held_out,
        seed=study_seed,
        folder=folder,
        heard=heard,
    )
    if as_json:
        click.echo(as_document(document(found)))
    else:
        _, accuracy, tokens = found.untuned
        rows = [
            ("recorded", headline(recording)),
            ("study", f"{folder / found.study}: {found.trials} trials, {found.refused} refused"),
            ("prompts", f"{found.fit_prompts} tuned on, {found.held_prompts} held out"),
            ("untuned", f"{accuracy} at {tokens:.2f} T, held out"),
            ("best", f"{found.best.accuracy} at {found.best.tokens:.2f} T, held out"),
        ]
        click.echo(lines(rows))
        click.echo("".join(f"\n    --set {k}={v}" for k, v in found.best.point.settings.items()))
        click.echo("\n  tuned on: T  accuracy    held out: T  accuracy")
        for verdict in found.front:
            mark = "  <- best" if verdict is found.best else ""
            click.echo(
                f"{verdict.point.tokens:13.2f}{verdict.point.accuracy:10.3f}"
                f"{verdict.tokens:15.2f}  {verdict.accuracy}{mark}"
            )
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)


def document(found: Tuned) -> dict[str, Any]:
    """Everything as plain data."""

    def judged(verdict: Verdict) -> dict[str, Any]:
        return {
            "settings": dict(verdict.point.settings),
            "trial": verdict.point.number,
            "fit": {"accuracy": verdict.point.accuracy, "tokens": verdict.point.tokens},
            "held_out": {**plain(verdict.accuracy), "tokens": verdict.tokens},
            "fit_gain": plain(verdict.fit_gain),
            "held_out_gain": plain(verdict.held_gain),
            "falls_behind": verdict.behind,
        }

    point, accuracy, tokens = found.untuned
    return {
        "study": found.study,
        "trials": found.trials,
        "refused": found.refused,
        "prompts": {"fit": found.fit_prompts, "held_out": found.held_prompts},
        "untuned": {
            "fit": {"accuracy": point.accuracy, "tokens": point.tokens},
            "held_out": {**plain(accuracy), "tokens": tokens},
        },
        "best": judged(found.best),
        "front": [judged(v) for v in found.front],
        "warnings": found.warnings,
    }
