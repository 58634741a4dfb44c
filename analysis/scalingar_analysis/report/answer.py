"""The top of the page: what came out, why, and at what cost, before anything else.

Every sentence is made of what was recorded. Confidences are only ever compared at the same token,
because they rise and fall with the picture: the last one of a candidate that ended early says
nothing beside the last one of a complete candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from scalingar_analysis.plots.confidence import has_confidence
from scalingar_analysis.report.pictures import data_uri
from scalingar_analysis.report.tables import escape
from scalingar_analysis.runs.example import Example
from scalingar_analysis.runs.run import Run
from scalingar_fw.decoding.result import Status
from scalingar_fw.errors import ScalingarError

#: Answers that the top shows of a run of several prompts.
MOST = 12


def why(example: Example) -> str:
    """Why this candidate is the answer, in one sentence."""
    answer, n = example.answer, len(example.candidates)
    if n == 1:
        return "There was one candidate, so there was nothing to choose from."
    complete = sum(c.completed for c in example.candidates)
    if not complete:
        how = "no candidate was decoded to its end, and this one was kept"
    elif complete == 1 and answer.completed:
        how = "the only one that was decoded to its end"
    else:
        how = f"{_chosen_by(example)} {complete} complete candidates"
    ends = _ends(example)
    return f"Candidate {answer.id} of {n} is the answer: {how}{'; ' + ends if ends else ''}."


def _chosen_by(example: Example) -> str:
    selector = example.config.strategy.get("selector") or {}
    name = str(selector.get("name", "") if isinstance(selector, dict) else selector).split("/")[-1]
    if name == "first":
        return "the first of"
    if name == "final-confidence":
        return "it ended with the highest confidence of"
    return f"{name or 'the strategy'} picked it from"


def _ends(example: Example) -> str:
    """ "7 were pruned between tokens 11 and 46"."""
    found: dict[str, list[int]] = {}
    for c in example.candidates:
        if not c.completed:
            found.setdefault(_word(c.status), []).append(len(c.tokens))
    said = []
    for word, places in found.items():
        low, high = min(places), max(places)
        verb = "was" if len(places) == 1 else "were"
        where = f"at token {low}" if low == high else f"between tokens {low} and {high}"
        said.append(f"{len(places)} {verb} {word} {where}")
    return ", ".join(said)


def _word(status: Status) -> str:
    words = {"out_of_budget": "stopped by the budget"}
    return words.get(status.value, status.value.replace("_", " "))


def cost(examples: Sequence[Example]) -> str:
    """Tokens per prompt in images of T tokens, against what decoding every candidate takes."""
    used = [e.tokens / e.decoded.total_tokens for e in examples]
    full = [float(e.n) for e in examples]
    spent, all_ = float(np.mean(used)), float(np.mean(full))
    each = " for each prompt" if len(examples) > 1 else ""
    size = examples[0].decoded.total_tokens
    if spent >= all_ - 1e-9:
        return f"Cost: {spent:.3g} T{each}, every candidate to its end (T: the {size} tokens of an image)."
    return (
        f"Cost: {spent:.1f} T{each} instead of {all_:.3g} T, {100 * (1 - spent / all_):.0f} % saved "
        f"(T: the {size} tokens of an image)."
    )


def lower_than_ended(example: Example) -> str:
    """What to make of a final confidence that is below the last one of a candidate that ended
    early; empty where it is not, or where nothing was estimated."""
    if not has_confidence(example):
        return ""
    answer = example.answer
    curve = answer.signals["confidence"]
    above = [c for c in example.candidates if not c.completed and c.confidence > answer.confidence]
    # Only where the answer has a value at the token where the other one ended.
    above = [c for c in above if 0 < len(c.tokens) <= len(curve)]
    if not above:
        return ""
    top = max(above, key=lambda c: c.confidence)
    at = len(top.tokens)
    others = "" if len(above) == 1 else f" and {len(above) - 1} more"
    return (
        f"Its final confidence, {answer.confidence:.3f}, is below the last one of #{top.id}{others} "
        f"({top.confidence:.3f} at token {at}), but that is no comparison: confidence changes along "
        f"the image. At token {at} the answer had {curve[at - 1]:.3f}."
    )


def interesting(examples: Sequence[Example]) -> int:
    """The place of the example that a page opens on: of the prompt on whose answers strategies
    disagree most, else of the one where most happened, the example with most candidates ended."""
    if not examples:
        return 0

    def ended(e: Example) -> int:
        return sum(not t.completed for t in e.decoded.trajectories)

    def key(place: int) -> tuple[int, str]:
        return examples[place].item, examples[place].prompt.label

    best: tuple[tuple[float, int], int] | None = None
    for _, group in groupby(sorted(range(len(examples)), key=key), key=key):
        places = list(group)
        scores = [examples[i].answer.score for i in places]
        known = [s for s in scores if np.isfinite(s)]
        spread = max(known) - min(known) if known else 0.0
        place = max(places, key=lambda i: (ended(examples[i]), -i))
        rank = (spread, ended(examples[place]))
        if best is None or rank > best[0]:
            best = (rank, place)
    assert best is not None
    return best[1]


def verdict(run: Run) -> list[str]:
    """The sentences of `scalingar compare` on a sweep; none where it is no sweep, or where nothing
    can be held against anything."""
    if not run.judged or run.source is None or not (run.source / "store.json").is_file():
        return []
    from scalingar_analysis.tables.arms import load_arms
    from scalingar_analysis.tables.comparison import compare
    from scalingar_analysis.tables.verdict import sentences
    from scalingar_fw.config.serialization import build_strategy
    from scalingar_fw.registry import default_registry

    registry = default_registry()
    try:
        arms, _, _ = load_arms((run.source,), None)
        data = compare(
            arms,
            baselines=(),
            level=0.95,
            resolution=0.03,
            make=lambda described: build_strategy(described, registry),
        )
    except ScalingarError:  # several splits, say: the table of results says what there is
        return []
    said = sentences(data)
    # Why nothing can be compared, where that is so.
    return said + data["notes"][:1] if any("not comparable" in s for s in said) else said


def top(run: Run, examples: Sequence[Example], opened: int) -> str:
    """The section's HTML."""
    said = "".join(f"<p class='verdict'>{escape(s)}</p>" for s in verdict(run))
    if not examples:
        return said or f"<p>{escape(run.name)} recorded no candidates to show.</p>"
    if run.judged:
        return said + _rivals(examples, opened)
    if len(examples) == 1:
        return f"<h3>{escape(examples[0].prompt.label)}</h3>{_one(examples[0], 0)}"
    strip = "".join(_small(e, i) for i, e in enumerate(examples[:MOST]))
    more = f" The first {MOST} answers:" if len(examples) > MOST else ""
    return (
        f"<p>{len(examples)} prompts. {escape(cost(examples))}{more}</p>"
        f'<div class="images answers">{strip}</div>'
        f"<h3>{escape(examples[opened].prompt.label)}</h3>{_one(examples[opened], opened)}"
    )


