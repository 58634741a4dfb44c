"""What one sees is what the hooks told, to the last token."""

from __future__ import annotations

import math

import pytest

from scalingar_analysis.playground.decodes import Decodes
from scalingar_analysis.playground.scene import Growing, Scene, Tokens
from scalingar_fw import CandidateEnd, Status

STRATEGIES = [None, "scalingar", "best-of-n", "beam", "diverse-beam", "smc"]


def watched(*plans):
    """The scenes at the end, and the results."""
    decodes = Decodes(plans)
    for _ in decodes.watch():
        pass
    assert decodes.error is None
    return [s.scene for s in decodes.sides], [s.result for s in decodes.sides]


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_scene_ends_as_the_result_does(plan, name):
    (scene,), (run,) = watched(plan() if name is None else plan(name))
    assert scene.chosen == run.answer.id
    assert scene.total == run.grid.size and scene.n == 4
    assert scene.sampled == run.tokens
    kept = [c for c in run.candidates if c.status is not Status.DROPPED]
    assert sorted(scene.candidates) == [c.id for c in kept]
    for candidate in kept:
        seen = scene.candidates[candidate.id]
        assert seen.tokens == candidate.tokens.tolist()
        assert seen.confidence == pytest.approx(candidate.signals["confidence"].tolist())
        assert seen.ended.reason == candidate.reason and seen.ended.status is candidate.status
    assert scene.dropped == len(run.candidates) - len(kept)


def test_the_policy_s_threshold_and_flags_are_seen(plan):
    decodes = Decodes([plan()])
    flagged = set()
    for (scene,) in decodes.watch():
        flagged |= {c.id for c in scene.candidates.values() if c.flagged}
    (scene,) = [s.scene for s in decodes.sides]
    assert flagged <= {0, 1, 2}
    assert all(math.isnan(v) for v in scene.thresholds[:6])
    assert scene.thresholds[6:] == [0.25] * (scene.total - 6)
    assert not any(c.flagged for c in scene.candidates.values()), (
        "who has ended is not on probation"
    )


def test_a_fork_continues_its_parent_s_tokens():
    scene = Scene("search", n=2, candidates={0: Growing(0), 1: Growing(1)})
    scene.apply(Tokens((0, 1), (0, 1), (5, 6), (0.5, 0.6), (False, False)))
    scene.apply(CandidateEnd(0, 0, 1, Status.DROPPED, "not continued"))
    scene.apply(Tokens((1, 2), (1, 1), (7, 8), (0.5, 0.6), (False, False)))
    assert {c.id: c.tokens for c in scene.candidates.values()} == {1: [6, 7], 2: [6, 8]}
    assert (scene.steps, scene.sampled, scene.dropped) == (2, 4, 1)


def test_the_leader_is_the_most_confident_that_lives_and_at_the_end_the_answer():
    scene = Scene("two", n=3, candidates={i: Growing(i) for i in range(3)})
    scene.apply(Tokens((0, 1, 2), (0, 1, 2), (1, 1, 1), (0.2, 0.9, 0.4), (False,) * 3))
    assert scene.leader.id == 1
    scene.apply(CandidateEnd(0, 1, 1, Status.PRUNED, "worse"))
    assert scene.leader.id == 2 and scene.live == 2
    scene.chosen = 0
    assert scene.leader.id == 0


def test_a_strategy_without_an_estimator_has_no_confidence_to_show(plan):
    (with_it, without), _ = watched(plan("scalingar"), plan("best-of-n"))
    assert with_it.estimates and not without.estimates
