"""Tuning by replay: the space, the split, the study that goes on, and the judgement."""

from __future__ import annotations

import builtins
import json
from importlib.util import find_spec

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.statistics.holdout import halves
from scalingar_analysis.tuning.objective import Objective, Point, front_of
from scalingar_analysis.tuning.search import _storage, import_optuna, tune
from scalingar_analysis.tuning.space import parse_space, read_space
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.termination.halving import SuccessiveHalving

REGISTRY = default_registry()
START = Strategy(
    "start",
    confidence=LogProbConfidence(),
    termination=SuccessiveHalving(),
    selector=FinalConfidence(),
)
SPACE = {
    "termination.first_rung": [0.05, 0.9],
    "termination.min_survivors": {"low": 1, "high": 3},
    "confidence.under": {"choices": ["conditional", "guided"]},
}


def space(data=SPACE, strategy=START):
    return parse_space(data, strategy)


# --- the space ---------------------------------------------------------------------------------


def test_a_space_knows_whole_numbers_ranges_and_choices() -> None:
    first, second, third = space().dimensions
    assert (first.low, first.high, first.whole) == (0.05, 0.9, False)
    assert second.whole
    assert third.choices == ("conditional", "guided")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({}, "must map settings to ranges"),
        ({"termination.frist_rung": [0.1, 0.2]}, "Did you mean 'termination.first_rung'"),
        ({"termination.first_rung": [0.0, 0.5]}, r"0.0 must lie in \(0, 1\]"),
        ({"termination.first_rung": [0.5, 0.2]}, "low=0.5 must be a number below high=0.2"),
        ({"termination.first_rung": {"low": 0.1, "high": 0.2, "logg": True}}, "Did you mean 'log'"),
        ({"termination.first_rung": {"low": 0.1, "high": 0.2, "log": 3}}, "log=3"),
        ({"termination.min_survivors": [1.5, 2]}, "must be a whole number"),
        ({"confidence.under": [1, 2]}, "is no number: give"),
        ({"confidence.under": {"choices": ["conditional"]}}, "at least two"),
        ({"confidence.under": {"choices": ["conditional", "both"]}}, "one of 'conditional'"),
        ({"confidence.under": "guided"}, "must be a range"),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_the_rule(data, complaint) -> None:
    with pytest.raises(ScalingarError, match=complaint):
        space(data)


def test_a_space_is_read_from_yaml(tmp_path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("termination.first_rung: {low: 0.1, high: 0.5, log: true}\n")
    [dimension] = read_space(path, START).dimensions
    assert dimension.log
    path.write_text("termination.first_rung: [0.1\n")
    with pytest.raises(ScalingarError, match="line"):
        read_space(path, START)


# --- the split ---------------------------------------------------------------------------------


@given(share=st.sampled_from([0.3, 0.5, 0.7]), seed=st.integers(0, 50))
def test_clusters_lie_whole_on_one_side_and_every_task_on_both(judged, share, seed) -> None:
    recording = judged(prompts=24, n=2)
    fit, held = halves(recording, share, seed)
    assert sorted(fit + held) == list(range(24))
    sides = [{recording.clusters[p] for p in side} for side in (fit, held)]
    assert not sides[0] & sides[1]
    for side in (fit, held):
        assert {recording.tasks[p] for p in side} == {"task 0", "task 1", "task 2"}


def test_the_split_does_not_depend_on_the_order_of_prompts(judged) -> None:
    recording = judged(prompts=24, n=2)
    turned = evolve(recording, asked=recording.asked[::-1])
    _, held = halves(recording, 0.5, 3)
    _, again = halves(turned, 0.5, 3)
    assert {recording.asked[p].item for p in held} == {turned.asked[p].item for p in again}


def test_too_few_clusters_cannot_be_split(judged) -> None:
    alone = judged().subset([0])
    with pytest.raises(ScalingarError, match="1 clusters in 1 tasks: too few"):
        halves(alone, 0.5, 0)


# --- objectives and the front --------------------------------------------------------------------


def test_what_the_budget_cannot_afford_is_worse_than_all_that_it_can() -> None:
    goal = Objective.parse("accuracy@2.5")
    assert goal.values(0.9, 2.4) > goal.values(0.1, 2.5) > goal.values(1.0, 2.6)
    assert goal.values(1.0, 2.6) > goal.values(1.0, 3.0)
    assert Objective.parse("pareto").values(0.5, 2.0) == (0.5, 2.0)


@pytest.mark.parametrize("text", ["speed", "accuracy@", "accuracy@0.5", "accuracy@x"])
def test_unknown_objectives_are_refused(text: str) -> None:
    with pytest.raises(ScalingarError, match="must be pareto, accuracy, or accuracy@B"):
        Objective.parse(text)


points = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.sampled_from([1.0, 2.0, 3.5])), min_size=1
)


@given(points)
def test_the_front_is_who_nobody_beats(values) -> None:
    given_points = [Point(i, {}, a, t) for i, (a, t) in enumerate(values)]
    front = front_of(given_points)
    kept = {(p.accuracy, p.tokens) for p in front}
    beaten = {
        (a, t)
        for a, t in values
        if any((b >= a and u <= t) and (b > a or u < t) for b, u in values)
    }
    assert kept == set(values) - beaten
    assert [p.tokens for p in front] == sorted({p.tokens for p in front})


# --- studies -----------------------------------------------------------------------------------

NEEDS = pytest.mark.skipif(
    find_spec("optuna") is None,
    reason="Optuna is not installed: pip install 'scalingar-fw[tune]'",
)


