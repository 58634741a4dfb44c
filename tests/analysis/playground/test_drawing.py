"""What the page says of a candidate: where it is, that it fades and why, that it is the answer."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.playground import drawing
from scalingar_analysis.playground.scene import Growing, Scene
from scalingar_fw import CandidateEnd, Grid, Status

WHY = "its confidence fell <below> & stayed"


def scene(steps=6, **more):
    """Three candidates of eight tokens: 0 grows, 1 was pruned after two, 2 is flagged."""
    candidates = {
        0: Growing(0, [1] * steps, [0.5 + 0.01 * i for i in range(steps)]),
        1: Growing(1, [1] * 2, [0.4, 0.3], ended=CandidateEnd(0, 1, 2, Status.PRUNED, WHY)),
        2: Growing(2, [1] * steps, [0.45] * steps, flagged=True),
    }
    given = {"n": 3, "grid": Grid(2, 4), "steps": steps, "sampled": 2 * steps + 2, **more}
    return Scene("scalingar", candidates=candidates, thresholds=[0.35] * steps, **given)


class Tiles(HTMLParser):
    """Class, style and text of every tile."""

    def __init__(self, page):
        super().__init__()
        self.tiles, self._inside = {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "li" and "data-candidate" in found:
            self._inside = int(found["data-candidate"])
            self.tiles[self._inside] = [found["class"], found.get("style", ""), ""]

    def handle_endtag(self, tag):
        if tag == "li":
            self._inside = None

    def handle_data(self, data):
        if self._inside is not None:
            self.tiles[self._inside][2] += data


def test_a_pruned_candidate_says_where_and_why_in_the_author_s_words():
    kind, _, text = Tiles(drawing.side(scene(), {})).tiles[1]
    assert "sp-ended" in kind.split()
    assert "pruned at 2" in text and WHY in text and "0.300" in text


def test_a_pruned_candidate_fades_step_by_step():
    fades = []
    for steps in range(2, 3 + drawing.FADE):
        _, style, _ = Tiles(drawing.side(scene(steps, grid=Grid(4, 8)), {})).tiles[1]
        fades.append(float(re.fullmatch(r"--sp-fade:([0-9.]+)", style)[1]))
    assert fades[0] == 1.0 and fades[-1] == 0.0
    assert fades == sorted(fades, reverse=True)


def test_who_is_on_probation_is_marked_and_the_answer_is_framed():
    tiles = Tiles(drawing.side(scene(), {})).tiles
    assert "sp-flagged" in tiles[2][0] and "flagged" in tiles[2][2]
    assert not any("sp-answer" in kind for kind, _, _ in tiles.values())
    tiles = Tiles(drawing.side(scene(chosen=0), {})).tiles
    assert [i for i, (kind, _, _) in tiles.items() if "sp-answer" in kind] == [0]


def test_every_candidate_has_a_curve_and_an_early_end_a_cross():
    page = drawing.side(scene(), {})
    curves = re.findall(r'<polyline class="(sp-\w+)" data-candidate="(\d)" points="([^"]*)"', page)
    assert {(kind, who, len(points.split())) for kind, who, points in curves} == {
        ("sp-live", "0", 6), ("sp-gone", "1", 2), ("sp-live", "2", 6),
    }  # fmt: skip
    assert page.count("×") == 1
    assert len(re.search(r'"sp-threshold" points="([^"]*)"', page)[1].split()) == 6


def test_without_an_estimator_it_says_so_instead_of_drawing_half():
    still = scene()
    for candidate in still.candidates.values():
        candidate.confidence = [0.5] * len(candidate.tokens)
    page = drawing.side(still, {})
    assert "estimates no confidence" in page and "<polyline" not in page and "0.500" not in page


def test_reasons_are_told_in_full_at_the_end_in_their_order():
    page = drawing.side(scene(chosen=0), {}, done=True)
    assert "<summary>1 ended early: why</summary>" in page
    assert "<b>#1</b> after 2 tokens: its confidence fell &lt;below&gt; &amp; stayed" in page


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=y>'])
def test_what_others_wrote_stays_text(text):
    foreign = scene()
    foreign.label = text
    foreign.candidates[1].ended = CandidateEnd(0, 1, 2, Status.PRUNED, text)
    page = drawing.stage([drawing.side(foreign, {}, done=True)]) + drawing.message(text)
    assert "<script" not in page and "<img" not in page


def test_the_verdict_is_a_sentence_with_its_cost():
    done = scene(8, chosen=0, sampled=18)
    assert drawing.verdict(done) == (
        "scalingar: #0, kept from 3 candidates; 1 ended early, at token 2; 2.2 T instead of 3 T of "
        "tokens."
    )


def test_the_same_tokens_are_the_same_picture():
    assert drawing.same_picture([scene(chosen=0)]) == ""
    assert "same picture" in drawing.same_picture([scene(chosen=0), scene(chosen=2)])
    other = scene(chosen=0)
    other.candidates[0].tokens[3] = 9
    assert "different pictures" in drawing.same_picture([scene(chosen=0), other])


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_the_axis_holds_every_value(values):
    low, high = drawing.limits(values)
    assert low < high
    assert all(low - 1e-6 * abs(low) <= v <= high + 1e-6 * abs(high) for v in values)
