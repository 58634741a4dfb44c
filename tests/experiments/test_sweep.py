"""A sweep means the same from YAML, flags and its own record, and names everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw import Prompt, ScalingarError
from scalingar_fw.benchmark import Item, make_benchmark
from scalingar_fw.decoding.params import Rule
from scalingar_fw.experiments.evaluate import in_turn
from scalingar_fw.experiments.sweep import (
    KEYS,
    make_sweep,
    numbers,
    parse_sweep,
    read_sweep,
)
from scalingar_fw.experiments.worker import Facts

FACTS = Facts(
    model="toy",
    model_hash="f" * 64,
    device="cpu",
    dtype="float32",
    total=16,
    branches=2,
    sampling={"guidance": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
    flops={},
)


def keys(bench, sweep, facts=FACTS):
    benchmark = make_benchmark(bench.registry, sweep.benchmark, sweep.benchmark_options)
    return [unit.key for unit in sweep.units(facts, benchmark)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3,)),
        ([4, 1], (4, 1)),
        ("0-3,7", (0, 1, 2, 3, 7)),
        (["0-1", 5], (0, 1, 5)),
        ([2, 2], (2,)),
    ],
)
def test_numbers_are_one_a_list_or_ranges(value, expected):
    assert numbers(value, "seeds", Rule("a number", ge=0, kind=int)) == expected


@pytest.mark.parametrize("value", ["a", "3-1", "", "1,,2", [], [1.5], [True], -1, "0-99999999"])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ScalingarError, match="seeds"):
        numbers(value, "seeds", Rule("a number", ge=0, kind=int))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategies": None}, "needs strategies"),
        ({"strategies": ["bse"]}, "Did you mean 'base'"),
        ({"strategies": ["base", "base"]}, "'base' is there twice"),
        ({"strategies": [{"scalingar": {"termination.quantil": 0.3}}]}, "termination.quantile"),
        ({"strategies": [{"strategy": "base", "seeds": [1]}]}, "Unknown key of a strategy"),
        ({"strategies": [3]}, "must be a name"),
        ({"strategies": "base"}, "must be a list"),
        ({"split": "tset"}, "tset"),
        ({"benchmark": "toi"}, "Did you mean 'toy'"),
        ({"model": "toi"}, "Did you mean 'toy'"),
        ({"seeds": 2**63}, "seeds"),
        ({"batch": 0}, "batch=0 must"),
        ({"record": "yes"}, "must be true or false"),
        ({"images": "some"}, "Available: all, chosen, none"),
        ({"guidance": "much"}, "guidance"),
        ({"options": {"size": 3}}, "size"),
        ({"set": {"termination.quantile": 0.3}}, "base"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(bench, changes, said):
    with pytest.raises(ScalingarError, match=said):
        bench.sweep(**changes)


def test_an_unknown_key_is_named():
    with pytest.raises(ScalingarError, match="Did you mean 'seeds'"):
        parse_sweep({"seed": 1, "strategies": ["base"]})


def test_a_strategy_is_a_name_or_a_name_with_settings(bench):
    sweep = bench.sweep(
        strategies=[
            "scalingar",
            {"scalingar": {"termination.quantile": 0.3}},
            {"strategy": "base", "name": "one sample", "n": "1,3"},
            {"strategy": "scalingar", "set": {"termination": "never"}},
        ]
    )
    assert [e.label for e in sweep.entries] == [
        "scalingar",
        "scalingar termination.quantile=0.3",
        "one sample",
        "scalingar termination=never",
    ]
    assert sweep.entries[1].strategy["termination"]["quantile"] == 0.3
    assert sweep.entries[3].strategy["termination"]["name"].endswith("/never")
    assert [sweep.n_of(e) for e in sweep.entries] == [(2,), (2,), (1, 3), (2,)]


def test_settings_of_the_sweep_belong_to_every_strategy_and_its_label(bench):
    sweep = bench.sweep(strategies=["scalingar"], set={"termination.quantile": 0.4})
    (entry,) = sweep.entries
    assert entry.label == "scalingar termination.quantile=0.4"
    assert entry.strategy["termination"]["quantile"] == 0.4


def test_without_n_a_strategy_has_its_own(bench):
    sweep = bench.sweep(n=None, strategies=["scalingar", "base"])
    assert [sweep.n_of(e) for e in sweep.entries] == [
        (bench.registry.get("strategy", name)().default_n,) for name in ("scalingar", "base")
    ]


def test_the_recorded_sweep_means_the_same_units(bench, tmp_path):
    sweep = bench.sweep(
        strategies=["base", {"scalingar": {"termination.quantile": 0.3}}],
        n=[2, 3],
        seeds="0-2",
        guidance=1.5,
        images="chosen",
        record=False,
    )
    path = tmp_path / "sweep.yaml"
    path.write_text(sweep.to_yaml(), encoding="utf-8")
    again = make_sweep(read_sweep(path), bench.registry)
    assert again == sweep
    assert keys(bench, again) == keys(bench, sweep)
    assert set(yaml.safe_load(sweep.to_yaml())) <= set(KEYS)


def test_a_unit_is_named_by_what_it_computes(bench):
    base = keys(bench, bench.sweep())
    assert len(set(base)) == len(base) == 2 * 2  # strategies x blocks of 3 of 6 items
    renamed = bench.sweep(
        strategies=[{"strategy": "base", "name": "a"}, {"strategy": "scalingar", "name": "b"}]
    )
    assert keys(bench, renamed) == base, "a label is no content"
    for change in (
        {"n": 3},
        {"seeds": 1},
        {"guidance": 1.5},
        {"threads": 2},
        {"record": False},
        {"images": "all"},
        {"batch": 2},
        {"benchmark_options": {"scorer": "another"}},
    ):
        assert not set(keys(bench, bench.sweep(**change))) & set(base), change
    for other in (
        {"model_hash": "0" * 64},
        {"device": "cuda"},
        {"dtype": "bfloat16"},
        {"model": "x"},
    ):
        facts = Facts(**{**{f: getattr(FACTS, f) for f in Facts.__annotations__}, **other})
        assert not set(keys(bench, bench.sweep(), facts)) & set(base), other


def test_more_strategies_seeds_n_and_items_keep_the_units_that_were(bench):
    small = set(keys(bench, bench.sweep()))
    for change in (
        {"strategies": ["base", "beam", "scalingar"]},
        {"seeds": [0, 1]},
        {"n": [2, 4]},
        {"limit": 9},
        {"limit": None},
    ):
        assert small < set(keys(bench, bench.sweep(**change))), change


def test_labels_that_mean_the_same_share_their_units(bench):
    sweep = bench.sweep(strategies=["base", {"strategy": "base", "name": "again"}])
    assert keys(bench, sweep) == keys(bench, bench.sweep(strategies=["base"]))


@given(tasks=st.lists(st.integers(0, 3), min_size=1, max_size=20), limit=st.integers(1, 25))
def test_a_smaller_limit_is_a_prefix_and_covers_tasks_evenly(tasks, limit):
    items = [Item(Prompt(str(i)), str(task), "c") for i, task in enumerate(tasks)]
    whole, some = in_turn(items), in_turn(items, limit)
    assert sorted(whole) == list(range(len(items)))
    assert some == whole[:limit]
    taken = {t: sum(items[p].task == t for p in some) for t in {i.task for i in items}}
    there = {t: sum(i.task == t for i in items) for t in taken}
    most = max(taken.values())
    assert all(count >= min(there[t], most - 1) for t, count in taken.items())


def test_weights_are_absolute_in_the_record(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.txt").write_text("3.0")
    assert bench.sweep(weights="w.txt").to_data()["weights"] == str(tmp_path / "w.txt")
