"""GenEval's rules against hand-made boxes, and against its formulas written out in full."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_plugins.benchmarks.geneval_rules import (
    COUNTING_THRESHOLD,
    MAX_OBJECTS,
    THRESHOLD,
    Found,
    judge,
    kept,
    relations,
)


def thing(label: str, score: float = 0.95, box: Any = (10, 10, 20, 20)) -> Found:
    return Found(label, score, tuple(float(edge) for edge in box))


def at(label: str, x: float, y: float, size: float = 10.0, score: float = 0.95) -> Found:
    """A square object around a centre."""
    return thing(label, score, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


def no_colours(found: Any, label: str) -> list[str]:
    raise AssertionError("no colour was asked for")


def verdict(found: list[Found], wanted: dict[str, Any], colours: Any = no_colours) -> Any:
    return judge(kept(found, wanted["tag"]), wanted, colours)


# -- which objects count -------------------------------------------------------------------------


def test_an_object_counts_above_the_threshold_and_not_at_it() -> None:
    wanted = {"tag": "single_object", "include": [{"class": "cow", "count": 1}]}
    assert verdict([thing("cow", THRESHOLD + 1e-6)], wanted).correct
    assert not verdict([thing("cow", THRESHOLD)], wanted).correct


def test_counting_asks_for_more_confidence() -> None:
    found = [thing("cow", COUNTING_THRESHOLD), thing("cow", COUNTING_THRESHOLD + 1e-6)]
    assert len(kept(found, "counting")["cow"]) == 1
    assert len(kept(found, "two_object")["cow"]) == 2


def test_at_most_sixteen_of_a_class_are_looked_at_the_most_confident_first() -> None:
    found = [thing("cow", 0.5 + i / 100) for i in range(20)]
    scores = [f.score for f in kept(found, "colors")["cow"]]
    assert scores == sorted((f.score for f in found), reverse=True)[:MAX_OBJECTS]


def test_overlapping_objects_are_not_suppressed() -> None:
    """The official evaluator's default: its `max_overlap` is 1."""
    twice = [thing("cow"), thing("cow")]
    wanted = {"tag": "counting", "include": [{"class": "cow", "count": 2}]}
    assert verdict(twice, wanted).correct


# -- objects and counts --------------------------------------------------------------------------

TWO = {
    "tag": "two_object",
    "include": [{"class": "cow", "count": 1}, {"class": "bench", "count": 1}],
}
THREE_COWS = {
    "tag": "counting",
    "include": [{"class": "cow", "count": 3}],
    "exclude": [{"class": "cow", "count": 4}],
}


def test_every_included_class_must_be_there_and_others_may() -> None:
    assert verdict([thing("cow"), thing("bench"), thing("dog")], TWO).correct
    assert verdict([thing("cow")], TWO).reasons == ("expected 1 bench, found 0",)
    assert len(verdict([], TWO).reasons) == 2, "all that is wrong is said"


@pytest.mark.parametrize(("count", "correct"), [(2, False), (3, True), (4, False)])
def test_a_count_must_be_met_exactly(count: int, correct: bool) -> None:
    assert verdict([thing("cow")] * count, THREE_COWS).correct is correct


def test_an_excluded_class_is_wrong_at_its_count_and_not_below() -> None:
    said = verdict([thing("cow")] * 5, THREE_COWS).reasons
    assert said == ("expected fewer than 4 cow, found 5",)


# -- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (-50, 0, {"left of"}),
        (50, 0, {"right of"}),
        (0, -50, {"above"}),
        (0, 50, {"below"}),
        (-50, -50, {"left of", "above"}),
        (50, 50, {"right of", "below"}),
        (0, 0, set()),
        (-1.9, 1.9, set()),  # within a tenth of both sizes, 2 pixels
    ],
)
def test_relations_are_seen_from_the_second_object(x: float, y: float, expected: set[str]) -> None:
    assert relations(at("cow", 100 + x, 100 + y), at("bench", 100, 100)) == expected


def test_larger_objects_must_be_farther_apart() -> None:
    """Objects of 100 pixels may overlap in their centres by 20 before one is left of the other."""
    assert relations(at("cow", 0, 0, 10), at("bench", 19, 0, 10)) == {"left of"}
    assert relations(at("cow", 0, 0, 100), at("bench", 19, 0, 100)) == set()


