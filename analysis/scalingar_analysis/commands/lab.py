"""`scalingar lab`: what is a new per-step signal worth?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_analysis.commands.options import (
    headline,
    known,
    lines,
    load_recording,
    plain,
    recording_options,
)
from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import common_options
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_analysis.lab.lab import LabReport


@click.command()
@recording_options
@click.argument("target", metavar="SIGNAL")
@click.option("--split-seed", default=0, show_default=True, help="Which half is which.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@common_options
@click.pass_context
def lab(
    ctx: click.Context,
    /,
    run: Path,
    recorded: str | None,
    n: int | None,
    seed: int | None,
    target: str,
    split_seed: int,
    as_json: bool,
) -> None:
    """Examine SIGNAL (file.py:function or package.module:function) on the candidates in RUN.

    The function takes the recorded steps, a mapping from names to arrays [candidates, steps], and
    returns a number for each; a step's number may depend on that step and earlier ones. Reported:
    AUROC over steps between right and wrong candidates of one prompt, correlation with recorded
    signals, and the best simple policy on its running mean: chosen on half of the prompts,
    confirmed on the other half.
    """
    from scalingar_analysis.lab.lab import examine
    from scalingar_fw.testing.targets import load_object

    if ":" not in target:
        raise ScalingarError(
            f"{target!r} must name a function: file.py:function or package.module:function."
        )
    signal = load_object(target)
    if not callable(signal):
        raise ScalingarError(f"{target!r} is a {type(signal).__name__}, which is no function.")
    recording = load_recording(ctx, run, recorded, n, seed)
    report = examine(signal, recording, target, seed=split_seed)
    if as_json:
        click.echo(as_document(document(report)))
        return
    best = report.best
    rows = [
        ("recorded", headline(recording)),
        ("signal", f"{report.name}, {'higher' if report.sign > 0 else 'lower'} is better"),
        ("pairs", f"{report.pairs} of a right and a wrong candidate, on the confirming half"),
    ]
    click.echo(lines(rows))
    click.echo("\n" + auroc_table(report))
    strongest = sorted(
        ((v, k) for k, v in report.correlation.items() if v == v), key=lambda p: -abs(p[0])
    )
    click.echo("\ncorrelation of means between candidates of a prompt:")
    click.echo("\n".join(f"    {name:20}{value:+.2f}" for value, name in strongest[:8]))
    click.echo(f"\nbest of {report.tried} simple policies on the running mean: {best.name}")
    click.echo(
        lines(
            [
                ("fitted", f"{best.fitted} at {best.fitted_tokens:.2f} T"),
                ("confirmed", f"{best.confirmed} at {best.confirmed_tokens:.2f} T"),
                ("nobody ended", f" {report.uncut} at {recording.n} T"),
                ("one", f"{report.baseline} at 1 T"),
            ]
        )
    )


def auroc_table(report: LabReport) -> str:
    """AUROC after some shares of the tokens; the interval is the mean's."""
    from scalingar_analysis.statistics.signal_quality import FRACTIONS, steps_read

    out = ["AUROC after tokens    this step's value    mean so far"]
    for count, quality in zip(
        steps_read(len(report.at_step), FRACTIONS), report.at_shares, strict=True
    ):
        interval = "" if quality.low != quality.low else f" [{quality.low:.3f}, {quality.high:.3f}]"
        out.append(f"{count:18d}{report.at_step[count - 1]:21.3f}{quality.value:15.3f}{interval}")
    return "\n".join(out)


def document(report: LabReport) -> dict[str, Any]:
    """Everything as plain data."""
    best = report.best
    return {
        "signal": report.name,
        "higher_is_better": report.sign > 0,
        "pairs": report.pairs,
        "auroc": {
            "at_step": report.at_step.tolist(),
            "so_far": report.so_far.tolist(),
            "at_shares": [
                {"value": q.value, "low": known(q.low), "high": known(q.high)}
                for q in report.at_shares
            ],
        },
        "correlation": {k: known(v) for k, v in report.correlation.items()},
        "best_policy": {
            "name": best.name,
            "fitted": {**plain(best.fitted), "tokens": best.fitted_tokens},
            "confirmed": {**plain(best.confirmed), "tokens": best.confirmed_tokens},
        },
        "tried": report.tried,
        "one_candidate": plain(report.baseline),
        "nobody_ended": plain(report.uncut),
    }
