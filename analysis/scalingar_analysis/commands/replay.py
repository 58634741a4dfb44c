"""`scalingar replay`: a policy on recorded candidates, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_analysis.commands.options import (
    headline,
    known,
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
    from scalingar_analysis.replay.replay import Replay

#: Prompts that are listed one by one where nobody asked for all.
LISTED = 10


@click.command()
@recording_options
@strategy_options
@click.option("--prompts", "every", is_flag=True, help="List every prompt, however many.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@common_options
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    run: Path,
    recorded: str | None,
    n: int | None,
    seed: int | None,
    strategy: str,
    settings: tuple[str, ...],
    every: bool,
    as_json: bool,
) -> None:
    """Apply a strategy's estimator, termination and selection to the candidates recorded in RUN.

    Says who would have been ended and where, who chosen, the tokens and the score: what decoding
    would give, to rounding. Refused where the strategy would have sampled other tokens: another
    guidance, sampler or temperature, forks, resampling.
    """
    from scalingar_analysis.replay.replay import replay as apply

    built = load_strategy(ctx, strategy, settings)
    recording = load_recording(ctx, run, recorded, n, seed, built)
    outcome = apply(built, recording)
    if as_json:
        document = {**summary(outcome), "prompts": prompts(outcome)}
        registry = app_of(ctx).registry
        from scalingar_fw.config.serialization import describe

        document["strategy"] = describe(built, registry, full=True)
        click.echo(as_document(document))
        return
    click.echo(lines([("recorded", headline(recording)), *_rows(outcome)]))
    listed = prompts(outcome)
    if every or len(listed) <= LISTED:
        click.echo()
        for prompt in listed:
            click.echo(_line(prompt))


def summary(outcome: Replay) -> dict[str, Any]:
    """The totals as plain data; scores are None where nobody judged. Tokens in units of T."""
    from scalingar_analysis.statistics.intervals import estimate, task_mean

    recording = outcome.recording
    size, count = recording.grid.size, len(recording)
    judged: dict[str, Any] = {"score": None, "one_candidate": None, "oracle": None}
    if recording.scored:
        answer = estimate(outcome.score, recording.tasks, recording.clusters)
        rows = [recording.rows_of(p) for p in range(count)]
        first = [recording.scores[r[0]] for r in rows]
        most = [recording.scores[r].max() for r in rows]
        judged = {
            "score": plain(answer),
            "one_candidate": task_mean(first, recording.tasks),
            "oracle": task_mean(most, recording.tasks),
        }
    return {
        "source": recording.source,
        "count": count,
        "n": recording.n,
        "total_tokens": size,
        "tokens": float(outcome.tokens.mean()) / size,
        "ended": int((~outcome.completed).sum()) / count,
        "recoveries": float(outcome.recoveries.mean()),
        **judged,
    }


def prompts(outcome: Replay) -> list[dict[str, Any]]:
    """Every prompt as plain data: who was ended where and why, who chosen, tokens and score."""
    recording = outcome.recording
    out = []
    for place, asked in enumerate(recording.asked):
        rows = recording.rows_of(place)
        ended = [
            {
                "candidate": int(recording.candidate[r]),
                "tokens": int(outcome.lengths[r]),
                "status": outcome.statuses[r].value,
                "reason": outcome.reasons[r],
            }
            for r in rows
            if not outcome.completed[r]
        ]
        answer = outcome.chosen[place]
        out.append(
            {
                "item": asked.item,
                "seed": asked.seed,
                "prompt": asked.prompt.label,
                "task": asked.task,
                "chosen": int(recording.candidate[answer]),
                "tokens": int(outcome.tokens[place]),
                "score": known(float(outcome.score[place])),
                "ended": ended,
            }
        )
    return out


def _rows(outcome: Replay) -> list[tuple[str, str]]:
    data = summary(outcome)
    rows = [("strategy", outcome.strategy.label)]
    score = data["score"]
    if score is None:
        rows.append(("score", "not judged (prompts of a benchmark are: scalingar record)"))
    else:
        interval = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
        rows.append(
            (
                "score",
                f"{score['mean']:.3f}{interval}; one candidate {data['one_candidate']:.3f}, oracle "
                f"of {data['n']} {data['oracle']:.3f}",
            )
        )
    saved = 1 - data["tokens"] / data["n"]
    rows.append(("tokens", f"{data['tokens']:.2f} T of {data['n']} T ({saved:.1%} saved)"))
    rows.append(
        (
            "ended early",
            f"{data['ended']:.2f} of {data['n']} candidates; {data['recoveries']:.2f} flags "
            "recovered",
        )
    )
    return rows


def _line(prompt: dict[str, Any]) -> str:
    cuts = ", ".join(f"#{e['candidate']} at {e['tokens']}" for e in prompt["ended"]) or "nobody"
    score = "" if prompt["score"] is None else f", score {prompt['score']:g}"
    return (
        f"{prompt['prompt']}\n    answer #{prompt['chosen']}{score}, {prompt['tokens']} tokens; "
        f"ended: {cuts}"
    )
