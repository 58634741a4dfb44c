"""Recordings: parts of them, and what is read from a store with several strategies and seeds."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from scalingar_analysis.recordings.reading import read_recording
from scalingar_analysis.recordings.recording import Candidates, Recording
from scalingar_analysis.replay.replay import replay
from scalingar_fw.decoding.strategy import NeverTerminate, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
from scalingar_fw.registry import load_registry
from scalingar_plugins.selectors.rewarded import BestReward

PLUGIN = Path(__file__).parents[2] / "cli" / "toy_benchmark.py"


# --- parts of a recording ----------------------------------------------------------------------


def test_some_prompts_are_replayed_as_in_the_whole(judged) -> None:
    recording = judged()
    strategy = Strategy("best", selector=BestReward())
    whole, some = replay(strategy, recording), replay(strategy, recording.subset([7, 2]))
    assert [a.item for a in some.recording.asked] == [2, 7]
    assert some.score.tolist() == whole.score[[2, 7]].tolist()
    candidates = recording.candidate[whole.chosen[[2, 7]]]
    assert some.recording.candidate[some.chosen].tolist() == candidates.tolist()


def test_the_first_candidates_are_those_with_the_lowest_ids(judged) -> None:
    few = judged().first(2)
    assert few.n == 2
    assert few.candidate.tolist() == [0, 1] * len(few)
    assert few.tokens.shape == (24, 16) and len(few.scores) == 24
    for n in (0, 7):
        with pytest.raises(ScalingarError, match=rf"n={n} must lie in \[1, 6\]"):
            judged().first(n)


def test_the_order_in_which_candidates_were_given_does_not_matter(judged) -> None:
    recording = judged(prompts=2, n=3)
    outcome = replay(Strategy("all", termination=NeverTerminate()), recording)
    trajectories = [outcome.trajectory(r) for r in (2, 0, 1)]
    pool = Candidates(recording.asked[0].prompt, trajectories, scores=np.array([3.0, 1.0, 2.0]))
    again = Recording.of([pool], recording.grid, recording.sampling, recording.strategy)
    assert again.candidate.tolist() == [0, 1, 2]
    assert again.scores.tolist() == [1.0, 2.0, 3.0]
    assert (again.tokens == recording.tokens[:3]).all()


def test_nothing_and_half_of_a_recording_are_refused(judged) -> None:
    recording = judged(prompts=2, n=3)
    of = (recording.grid, recording.sampling, recording.strategy)
    with pytest.raises(ScalingarError, match="holds no candidates"):
        Recording.of([], *of)
    t = replay(Strategy("all"), recording).trajectory(0)
    blind = evolve(t, signals={k: v for k, v in t.signals.items() if k != "kl"})
    with pytest.raises(ScalingarError, match="lacks the signal 'kl'"):
        Recording.of([Candidates(recording.asked[0].prompt, [blind])], *of)


# --- from a store ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry():
    return load_registry([PLUGIN])


@pytest.fixture(scope="module")
def store(registry, tmp_path_factory):
    """Two strategies that complete everybody and one that does not, n = 2 and 3, two seeds."""
    path = tmp_path_factory.mktemp("store") / "sweep"
    data = {
        "model": "toy",
        "benchmark": "toys",
        "split": "validation",
        "device": "cpu",
        "limit": 8,
        "batch": 4,
        "n": [2, 3],
        "seeds": [0, 5],
        "strategies": [
            "best-of-n",
            {"strategy": "best-of-n", "name": "sure", "set": {"confidence": "log-prob"}},
            {
                "strategy": "best-of-n",
                "name": "halved",
                "set": {"confidence": "log-prob", "termination": "successive-halving"},
            },
        ],
    }
    run_sweep(make_sweep(parse_sweep(data), registry), path, executor="inline", registry=registry)
    return path


def test_a_store_gives_the_widest_pools_of_all_seeds(store, registry) -> None:
    recording = read_recording(store, registry, label="sure")
    assert (len(recording), recording.n) == (16, 3)
    assert {a.seed for a in recording.asked} == {0, 5}
    assert len({(a.seed, a.item) for a in recording.asked}) == 16
    assert {a.task for a in recording.asked} == {"task 0", "task 1"}
    assert recording.scored
    one = read_recording(store, registry, label="sure", seed=5, n=2)
    assert (len(one), one.n) == (8, 2)


def test_what_was_chosen_online_is_chosen_by_replay_of_the_store(store, registry) -> None:
    from scalingar_fw.config.serialization import build
    from scalingar_fw.experiments import open_store

    recording = read_recording(store, registry, label="sure", n=2)
    outcome = replay(build("strategy", "best-of-n", registry), recording)
    rows = open_store(store).candidates("best-of-n").to_pylist()
    online = {(r["seed"], r["item"]): r["candidate"] for r in rows if r["chosen"] and r["n"] == 2}
    mine = {
        (asked.seed, asked.item): int(recording.candidate[answer])
        for asked, answer in zip(recording.asked, outcome.chosen, strict=True)
    }
    assert mine == online


def test_signals_tokens_and_scores_are_the_stores(store, registry) -> None:
    from scalingar_fw.experiments import open_store

    recording = read_recording(store, registry, label="sure", seed=0)
    for pool in open_store(store).trajectories("sure", n=3, seed=0):
        place = [a.item for a in recording.asked].index(pool.item)
        for row, t in zip(recording.rows_of(place), pool.trajectories, strict=True):
            assert recording.tokens[row].tolist() == t.tokens.tolist()
            for name, values in t.signals.items():
                assert recording.signals[name][row].tolist() == values.tolist()
        assert recording.scores[recording.rows_of(place)].tolist() == pool.scores.tolist()


def test_a_store_with_several_recordings_asks_which(store, registry) -> None:
    with pytest.raises(ScalingarError, match="--recorded best-of-n or --recorded sure"):
        read_recording(store, registry)
    with pytest.raises(ScalingarError, match="halved.*were ended early"):
        read_recording(store, registry, label="halved")
    with pytest.raises(ScalingarError, match="Did you mean 'sure'"):
        read_recording(store, registry, label="sur")
    with pytest.raises(ScalingarError, match="Unknown seed"):
        read_recording(store, registry, label="sure", seed=1)


def test_equal_prompts_are_different_draws_with_different_keys(registry, tmp_path) -> None:
    """An item's replica is part of its seed, which selectors that draw read."""
    toys = runpy.run_path(str(PLUGIN))["Toys"]
    from scalingar_fw.experiments.evaluate import REPLICA_STEP

    class Twice(toys):
        def items(self, split):
            first = super().items(split)[0]
            return [first, evolve(first, replica=1)]

    again = load_registry([PLUGIN])
    again.add("benchmark", "twice", Twice, "the same prompt twice")
    data = {"model": "toy", "benchmark": "twice", "split": "validation", "device": "cpu"}
    sweep = make_sweep(parse_sweep({**data, "n": 2, "strategies": ["best-of-n"]}), again)
    run_sweep(sweep, tmp_path / "pool", executor="inline", registry=again)
    recording = read_recording(tmp_path / "pool", again)
    assert [a.seed for a in recording.asked] == [0, REPLICA_STEP]
    assert (recording.tokens[:2] != recording.tokens[2:]).any()


def test_a_store_whose_plugin_is_gone_is_not_guessed_at(store) -> None:
    recording = read_recording(store, load_registry([]), label="sure")
    assert recording.strategy is not None, "its parts are built in"
    lost = evolve(recording, strategy=None)
    with pytest.raises(ScalingarError, match="recorded under is not known"):
        replay(Strategy("all"), lost)
