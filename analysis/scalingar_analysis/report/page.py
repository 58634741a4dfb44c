"""The page itself: what goes into it, in which order, and how large it may get."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from attrs import frozen

from scalingar_analysis.plots.plot_registry import figure
from scalingar_analysis.plots.style import shorten
from scalingar_analysis.report import answer, tables
from scalingar_analysis.report.pictures import inline_svg
from scalingar_analysis.report.viewer import colours, viewer_data
from scalingar_analysis.runs.example import Example
from scalingar_analysis.runs.run import Run
from scalingar_fw.errors import ScalingarError

#: Bytes of gallery and viewer together; the rest of a page is below a megabyte.
BUDGET = 9 * 10**6


@frozen
class Figure:
    """One of the page's figures: a kind of plot with its settings, a heading, and how to read it."""

    kind: str
    title: str
    caption: str
    signal: str = "entropy"


#: What is drawn of a run that a judge scored, and of any run.
JUDGED = (
    Figure("pareto", "Accuracy against tokens", "Up and left is better; hollow: asks the judge."),
    Figure("budget", "Accuracy over n", "What further candidates buy."),
    Figure("strategies", "Accuracy of each strategy", "Hatched: asks the judge, so no method."),
    Figure("sensitivity", "Sensitivity", "Accuracy over the settings that the sweep varies."),
    Figure("ladder", "From random to oracle", "Shaded: what a selection of k candidates can gain."),
    Figure("auroc", "Does a signal know a good image?", "Above 0.5: yes, within one prompt."),
    Figure(
        "risk", "Risk against coverage", "Errors among the answers that confidence ranks first."
    ),
    Figure("calibration", "Share correct by confidence", "Bins of equally many candidates."),
)
_BAND = "Median and middle half of the candidates."
ALWAYS = (
    Figure("outcomes", "Confidence by outcome", "At each candidate's last step."),
    Figure("bands", "Entropy over steps", _BAND),
    Figure("bands", "How much the prompt matters over steps", _BAND, "kl"),
    Figure("bands", "Log-probability of the tokens over steps", _BAND, "log_prob_guided"),
    Figure("rows", "Entropy by row", _BAND),
    Figure("columns", "Entropy by column", _BAND),
)


def page(run: Run, budget: int = BUDGET) -> str:
    """The report of a run as one HTML document."""
    examples, why_not = _examples(run)
    opened = answer.interesting(examples)
    shown, gallery = _gallery(examples, budget, opened)
    data = {"colours": colours(), "open": opened, "examples": shown}
    # What came out, how it came about, how good that is, all of it, and what made it.
    sections = [
        ("answer", "Answer", answer.top(run, examples, opened)),
        ("viewer", "Over time", _viewer(shown, why_not)),
        ("results", "Results", _results(run, examples) + _figures(run)),
        ("gallery", "Gallery", _note(shown, examples) + gallery),
        ("summary", "About this run", tables.facts(run.about) + _config(run)),
    ]
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{content}</section>'
        for key, title, content in sections
    )
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    script = _asset("report.js")
    replace = {
        "policy": _policy(script),
        "title": tables.escape(f"{run.name}: scalingar report"),
        "style": _asset("report.css"),
        "heading": tables.escape(run.name),
        "links": links,
        "body": body,
        "data": _json(data),
        "script": script,
    }
    text = _asset("page.html")
    # In one pass, so that a prompt which looks like a placeholder stays what it is.
    parts = text.split("{{")
    out = [parts[0]]
    for part in parts[1:]:
        name, rest = part.split("}}", 1)
        out += [replace[name], rest]
    return "".join(out)


