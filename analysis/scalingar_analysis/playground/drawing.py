"""A scene as HTML: counters, the picture to look at, confidence curves, a tile for each candidate.

Pure text from plain values; what users and plugins wrote is escaped. Lines are SVG stretched to
the width that there is, and all writing is HTML above it, so it stays readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from scalingar_analysis.playground.painter import visible
from scalingar_analysis.playground.scene import Growing, Scene

#: Tokens over which an ended candidate fades.
FADE = 8


def side(scene: Scene, pictures: Mapping[int, str], done: bool = False) -> str:
    """One strategy's part of the page."""
    leader = scene.leader
    tiles = "".join(_tile(scene, c, pictures.get(c.id)) for c in visible(scene))
    hidden = len(scene.candidates) - len(visible(scene))
    more = f'<p class="sp-note">and {hidden} more candidates</p>' if hidden else ""
    if scene.dropped:
        more += f'<p class="sp-note">{scene.dropped} branches were given up by the search</p>'
    return (
        f'<section class="sp-side" data-strategy="{escape(scene.label)}" data-done="{int(done)}"'
        f' data-steps="{scene.steps}">'
        f'<h3>{escape(scene.label)}</h3><p class="sp-counts">{_counts(scene)}</p>'
        f'<div class="sp-bar"><i style="width:{100 * _share(scene):.1f}%"></i></div>'
        f'<div class="sp-top">{_leader(scene, leader, pictures)}{_curves(scene)}</div>'
        f'<ol class="sp-tiles">{tiles}</ol>{more}{_log(scene) if done else ""}</section>'
    )


def stage(sides: Sequence[str]) -> str:
    """All strategies beside each other."""
    return f'<div class="sp-stage" data-sides="{len(sides)}">{"".join(sides)}</div>'


def empty_stage() -> str:
    """What is there before the first picture."""
    cells = "".join("<i></i>" for _ in range(8))
    return (
        f'<div class="sp-empty"><div class="sp-ghosts">{cells}</div>'
        "<p>Candidates grow here, token by token.</p></div>"
    )


def message(text: str, alert: bool = False) -> str:
    """A sentence that screen readers say when it changes; an alert for what has to be corrected."""
    if not text:
        return ""
    role = "alert" if alert else "status"
    return f'<p class="sp-message sp-{role}" role="{role}">{escape(text)}</p>'


def _share(scene: Scene) -> float:
    done = max((len(c.tokens) for c in scene.candidates.values()), default=0)
    return min(1.0, done / max(1, scene.total))


def _counts(scene: Scene) -> str:
    if not scene.n:
        return "reading the prompt"
    at = max((len(c.tokens) for c in scene.candidates.values()), default=0)
    cost = scene.sampled / scene.total
    live = f"{scene.live} of {scene.n} alive, " if scene.chosen is None else ""
    return f"token {at} of {scene.total}, {live}{cost:.1f} T of {scene.n} T spent"


def _leader(scene: Scene, who: Growing | None, pictures: Mapping[int, str]) -> str:
    answer = scene.chosen is not None
    if who is None:
        return '<figure class="sp-lead"><div class="sp-picture"></div></figure>'
    word = "answer" if answer else "leading"
    return (
        f'<figure class="sp-lead{" sp-answer" if answer else ""}">'
        f"{_picture(who, scene, pictures.get(who.id))}"
        f"<figcaption><b>#{who.id}</b> {word}</figcaption></figure>"
    )


def _picture(who: Growing, scene: Scene, address: str | None) -> str:
    inside = ""
    if address is not None:
        alt = f"candidate {who.id}, {len(who.tokens)} of {scene.total} tokens"
        inside = f'<img src="{address}" alt="{alt}" decoding="sync">'
    return f'<div class="sp-picture">{inside}</div>'


def _tile(scene: Scene, who: Growing, address: str | None) -> str:
    classes, lines = ["sp-tile"], [f"<b>#{who.id}</b>"]
    fade = ""
    if who.id == scene.chosen:
        classes.append("sp-answer")
        lines[0] += '<span class="sp-word">answer</span>'
    elif who.cut and who.ended is not None:
        classes.append("sp-ended")
        since = scene.steps - len(who.tokens)
        fade = f' style="--sp-fade:{max(0.0, 1 - since / FADE):.2f}"'
        word = who.ended.status.value.replace("_", " ")
        lines[0] += f'<span class="sp-word">{word} at {len(who.tokens)}</span>'
    elif who.flagged:
        classes.append("sp-flagged")
        lines[0] += '<span class="sp-word">flagged</span>'
    elif not who.tokens:
        classes.append("sp-waiting")
    if scene.estimates and who.now == who.now:
        lines.append(f'<span class="sp-value">{who.now:.3f}</span>')
    lines = [f'<span class="sp-line">{"".join(lines)}</span>']
    if who.cut and who.ended is not None:
        reason = escape(" ".join(who.ended.reason.split()))
        lines.append(f'<span class="sp-reason" title="{reason}">{reason}</span>')
    return (
        f'<li class="{" ".join(classes)}" data-candidate="{who.id}"{fade}>'
        f"{_picture(who, scene, address)}<p>{''.join(lines)}</p></li>"
    )


