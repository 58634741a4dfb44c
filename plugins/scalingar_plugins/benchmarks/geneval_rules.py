"""GenEval's rules: when do detected objects satisfy a prompt's metadata?

Written from the official evaluator's behaviour (github.com/djghosh13/geneval, MIT), with its
defaults: 16 objects of a class at most, no suppression of overlaps, colours and positions of the
most confident objects only. Needs neither torch nor weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

#: Confidence that an object must exceed; counting is stricter, since doubtful objects miscount.
THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
#: Objects of one class that are looked at, the most confident first.
MAX_OBJECTS = 16
#: Share of both objects' sizes by which their centres may differ without being "left of", ...
POSITION_MARGIN = 0.1
#: Share of the distance that must lie along an axis (0.5: within 60 degrees of it).
AXIS_SHARE = 0.5

#: The colours that an object is classified into.
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")


@frozen(eq=False)
class Found:
    """A detected object: `box` (left, top, right, bottom) in pixels, `mask [H, W]` bool or None."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    mask: np.ndarray[Any, Any] | None = field(default=None, repr=False)


@frozen
class Verdict:
    """Whether an image is correct, and otherwise all that is wrong with it."""

    correct: bool
    reasons: tuple[str, ...] = ()


#: The colours of objects of one class: (objects, class) -> a colour for each.
Colours = Callable[[Sequence[Found], str], Sequence[str]]


def kept(found: Sequence[Found], tag: str) -> dict[str, list[Found]]:
    """The objects that count, by class, the most confident first."""
    threshold = COUNTING_THRESHOLD if tag == "counting" else THRESHOLD
    out: dict[str, list[Found]] = {}
    for one in sorted(found, key=lambda f: -f.score):
        group = out.setdefault(one.label, [])
        if one.score > threshold and len(group) < MAX_OBJECTS:
            group.append(one)
    return {label: group for label, group in out.items() if group}


def relations(first: Found, second: Found) -> set[str]:
    """Where `first` is as seen from `second`: none, one or two of left of, right of, above, below."""
    a, b = (np.array(f.box, dtype=np.float64).reshape(2, 2) for f in (first, second))
    offset = a.mean(0) - b.mean(0)
    slack = POSITION_MARGIN * (np.abs(a[1] - a[0]) + np.abs(b[1] - b[0]))
    beyond = np.maximum(np.abs(offset) - slack, 0) * np.sign(offset)
    if (np.abs(beyond) < 1e-3).all():
        return set()
    x, y = beyond / np.linalg.norm(offset)
    named = {"left of": -x, "right of": x, "above": -y, "below": y}
    return {name for name, share in named.items() if share > AXIS_SHARE}


def judge(
    objects: Mapping[str, Sequence[Found]], wanted: Mapping[str, Any], colours: Colours
) -> Verdict:
    """Compare what is there with a prompt's metadata.

    Args:
        objects: by class, the most confident first, as `kept` returns them.
        wanted: `include` clauses, which must all hold (class, count, colour, position relative to
            an earlier clause), and `exclude` clauses, none of which may.
        colours: asked only where a colour is wanted.
    """
    reasons: list[str] = []
    matched: list[Sequence[Found]] = []  # empty for a clause that does not hold
    for clause in wanted.get("include", ()):
        group = list(objects.get(clause["class"], ()))[: clause["count"]]
        said = _include(clause, group, matched, colours)
        if said is not None:
            reasons.append(said)
        matched.append(group if said is None else ())
    for clause in wanted.get("exclude", ()):
        label, count = clause["class"], len(objects.get(clause["class"], ()))
        if count >= clause["count"]:
            reasons.append(f"expected fewer than {clause['count']} {label}, found {count}")
    return Verdict(not reasons, tuple(reasons))


def _include(
    clause: Mapping[str, Any],
    group: Sequence[Found],
    matched: Sequence[Sequence[Found]],
    colours: Colours,
) -> str | None:
    """What is wrong with the first `count` objects of the clause's class, or None."""
    label, count = clause["class"], clause["count"]
    if len(group) < count:
        return f"expected {count} {label}, found {len(group)}"
    if "color" in clause:
        seen = list(colours(group, label))
        if seen.count(clause["color"]) < count:
            return f"expected {count} {clause['color']} {label}, found {', '.join(seen)}"
    if "position" in clause:
        relation, target = clause["position"]
        if not matched[target]:
            return f"nothing for {label} to be {relation}"
        for one in group:
            for other in matched[target]:
                where = relations(one, other)
                if relation not in where:
                    found = " and ".join(sorted(where)) or "neither beside nor above it"
                    return f"expected {label} {relation} {other.label}, found {found}"
    return None