def official_relations(a: Found, b: Found) -> set[str]:
    """The published rule, axis by axis in plain floats."""
    centre = [[(f.box[i] + f.box[i + 2]) / 2 for i in (0, 1)] for f in (a, b)]
    size = [[abs(f.box[i + 2] - f.box[i]) for i in (0, 1)] for f in (a, b)]
    offset = [centre[0][i] - centre[1][i] for i in (0, 1)]
    revised = []
    for i in (0, 1):
        beyond = abs(offset[i]) - 0.1 * (size[0][i] + size[1][i])
        revised.append(math.copysign(max(beyond, 0.0), offset[i]))
    if all(abs(r) < 1e-3 for r in revised):
        return set()
    x, y = (r / math.hypot(*offset) for r in revised)
    out = set()
    out |= {"left of"} if x < -0.5 else {"right of"} if x > 0.5 else set()
    out |= {"above"} if y < -0.5 else {"below"} if y > 0.5 else set()
    return out


_edge = st.integers(0, 512)
_boxes = st.tuples(_edge, _edge, _edge, _edge).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]) + 1, max(e[1], e[3]) + 1)
)


@given(first=_boxes, second=_boxes)
def test_relations_follow_the_published_formula(first: Any, second: Any) -> None:
    a, b = thing("cow", box=first), thing("bench", box=second)
    assert relations(a, b) == official_relations(a, b)


_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@given(first=_boxes, second=_boxes)
def test_relations_turn_round_with_the_objects(first: Any, second: Any) -> None:
    a, b = thing("cow", box=first), thing("bench", box=second)
    assert relations(b, a) == {_OPPOSITE[name] for name in relations(a, b)}


LEFT = {
    "tag": "position",
    "include": [
        {"class": "bench", "count": 1},
        {"class": "cow", "count": 1, "position": ["left of", 0]},
    ],
}


def test_a_position_is_that_of_the_most_confident_objects() -> None:
    bench = at("bench", 100, 100)
    left, right = at("cow", 20, 100, score=0.9), at("cow", 180, 100, score=0.8)
    assert verdict([bench, left, right], LEFT).correct
    wrong = verdict([bench, at("cow", 20, 100, score=0.8), at("cow", 180, 100, score=0.9)], LEFT)
    assert wrong.reasons == ("expected cow left of bench, found right of",)


def test_a_position_without_its_target_is_wrong() -> None:
    assert verdict([at("cow", 20, 100)], LEFT).reasons == (
        "expected 1 bench, found 0",
        "nothing for cow to be left of",
    )


# -- colours -------------------------------------------------------------------------------------

COLOURED = {
    "tag": "color_attr",
    "include": [
        {"class": "cow", "count": 1, "color": "blue"},
        {"class": "bench", "count": 1, "color": "red"},
    ],
}


def test_colours_are_asked_of_the_most_confident_objects_with_their_class() -> None:
    asked = []

    def colours(found: list[Found], label: str) -> list[str]:
        asked.append((label, [f.score for f in found]))
        return ["blue" if label == "cow" else "red"] * len(found)

    assert verdict(
        [thing("cow", 0.6), thing("cow", 0.9), thing("bench")], COLOURED, colours
    ).correct
    assert asked == [("cow", [0.9]), ("bench", [0.95])]


def test_a_wrong_colour_is_wrong_and_said() -> None:
    said = verdict([thing("cow"), thing("bench")], COLOURED, lambda found, label: ["red"]).reasons
    assert said == ("expected 1 blue cow, found red",)


def test_a_wrongly_coloured_object_is_no_target_of_a_position() -> None:
    wanted = {
        "tag": "position",
        "include": [
            {"class": "bench", "count": 1, "color": "red"},
            {"class": "cow", "count": 1, "position": ["left of", 0]},
        ],
    }
    found = [at("bench", 100, 100), at("cow", 20, 100)]
    assert verdict(found, wanted, lambda found, label: ["red"]).correct
    assert len(verdict(found, wanted, lambda found, label: ["blue"]).reasons) == 2


def test_no_colour_is_asked_where_objects_are_missing() -> None:
    assert not verdict([], COLOURED, no_colours).correct
