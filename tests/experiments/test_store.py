"""What a store gives back is what the loop produced, and a damaged unit is never a smaller result."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from scalingar_fw import ScalingarError
from scalingar_fw.benchmark import make_benchmark
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.evaluate import decode_items
from scalingar_fw.experiments.flops import model_flops
from scalingar_fw.experiments.layout import SCHEMA, Layout
from scalingar_fw.experiments.tables import candidate_schema


@pytest.fixture(scope="module")
def store(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "run"
    bench.run(
        out, strategies=["base", "scalingar", "beam"], n=[2, 4], seeds=[0, 1], images="chosen"
    )
    return open_store(out)


def decoded(bench, store, label, n, seed):
    """The same cells by the loop alone, unit by unit."""
    model = bench.registry.get("model", "toy")(device=torch.device("cpu"))
    benchmark = make_benchmark(bench.registry, "toy")
    strategy = bench.registry.get("strategy", label)()
    items, out = benchmark.items("test"), []
    for unit in store.units(label):
        if (unit.n, unit.seed) == (n, seed):
            part = [(place, items[place]) for place in unit.items]
            out += decode_items(model, strategy, benchmark, part, n=n, seed=seed)
    return sorted(out, key=lambda r: r.index)


@pytest.mark.parametrize("label", ["base", "scalingar", "beam"])
def test_trajectories_come_back_as_the_loop_made_them(bench, store, label):
    pools = store.trajectories(label, n=4, seed=1)
    expected = decoded(bench, store, label, 4, 1)
    assert [p.item for p in pools] == [r.index for r in expected] != []
    for pool, result in zip(pools, expected, strict=True):
        assert pool.prompt == result.item.prompt
        assert (pool.task, pool.cluster) == (result.item.task, result.item.cluster)
        assert pool.chosen == result.chosen
        np.testing.assert_array_equal(pool.scores, result.scores)
        for mine, theirs in zip(pool.trajectories, result.trajectories, strict=True):
            assert (mine.candidate, mine.status, mine.reason, mine.parent, mine.forked_at) == (
                theirs.candidate,
                theirs.status,
                theirs.reason,
                theirs.parent,
                theirs.forked_at,
            )
            np.testing.assert_array_equal(mine.tokens, theirs.tokens)
            assert list(mine.signals) == list(theirs.signals)
            for name, values in theirs.signals.items():
                np.testing.assert_array_equal(mine.signals[name], values)


def test_candidates_are_one_row_each_in_a_fixed_order(bench, store):
    table = store.candidates()
    assert table.schema.names == candidate_schema().names
    rows = table.to_pylist()
    cells = [(r["strategy"], r["n"], r["seed"], r["item"], r["candidate"]) for r in rows]
    assert cells == sorted(set(cells))
    expected = {
        (label, n, seed, r.index, t.candidate): (r, place, t)
        for label in store.labels()
        for n in (2, 4)
        for seed in (0, 1)
        for r in decoded(bench, store, label, n, seed)
        for place, t in enumerate(r.trajectories)
    }
    assert set(expected) == set(cells)
    for cell, row in zip(cells, rows, strict=True):
        result, place, t = expected[cell]
        assert row["length"] == len(t)
        assert row["tokens"] == len(t) - t.forked_at
        assert row["chosen"] == (place == result.chosen)
        assert (row["score"] is None) == (not t.completed)
        mean = np.mean(t.signals["log_prob_cond"].astype(np.float64))
        assert row["mean_log_prob_cond"] == pytest.approx(mean, rel=1e-6)
        mean = np.mean(t.signals["kl"].astype(np.float64))
        assert row["mean_kl"] == pytest.approx(mean, rel=1e-6, abs=1e-9)
        recovered = t.signals.get("recovered", np.zeros(0))[t.forked_at :]
        assert row["recoveries"] == int(np.nansum(recovered))


def test_steps_are_the_candidates_tokens(store):
    steps, candidates = store.steps(), store.candidates()
    assert len(steps) == sum(candidates["length"].to_pylist())
    some = store.steps("scalingar", columns=["item", "candidate", "step", "token", "kl"])
    assert some.column_names == ["item", "candidate", "step", "token", "kl"]
    pool = store.trajectories("scalingar", n=2, seed=0)[0]
    mine = store.steps("scalingar").filter(
        (np.array(store.steps("scalingar")["n"]) == 2)
        & (np.array(store.steps("scalingar")["seed"]) == 0)
        & (np.array(store.steps("scalingar")["item"]) == pool.item)
    )
    joined = np.concatenate([t.tokens for t in pool.trajectories])
    np.testing.assert_array_equal(mine["token"].to_numpy(), joined)
    with pytest.raises(ScalingarError, match="Did you mean 'margin'"):
        store.steps(columns=["margn"])


def test_the_ledger_and_flops_of_a_unit_are_its_decodes(bench, store):
    model = bench.registry.get("model", "toy")(device=torch.device("cpu"))
    flops = model_flops(model)
    for unit in store.units("base"):
        rows = [r for r in store.candidates("base").to_pylist() if r["unit"] == unit.key]
        assert unit.ledger["tokens"] == sum(r["tokens"] for r in rows)
        assert set(unit.flops) == {"model", "decoder", "reward"}
        assert unit.flops["decoder"] == len(unit.items) * flops.decode_image
        ends = [(r["length"], r["forked_at"], r["status"]) for r in rows]
        assert unit.flops["model"] == flops.decode(len(unit.items), ends)


def test_images_of_answers_are_kept_under_their_names(store):
    unit = store.units("scalingar")[0]
    rows = [r for r in store.candidates("scalingar").to_pylist() if r["unit"] == unit.key]
    chosen = {f"{r['item']}-{r['seed']}-{r['candidate']}.png" for r in rows if r["chosen"]}
    folder = store.layout.unit(unit.key) / "images"
    assert {p.name for p in folder.iterdir()} == chosen


def test_the_model_s_grid_and_sampling_are_known(store):
    assert store.grid("base").size == 16
    assert store.sampling("base").guidance == 2.0


def test_what_is_not_there_is_named(store, tmp_path):
    with pytest.raises(ScalingarError, match="Did you mean 'scalingar'"):
        store.candidates("scalingr")
    with pytest.raises(ScalingarError, match="n of 'base'"):
        store.trajectories("base", n=3)
    with pytest.raises(ScalingarError, match="scalingar bench"):
        open_store(tmp_path)


def test_a_store_of_a_newer_version_is_refused(bench, tmp_path):
    bench.run(tmp_path / "s", limit=1, strategies=["base"])
    manifest = tmp_path / "s" / "store.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "schema": SCHEMA + 1}))
    with pytest.raises(ScalingarError, match="newer"):
        open_store(tmp_path / "s")


def test_without_record_there_are_no_steps_and_the_message_says_how_to_get_them(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3, strategies=["base"], record=False)
    store = open_store(tmp_path / "s")
    assert len(store.candidates()) == 6
    for read in (store.steps, lambda: store.trajectories("base")):
        with pytest.raises(ScalingarError, match="--record"):
            read()


@pytest.mark.parametrize("name", ["candidates.parquet", "unit.json", "steps.parquet"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_unit_is_an_error_that_names_it(bench, tmp_path, name, damage):
    bench.run(tmp_path / "s", limit=3, strategies=["base"])
    layout = Layout(tmp_path / "s")
    (key,) = layout.keys()
    path = layout.unit(key) / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        path.write_bytes(data[:-20] if damage == "truncated" else flipped)
    store = open_store(layout.root)
    assert [k for k, _ in store.verify()] == [key]
    with pytest.raises(ScalingarError, match=f"{key[:12]}.*again"):
        store.candidates()
        store.steps()


def test_labels_that_mean_the_same_both_have_its_results(bench, tmp_path):
    same = ["base", {"strategy": "base", "name": "also"}]
    ended, _ = bench.run(tmp_path / "s", strategies=same)
    store = open_store(tmp_path / "s")
    assert ended.units == 2 and store.labels() == ["also", "base"]
    for column in store.candidates().column_names:
        if column != "strategy":
            assert store.candidates("also")[column] == store.candidates("base")[column]


def test_items_of_a_smaller_limit_are_not_counted_again(bench, tmp_path):
    """The last block of 4 items is a part of a block of 6: both units are in the store."""
    bench.run(tmp_path / "s", limit=4, strategies=["base"])
    bench.run(tmp_path / "s", limit=6, strategies=["base"])
    store = open_store(tmp_path / "s")
    assert len(store.layout.keys()) == 3
    items = store.candidates()["item"].to_pylist()
    assert len(items) == 12 and len(set(items)) == 6


def test_the_schema_on_disk_is_the_documented_one(store):
    unit = store.units()[0]
    schema = pq.read_schema(store.layout.unit(unit.key) / "candidates.parquet")
    assert schema.equals(candidate_schema())
