"""`scalingar autopsy`: was it right to end them?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_analysis.commands.options import (
    headline,
    lines,
    load_recording,
    load_strategy,
    recording_options,
    strategy_options,
)
from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import common_options

if TYPE_CHECKING:
    from scalingar_analysis.replay.autopsy import Autopsy

#: Lines of the table over steps.
POINTS = 8


@click.command()
@recording_options
@strategy_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@common_options
@click.pass_context
def autopsy(
    ctx: click.Context,
    /,
    run: Path,
    recorded: str | None,
    n: int | None,
    seed: int | None,
    strategy: str,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """For everyone whom a strategy would end in RUN: would it have ended correct?

    Ending a candidate is read as the claim that it will be wrong. Precision: the share of those
    ended that would have been wrong; recall: the share of the wrong that are ended. Regret: the
    answers' score without termination minus that with it.
    """
    from scalingar_analysis.replay.autopsy import autopsy as examine

    built = load_strategy(ctx, strategy, settings)
    found = examine(built, load_recording(ctx, run, recorded, n, seed, built))
    if as_json:
        click.echo(as_document(document(found)))
        return
    data, regret = found.summary(), found.regret
    rows = [
        ("recorded", headline(found.recording)),
        ("strategy", built.label),
        ("ended", f"{data['ended']} of {data['candidates']} candidates"),
    ]
    if data["ended"]:
        rows += [
            (
                "precision",
                f"{data['precision']:.3f} would have been wrong; ending at random: "
                f"{data['precision_of_chance']:.3f}",
            ),
        ]
    if data["recall"] is not None:
        rows.append(("recall", f"{data['recall']:.3f} of the wrong ones were ended"))
    rows += [
        (
            "lost",
            f"{data['prompts_that_lost_all_right']:.3f} of the prompts had a correct candidate and "
            "have none left",
        ),
        ("regret", f"{regret} of score, against completing everybody"),
    ]
    click.echo(lines(rows))
    if data["ended"]:
        click.echo("\n" + table(found))


def table(found: Autopsy) -> str:
    """Precision, recall, what was lost and regret over steps."""
    curve = found.over_steps()
    total = found.recording.grid.size
    out = ["  tokens   ended  precision  recall    lost  regret"]
    for point in range(1, POINTS + 1):
        at = max(1, round(point * total / POINTS)) - 1
        precision = curve["precision"][at]
        shown = "        -" if precision != precision else f"{precision:9.3f}"
        out.append(
            f"{curve['tokens'][at]:8d}{curve['ended'][at]:8d}  {shown}{curve['recall'][at]:8.3f}"
            f"{curve['lost'][at]:8.3f}{curve['regret'][at]:+8.3f}"
        )
    return "\n".join(out)


def document(found: Autopsy) -> dict[str, Any]:
    """Everything as plain data."""
    recording = found.recording
    endings = [
        {
            "item": recording.asked[e.prompt].item,
            "prompt": recording.asked[e.prompt].prompt.label,
            "candidate": e.candidate,
            "tokens": e.tokens,
            "status": e.status,
            "reason": e.reason,
            "right": e.right,
            "last_right": e.last_right,
        }
        for e in found.endings
    ]
    curve = {
        name: [None if v != v else v for v in values.tolist()]
        for name, values in found.over_steps().items()
    }
    return {"source": recording.source, **found.summary(), "over_steps": curve, "endings": endings}