def _log(scene: Scene) -> str:
    """Every early end with its whole reason, in their order; a tile has room for its beginning."""
    cut = sorted((c for c in scene.candidates.values() if c.cut), key=lambda c: len(c.tokens))
    if not cut:
        return ""
    rows = "".join(
        f"<li><b>#{c.id}</b> after {len(c.tokens)} tokens: {escape(c.ended.reason)}</li>"
        for c in cut
        if c.ended is not None
    )
    return f'<details class="sp-log"><summary>{len(cut)} ended early: why</summary><ol>{rows}</ol></details>'


# --- curves ------------------------------------------------------------------------------------


def _curves(scene: Scene) -> str:
    """Confidence over tokens: the answer, the others, where and why they ended, the threshold."""
    if scene.n and scene.steps and not scene.estimates:
        return (
            '<figure class="sp-curves"><p class="sp-note">This strategy estimates no confidence: '
            "it looks at complete pictures.</p></figure>"
        )
    low, high = limits([v for c in scene.candidates.values() for v in c.confidence])
    total = max(1, scene.total)

    def at(place: int, value: float) -> tuple[float, float]:
        """Percent from the left and from the top."""
        return 100 * place / total, 100 * (high - value) / (high - low)

    lines, marks = [], []
    for who in sorted(scene.candidates.values(), key=lambda c: (c.id == scene.chosen, not c.cut)):
        points = [at(i + 1, v) for i, v in enumerate(who.confidence) if v == v]
        if not points:
            continue
        kind = _kind(scene, who)
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        lines.append(
            f'<polyline class="{kind}" data-candidate="{who.id}" points="{path}">'
            f"<title>#{who.id}</title></polyline>"
        )
        x, y = points[-1]
        if who.cut:
            marks.append(_mark("sp-x", x, y, "×"))
        elif who.ended is None or who.id == scene.chosen:
            marks.append(_mark(f"sp-dot {kind}", x, y, ""))
    threshold = [at(i + 1, v) for i, v in enumerate(scene.thresholds) if v == v]
    if threshold:
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in threshold)
        lines.append(f'<polyline class="sp-threshold" points="{path}"></polyline>')
    ticks = "".join(
        f'<span class="sp-y" style="top:{place}%">{high - place / 100 * (high - low):.2f}</span>'
        for place in (0, 50, 100)
    )
    label = "Confidence of each candidate over its tokens"
    keys = [("sp-live", "growing")] if scene.chosen is None else [("sp-best", "answer")]
    keys += [("sp-gone", "ended")] if any(c.cut for c in scene.candidates.values()) else []
    keys += [("sp-threshold", "threshold")] if threshold else []
    legend = "".join(f'<span class="{k}">{word}</span>' for k, word in keys)
    return (
        f'<figure class="sp-curves"><figcaption>confidence <span class="sp-key">{legend}</span>'
        f'</figcaption><div class="sp-plot"><svg viewBox="0 0 100 100" preserveAspectRatio="none" '
        f'role="img" aria-label="{label}">{"".join(lines)}</svg>{"".join(marks)}{ticks}'
        f'<span class="sp-x0">0</span><span class="sp-x1">token {total}</span></div></figure>'
    )


def _kind(scene: Scene, who: Growing) -> str:
    if who.id == scene.chosen:
        return "sp-best"
    if who.cut:
        return "sp-gone"
    return "sp-live" if scene.chosen is None else "sp-rest"


def _mark(kind: str, x: float, y: float, text: str) -> str:
    return f'<i class="{kind}" style="left:{x:.2f}%;top:{y:.2f}%">{text}</i>'


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Where the axis begins and ends: on round numbers, so that it seldom moves while curves grow."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    span = max(high - low, 1e-6)
    step = 10 ** math.floor(math.log10(span))
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return (bottom, top) if top > bottom else (bottom, bottom + step)


# --- the end -----------------------------------------------------------------------------------


def verdict(scene: Scene) -> str:
    """What came out of a decode, in a sentence."""
    cut = [c for c in scene.candidates.values() if c.cut]
    spent = scene.sampled / scene.total
    of = "the only candidate" if scene.n == 1 else f"kept from {scene.n} candidates"
    out = f"{scene.label}: #{scene.chosen}, {of}"
    if cut:
        ends = sorted(len(c.tokens) for c in cut)
        where = (
            f"at token {ends[0]}" if ends[0] == ends[-1] else f"at tokens {ends[0]} to {ends[-1]}"
        )
        out += f"; {len(cut)} ended early, {where}"
    cost = f"{spent:.1f} T instead of {scene.n} T" if spent < scene.n - 0.05 else f"{spent:.1f} T"
    return f"{out}; {cost} of tokens."


def same_picture(scenes: Sequence[Scene]) -> str:
    """Whether two strategies on the same noise came to the same tokens; nothing for one."""
    if len(scenes) < 2:
        return ""
    answers = [s.candidates[s.chosen].tokens for s in scenes if s.chosen is not None]
    if all(tokens == answers[0] for tokens in answers):
        return "Same noise, same picture."
    return "Same noise, different pictures."


__all__ = ["FADE", "empty_stage", "limits", "message", "same_picture", "side", "stage", "verdict"]