def found_by(recording, folder=None, trials=12, **more):
    return tune(START, recording, space(), registry=REGISTRY, trials=trials, folder=folder, **more)


@NEEDS
def test_a_study_judges_its_front_on_prompts_that_it_has_not_seen(judged) -> None:
    recording = judged(prompts=24, n=6)
    found = found_by(recording)
    assert found.fit_prompts + found.held_prompts == 24
    assert found.best in found.front
    accuracies = [v.point.accuracy for v in found.front]
    assert accuracies == sorted(accuracies)
    for verdict in found.front:
        assert verdict.accuracy.items == found.held_prompts
        assert verdict.fit_gain.items == found.fit_prompts
        gain = verdict.accuracy.mean - found.untuned[1].mean
        assert verdict.held_gain.mean == pytest.approx(gain)
    dearest = max(v.point.tokens for v in found.front)
    assert found.best.point.tokens == dearest, "accuracy rises along the front"


@NEEDS
def test_a_study_that_goes_on_is_the_study_that_was_never_interrupted(judged, tmp_path) -> None:
    recording = judged(prompts=24, n=6)
    whole = found_by(recording, tmp_path / "a", trials=14)
    found_by(recording, tmp_path / "b", trials=5)
    resumed = found_by(recording, tmp_path / "b", trials=14)
    assert [v.point for v in whole.front] == [v.point for v in resumed.front]
    assert whole.study == resumed.study
    assert resumed.trials == 14
    heard = []
    found_by(recording, tmp_path / "b", trials=14, heard=lambda *event: heard.append(event))
    assert heard == [], "nothing is left to do"


@NEEDS
def test_a_trial_that_was_killed_half_way_is_done_again(judged, tmp_path) -> None:
    recording = judged(prompts=24, n=6)
    whole = found_by(recording, tmp_path / "a", trials=14)
    name = found_by(recording, tmp_path / "b", trials=5).study
    optuna = import_optuna()
    storage = _storage(optuna, tmp_path / "b", name)
    optuna.load_study(study_name=name, storage=storage).ask()  # and never told
    resumed = found_by(recording, tmp_path / "b", trials=14)
    assert [v.point for v in whole.front] == [v.point for v in resumed.front]
    assert resumed.trials == 14


@NEEDS
def test_another_question_is_another_study(judged, tmp_path) -> None:
    recording = judged(prompts=24, n=6)
    names = {
        found_by(recording, tmp_path, trials=1).study,
        found_by(recording, tmp_path, trials=1, seed=1).study,
        found_by(recording, tmp_path, trials=1, objective="accuracy").study,
        found_by(recording.first(4), tmp_path, trials=1).study,
    }
    assert len(names) == 4 == len(list(tmp_path.iterdir()))


@NEEDS
def test_a_budget_is_kept_on_the_prompts_that_were_tuned_on(judged) -> None:
    found = found_by(judged(prompts=24, n=6), objective="accuracy@2.0", trials=20)
    assert found.best.point.tokens <= 2.0


@NEEDS
def test_a_result_that_holds_on_its_own_prompts_only_is_warned_about(judged) -> None:
    """Scores drawn by lot: whatever tuning finds there is luck, which held-out prompts show."""
    recording = judged(prompts=24, n=6)
    rng = np.random.default_rng(1)
    luck = evolve(recording, scores=rng.integers(0, 2, len(recording.scores)).astype(float))
    behind = [found_by(luck, trials=12, seed=seed) for seed in range(3)]
    warned = [f for f in behind if f.best.behind]
    assert warned
    for found in warned:
        assert "falls behind" in found.warnings[0]
        assert found.best.held_gain.mean < found.best.fit_gain.mean / 2


@NEEDS
def test_settings_that_do_not_go_together_are_counted_and_passed_over(judged) -> None:
    """A budget below what the first tokens need is refused by the policy itself."""
    budget = evolve(
        START,
        termination=REGISTRY.get("termination", "token-budget")(
            budget=4.0, policy=SuccessiveHalving()
        ),
    )
    wide = parse_space({"termination.budget": [1.0, 5.0]}, budget)
    found = tune(budget, judged(prompts=24, n=6), wide, registry=REGISTRY, trials=25)
    assert found.refused > 0
    assert any("refused" in w for w in found.warnings)
    assert all(v.point.settings["termination.budget"] > 1.3 for v in found.front)


@NEEDS
def test_the_document_is_json_that_anybody_reads(judged) -> None:
    from scalingar_analysis.commands.tune import document

    found = found_by(judged(prompts=24, n=6), trials=3)
    back = json.loads(json.dumps(document(found), allow_nan=False))
    assert back["trials"] == 3
    assert back["best"]["settings"].keys() == SPACE.keys()


def test_without_the_extra_tuning_says_what_to_install(monkeypatch) -> None:
    original = builtins.__import__

    def missing(name, *rest, **more):
        if name == "optuna":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ScalingarError, match=r"pip install 'scalingar-fw\[tune\]'"):
        import_optuna()


@NEEDS
@pytest.mark.parametrize(
    ("more", "complaint"),
    [({"trials": 0}, "trials=0"), ({"held_out": 1.0}, "held_out=1.0 must lie in")],
)
def test_impossible_studies_are_refused(judged, more, complaint) -> None:
    with pytest.raises(ScalingarError, match=complaint):
        found_by(judged(prompts=24, n=6), **more)


@NEEDS
def test_candidates_that_nobody_judged_cannot_be_tuned_by(judged) -> None:
    recording = judged()
    unknown = evolve(recording, scores=np.full(len(recording.scores), np.nan))
    with pytest.raises(ScalingarError, match="no scores to tune by"):
        found_by(unknown)