def _one(e: Example, place: int) -> str:
    note = lower_than_ended(e)
    return (
        f'<div class="result">{_picture(e, "big")}<div>'
        f'<p class="why">{escape(why(e))}</p><p>{escape(cost([e]))}</p>'
        + (f"<p class='note'>{escape(note)}</p>" if note else "")
        + f"<p>{_link(place, e, 'Watch the candidates grow', 0)}</p></div></div>"
    )


def _rivals(examples: Sequence[Example], opened: int) -> str:
    """Each strategy's answer to the prompt that the page opens on."""
    shown = examples[opened]
    own = (shown.item, shown.prompt.label, shown.config.seed)
    rivals = [
        (i, e) for i, e in enumerate(examples) if (e.item, e.prompt.label, e.config.seed) == own
    ]
    cards = "".join(
        _small(e, i, f"{e.strategy}, n = {e.n}: {e.outcome(_place(e))}") for i, e in rivals
    )
    scores = {e.answer.score for _, e in rivals}
    told = " The strategies disagree on this prompt." if len(scores) > 1 else ""
    note = lower_than_ended(shown)
    return (
        f"<h3>{escape(shown.prompt.label)}</h3>"
        f'<div class="images answers">{cards}</div>'
        f'<p class="why">{escape(shown.strategy)}: {escape(why(shown))}{told}</p>'
        f"<p>{escape(cost([shown]))}</p>"
        + (f"<p class='note'>{escape(note)}</p>" if note else "")
        + f"<p>{_link(opened, shown, 'Watch the candidates grow', 0)}</p>"
    )


def _place(e: Example) -> int:
    return e.decoded.chosen[0]


def _small(e: Example, place: int, caption: str = "") -> str:
    total = e.decoded.total_tokens
    text = caption or e.prompt.label
    return (
        f"<figure>{_picture(e, '')}<figcaption>{_link(place, e, text, total)}</figcaption></figure>"
    )


def _picture(e: Example, kind: str) -> str:
    picture: Any = e.answer.picture
    if picture is None:
        return '<p class="note">The answer&rsquo;s picture was not saved.</p>'
    alt = escape(f"The answer to: {e.prompt.label}")
    return f'<img class="{kind}" src="{data_uri(picture)}" alt="{alt}">'


def _link(place: int, e: Example, text: str, step: int) -> str:
    target = f"#prompt={place}&amp;candidate={e.answer.id}&amp;step={step}"
    return f'<a class="deep" href="{target}">{escape(text)}</a>'