def _asset(name: str) -> str:
    return (resources.files(__package__ or "") / "assets" / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing may be fetched, and no script may run but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _json(data: Any) -> str:
    """JSON that no prompt can break out of."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _examples(run: Run) -> tuple[list[Example], str]:
    """Prompts with trajectories, or none and the reason."""
    try:
        return run.examples(), ""
    except ScalingarError as error:
        return [], str(error)


def _config(run: Run) -> str:
    if not run.config:
        return ""
    text = tables.escape(run.config)
    return f'<details><summary>Configuration</summary><pre tabindex="0">{text}</pre></details>'


def _results(run: Run, examples: Sequence[Example]) -> str:
    if run.judged:
        return tables.comparison(run)
    return tables.prompts(examples)


def _figures(run: Run) -> str:
    """Every plot that this run has data for; the others are named with the reason."""
    out, missing = [], []
    for number, f in enumerate((JUDGED if run.judged else ()) + ALWAYS):
        try:
            light, dark = (
                inline_svg(figure(run, f.kind, d, signal=f.signal), f"f{number}{'ld'[d]}", d)
                for d in (False, True)
            )
        except ScalingarError as error:
            missing.append(f"<li>{tables.escape(f.title)}: {tables.escape(str(error))}</li>")
            continue
        out.append(
            f'<figure class="plot"><figcaption>{tables.escape(f.title)}'
            f"<small>{tables.escape(f.caption)}</small></figcaption>"
            f'<div class="light">{light}</div><div class="dark">{dark}</div></figure>'
        )
    left = (
        f"<details><summary>Not drawn ({len(missing)})</summary><ul>{''.join(missing)}</ul></details>"
        if missing
        else ""
    )
    return f'<div class="plots">{"".join(out)}</div>{left}'


def _viewer(shown: Sequence[dict[str, Any]], why_not: str) -> str:
    if not shown:
        return f"<p>{tables.escape(why_not or 'There is no prompt to show.')}</p>"
    return _asset("viewer.html").replace("{{options}}", _choices(shown))


def _choices(shown: Sequence[dict[str, Any]]) -> str:
    """The prompts to choose from, with what tells equal ones apart."""
    several = len({(e["strategy"], e["n"], e["seed"]) for e in shown}) > 1
    out = []
    for e in shown:
        more = f" ({e['strategy']}, n = {e['n']}, seed {e['seed']})" if several else ""
        label = tables.escape(shorten(e["prompt"], 80) + more)
        out.append(f'<option value="{e["place"]}">{label}</option>')
    return "".join(out)


def _gallery(
    examples: Sequence[Example], budget: int, opened: int
) -> tuple[list[dict[str, Any]], str]:
    """As many prompts as fit, the one that the page opens on and the others evenly over the run:
    what the viewer reads, and the gallery."""
    groups: dict[tuple[int, str], list[int]] = {}
    for place, e in enumerate(examples):
        groups.setdefault((e.item, e.prompt.label), []).append(place)
    entries: dict[int, str] = {}
    shown: dict[int, dict[str, Any]] = {}
    kept: set[tuple[int, str]] = set()
    spent = 0
    first = [key for key, places in groups.items() if opened in places]
    for key in dict.fromkeys([*first, *_spread(list(groups))]):
        made = {i: tables.gallery_entry(examples[i], i) for i in groups[key]}
        data = {i: {"place": i, **viewer_data(examples[i])} for i in groups[key]}
        size = sum(len(text) for text in made.values()) + len(_json(list(data.values())))
        if spent + size > budget and kept:
            break
        spent += size
        kept.add(key)
        entries |= made
        shown |= data
    blocks = []
    for key, places in groups.items():
        if key in kept:
            task = examples[places[0]].task
            tag = f' <span class="task">{tables.escape(task)}</span>' if task else ""
            variants = "".join(entries[i] for i in places)
            blocks.append(f"<article><h3>{tables.escape(key[1])}{tag}</h3>{variants}</article>")
    return [shown[i] for i in sorted(shown)], "".join(blocks)


def _spread(keys: Sequence[Any]) -> list[Any]:
    """The keys in an order whose every beginning is spread evenly: first, last, middle, ..."""
    count = len(keys)
    bits = max(1, (count - 1).bit_length())
    order = sorted(range(count), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    return [keys[i] for i in order]


def _note(shown: Sequence[Any], examples: Sequence[Example]) -> str:
    if len(shown) == len(examples):
        return ""
    return (
        f"<p>{len(shown)} of {len(examples)} are shown, spread evenly, to keep this file small. "
        "The others are in the run's folder.</p>"
    )
