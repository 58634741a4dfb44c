"""What `scalingar generate` says at the end, from the data that `run.json` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def of_one(data: dict[str, Any]) -> list[str]:
    """The summary of one prompt's run."""
    answer, seconds = data["answer"], data["seconds"]
    complete, sampled = data["tokens"]["complete"], data["tokens"]["sampled"]
    count = len(data["candidates"])
    lines = [
        _line("prompt", data["prompt"]),
        _line("answer", click.style(f"candidate {answer['candidate']} of {count}", bold=True)),
        _line("confidence", _confidence(answer)),
        _line("tokens", _tokens(sampled, complete)),
        _line("prunings", f"{data['prunings']}, recoveries {data['recoveries']}{_others(data)}"),
        _line(
            "seconds", f"{seconds['total']:.1f} (load {seconds['load']:.1f}, {_decode(seconds)})"
        ),
    ]
    return lines + [_line("note", note) for note in data["notes"]]


def row(data: dict[str, Any], index: int) -> str:
    """One prompt's line among many."""
    answer, tokens = data["answer"], data["tokens"]
    confidence = "" if answer["confidence"] is None else f", confidence {answer['confidence']:.3f}"
    return (
        f"{index:4d}  {data['prompt']}: candidate {answer['candidate']}{confidence}, "
        f"{tokens['sampled']} of {tokens['complete']} tokens"
    )


def of_many(totals: dict[str, Any], reports: Sequence[dict[str, Any]]) -> list[str]:
    """The summary of a run over many prompts."""
    seconds = totals["seconds"]
    lines = [
        _line("prompts", str(totals["prompts"])),
        _line("tokens", _tokens(totals["tokens"], totals["complete_tokens"])),
        _line("prunings", f"{totals['prunings']}, recoveries {totals['recoveries']}"),
        _line(
            "seconds", f"{seconds['total']:.1f} (load {seconds['load']:.1f}, {_decode(seconds)})"
        ),
    ]
    shared = [note for note in reports[0]["notes"] if all(note in r["notes"] for r in reports)]
    return lines + [_line("note", note) for note in shared]


def _line(label: str, text: str) -> str:
    return f"{label:12}{text}"


def _confidence(answer: dict[str, Any]) -> str:
    value = answer["confidence"]
    return "not estimated by this strategy" if value is None else f"{value:.3f}"


def _tokens(sampled: int, complete: int) -> str:
    saved = f" ({100 * (1 - sampled / complete):.0f} % saved)" if sampled < complete else ""
    return f"{sampled} of {complete} (N x T){saved}"


def _others(data: dict[str, Any]) -> str:
    """Candidates that ended in ways of their own (beam search, budgets)."""
    named = {k: v for k, v in data["statuses"].items() if k not in ("completed", "pruned")}
    return "".join(f", {k.replace('_', ' ')} {v}" for k, v in named.items())


def _decode(seconds: dict[str, float]) -> str:
    other = sum(v for k, v in seconds.items() if k not in ("total", "load"))
    return f"decode {other:.1f}"
