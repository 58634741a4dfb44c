"""The autopsy's numbers, against counting by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from attrs import evolve

from scalingar_analysis.commands.autopsy import document
from scalingar_analysis.lab.lab import TableConfidence
from scalingar_analysis.replay.autopsy import autopsy
from scalingar_fw.decoding.components import Termination, Verdict
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.termination.halving import SuccessiveHalving


class CutAt(Termination):
    """Ends the candidates whose C is below 0 at its step."""

    scope = "cohort"

    def update(self, state, confidence, step):
        gone = confidence.value < 0
        return Verdict(gone, reason="told to"), None


def scripted(recording, cuts):
    """A strategy that ends row r after `cuts[r]` tokens; C is otherwise the row's number."""
    size = recording.grid.size
    values = np.tile(np.arange(len(recording.candidate), dtype=float)[:, None], (1, size))
    for row, tokens in cuts.items():
        values[row, tokens - 1] = -1.0
    return Strategy(
        "scripted",
        confidence=TableConfidence.of(values, recording),
        termination=CutAt(),
        selector=FinalConfidence(),
    )


@pytest.fixture
def hand(judged):
    """Two prompts of three candidates: right, wrong, right; wrong, right, wrong."""
    small = judged(prompts=2, n=3)
    return evolve(small, scores=np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]))


def test_precision_recall_and_loss_over_steps_are_those_counted_by_hand(hand) -> None:
    # Row 0 (right) after 4 tokens, row 1 (wrong) after 8, row 4 (the second prompt's only right
    # one) after 8, row 3 (wrong) after 12.
    found = autopsy(scripted(hand, {0: 4, 1: 8, 4: 8, 3: 12}), hand)
    curve = found.over_steps()
    at = {t: {k: float(v[t - 1]) for k, v in curve.items()} for t in (3, 4, 8, 12, 16)}
    assert np.isnan(at[3]["precision"]) and at[3]["ended"] == 0
    assert (at[4]["ended"], at[4]["precision"], at[4]["recall"], at[4]["lost"]) == (1, 0, 0, 0)
    assert (at[8]["ended"], at[8]["precision"]) == (3, pytest.approx(1 / 3))
    assert (at[8]["recall"], at[8]["lost"]) == (pytest.approx(1 / 3), 0.5)
    assert (at[12]["precision"], at[12]["recall"]) == (0.5, pytest.approx(2 / 3))
    assert at[16] == {**at[12], "tokens": 16}
    assert found.base_rate == 0.5
    assert found.summary()["ended_that_were_right"] == 2


def test_everyone_who_was_ended_is_listed_with_what_would_have_become_of_them(hand) -> None:
    found = autopsy(scripted(hand, {0: 4, 1: 8, 4: 8}), hand)
    listed = [(e.prompt, e.candidate, e.tokens, e.right, e.last_right) for e in found.endings]
    assert listed == [(0, 0, 4, True, False), (0, 1, 8, False, False), (1, 1, 8, True, True)]
    assert {e.reason for e in found.endings} == {"told to"}


def test_regret_is_what_the_answers_lose_against_completing_everybody(hand) -> None:
    # Everybody: rows 2 (right) and 5 (wrong) are chosen. Without row 5: row 4, which is right.
    assert autopsy(scripted(hand, {5: 4}), hand).regret.mean == -0.5
    # Without rows 2: row 1, which is wrong.
    assert autopsy(scripted(hand, {2: 4}), hand).regret.mean == 0.5
    assert autopsy(scripted(hand, {}), hand).regret.mean == 0.0


def test_regret_over_steps_counts_the_endings_up_to_each_step_alone(hand) -> None:
    # Row 5 (wrong, otherwise chosen) ends after 4 tokens: its prompt gains. Row 2 (right, otherwise
    # chosen) after 8: its prompt loses, since row 1 is wrong.
    found = autopsy(scripted(hand, {5: 4, 2: 8}), hand)
    curve = found.over_steps()["regret"]
    assert curve[:3].tolist() == [0.0] * 3
    assert curve[3:7].tolist() == [-0.5] * 4
    assert curve[7:].tolist() == [0.0] * 9
    assert curve[-1] == found.regret.mean


def test_a_policy_that_ends_nobody_has_no_precision(hand) -> None:
    data = autopsy(scripted(hand, {}), hand).summary()
    assert (data["ended"], data["precision"], data["recall"]) == (0, None, 0.0)


def test_ending_by_what_the_judge_reads_beats_ending_at_random(judged) -> None:
    recording = judged()
    strategy = Strategy(
        "likely",
        confidence=LogProbConfidence(),
        termination=SuccessiveHalving(first_rung=0.5),
        selector=FinalConfidence(),
    )
    found = autopsy(strategy, recording)
    assert found.summary()["precision"] > found.base_rate
    assert not recording.scored or len(found.endings) == (~found.outcome.completed).sum() > 0


def test_the_document_is_json_that_anybody_reads(hand) -> None:
    text = json.dumps(document(autopsy(scripted(hand, {0: 4}), hand)), allow_nan=False)
    back = json.loads(text)
    assert back["endings"][0]["candidate"] == 0
    assert back["over_steps"]["precision"][0] is None


def test_candidates_that_nobody_judged_have_no_autopsy(hand) -> None:
    unknown = evolve(hand, scores=np.full(6, np.nan))
    with pytest.raises(ScalingarError, match="holds no scores.*scalingar record"):
        autopsy(scripted(hand, {}), unknown)
