"""The page's tables and gallery as HTML; whatever comes from a run is escaped here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

from scalingar_analysis.plots.comparison_data import by_task, points
from scalingar_analysis.report.pictures import data_uri
from scalingar_analysis.runs.example import Example
from scalingar_analysis.runs.run import Run
from scalingar_fw.decoding.result import Status

escape = html.escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of plain text; columns after the first are numbers.

    On a narrow screen each row becomes a block of name and value (`data-label`, report.css), so
    that no column is cut; elsewhere a table that is too wide scrolls by itself.
    """
    # Not a <caption>: that would be as wide as the table, and cut off on a phone.
    said = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    cells = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(
        "<tr>"
        + f'<th scope="row">{escape(row[0])}</th>'
        + "".join(
            f'<td data-label="{escape(name)}">{escape(cell)}</td>'
            for name, cell in zip(head[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'{said}<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption or head[0])}">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(about: Mapping[str, str]) -> str:
    """Label and text, one below the other."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in about.items())
    return f'<dl class="facts">{rows}</dl>'


def comparison(run: Run) -> str:
    """Accuracy, cost and accuracy by task of each strategy of a judged run."""
    tasks = by_task(run)
    names = sorted({task for row in tasks.values() for task in row})
    head = ["strategy", "n", "accuracy", "95 % interval", "tokens / T", *names]
    rows = []
    for p in sorted(points(run), key=lambda p: (p.oracle, -p.accuracy)):
        own = tasks.get((p.name, p.n), {})
        rows.append(
            [
                p.name + (" (oracle: asks the judge)" if p.oracle else ""),
                str(p.n),
                f"{p.accuracy:.3f}",
                "too few clusters" if p.low != p.low else f"{p.low:.3f} to {p.high:.3f}",
                f"{p.cost:.2f}",
                *(f"{own[t]:.3f}" if t in own else "" for t in names),
            ]
        )
    caption = (
        "Accuracy is the unweighted mean over tasks; intervals count clusters of items. "
        "Tokens are per prompt, in multiples of one complete image."
    )
    return table(head, rows, caption)


def prompts(examples: Sequence[Example], most: int = 200) -> str:
    """One line for each prompt of a run that nobody judged."""
    rows = []
    for e in examples[:most]:
        ts = e.decoded.trajectories
        full = e.n * e.decoded.total_tokens
        rows.append(
            [
                e.prompt.label,
                f"#{e.answer.id}",
                _confidence(e),
                f"{e.tokens} of {full} ({100 * e.tokens / full:.0f} %)",
                str(sum(t.status is Status.PRUNED for t in ts)),
                str(e.decoded.recoveries),
            ]
        )
    head = ["prompt", "answer", "confidence", "tokens", "prunings", "recoveries"]
    more = f" The first {most} of {len(examples)}." if len(examples) > most else ""
    return table(head, rows, "Each prompt, its answer and what it cost." + more)


def _confidence(example: Example) -> str:
    values = [t.signals.get("confidence") for t in example.decoded.trajectories]
    if all(v is None or bool((v == 0.5).all()) for v in values):
        return "not estimated"
    return f"{example.answer.confidence:.3f}"


def gallery_entry(example: Example, place: int) -> str:
    """All candidates of a prompt under one strategy; the viewer takes its images from here."""
    cards, missing = [], []
    for c in sorted(example.candidates, key=lambda c: (not c.chosen, not c.completed, c.id)):
        words = [f"#{c.id}"]
        if c.chosen:
            words.append("answer")
        if not c.completed:
            words.append(f"{c.status.value.replace('_', ' ')} at {len(c.tokens)}")
        if not math.isnan(c.score):
            words.append("correct" if c.score > 0.5 else "incorrect")
        kinds = ["answer" if c.chosen else "", "" if c.completed else "ended"]
        picture = c.picture
        if picture is None:
            missing.append(", ".join(words))
            continue
        alt = f"Candidate {c.id} for: {example.prompt.label}"
        shown = f'<img id="image-{place}-{c.id}" src="{data_uri(picture)}" alt="{escape(alt)}">'
        title = "" if c.completed else f' title="{escape(c.reason)}"'
        cards.append(
            f'<figure class="{" ".join(k for k in kinds if k)}"{title}>{shown}'
            f"<figcaption>{escape(', '.join(words))}</figcaption></figure>"
        )
    rest = f"<p>Images not saved: {escape('; '.join(missing))}.</p>" if missing else ""
    said = f"{example.strategy}, n = {example.n}, seed {example.config.seed}"
    return (
        f'<div class="variant"><p>{escape(said)} '
        f'<button type="button" class="open" data-example="{place}">Show over time</button></p>'
        f'<div class="images">{"".join(cards)}</div>{rest}</div>'
    )
