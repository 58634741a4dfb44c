"""Running again does what is missing, and what is finished stays, whatever happened in between."""

from __future__ import annotations

import errno
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalingar_fw import PluginWarning, ResultWarning, ScalingarError
from scalingar_fw.experiments import open_store, store_writer, worker
from scalingar_fw.experiments.condition import describe_files
from scalingar_fw.experiments.dispatch import ATTEMPTS
from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.executors import EXECUTORS, Executor, Outcome, make_executor
from scalingar_fw.experiments.executors.inline import InlineExecutor
from scalingar_fw.experiments.layout import Layout


class Unreliable(InlineExecutor):
    """Does tasks in any order, several at hand at a time; loses some before or after their work,
    as a worker that is killed does."""

    name = "unreliable"
    slots = 3

    def __init__(self, seed, registry, losses=4):
        super().__init__(registry=registry)
        self._random = random.Random(seed)
        self._losses = losses

    def wait(self, seconds):
        self._random.shuffle(self._tasks)
        probing = self._tasks and self._tasks[0].method == "probe"
        lose = not probing and self._losses > 0 and self._random.random() < 0.3
        if not lose or not self._tasks:
            return super().wait(seconds)
        self._losses -= 1
        task = self._tasks[0]
        if self._random.random() < 0.5:
            super().wait(seconds)  # done, but nobody heard of it
        else:
            self._tasks.pop(0)
        return [Outcome(task.id, lost="killed")]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_order_losses_and_repetition_change_no_byte(bench, undisturbed, tmp_path_factory, seed):
    out = tmp_path_factory.mktemp("any") / "store"
    # At most two losses: the same unit may not be lost ATTEMPTS times by chance.
    ended, _ = bench.run(out, Unreliable(seed, bench.registry, losses=ATTEMPTS - 1))
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert content(out) == undisturbed


def content(root):
    units = Layout(root).root / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


def test_running_again_does_nothing_and_changes_nothing(bench, tmp_path):
    first, _ = bench.run(tmp_path / "s")
    before = content(tmp_path / "s")
    receipts = {p.name: p.read_bytes() for p in (tmp_path / "s/receipts").iterdir()}
    second, heard = bench.run(tmp_path / "s")
    assert heard.of("unit") == []
    assert (second.finished, second.tokens) == (first.finished, first.tokens)
    assert second.accuracy == first.accuracy
    assert content(tmp_path / "s") == before
    assert {p.name: p.read_bytes() for p in (tmp_path / "s/receipts").iterdir()} == receipts


def test_adding_to_a_sweep_does_only_what_is_new(bench, tmp_path):
    bench.run(tmp_path / "s")
    before = content(tmp_path / "s")
    ended, heard = bench.run(tmp_path / "s", strategies=["base", "scalingar", "beam"], seeds=[0, 1])
    assert (ended.units, len(heard.of("unit"))) == (12, 8)
    after = content(tmp_path / "s")
    assert {k: after[k] for k in before} == before
    assert len(open_store(tmp_path / "s").units()) == 12


def test_a_dry_run_says_what_there_is_to_do_and_writes_nothing(bench, tmp_path):
    _, heard = bench.run(tmp_path / "s", dry_run=True)
    (plan,) = heard.of("planned")
    # 2 strategies x 6 items x n = 2 x 16 tokens.
    assert (plan.units, plan.finished, plan.tokens) == (4, 0, 2 * 6 * 2 * 16)
    assert plan.missing_tokens == plan.tokens and plan.seconds is None
    assert not (tmp_path / "s").exists()
    bench.run(tmp_path / "s", limit=3)
    before = sorted(tmp_path.rglob("*"))
    ended, heard = bench.run(tmp_path / "s", dry_run=True)
    (plan,) = heard.of("planned")
    assert (plan.units, plan.finished) == (4, 2)
    assert plan.missing_tokens == plan.tokens // 2
    assert plan.seconds > 0, "units of the store say how long the others take"
    assert ended.stopped == "dry run"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_budget_of_tokens_stops_before_it_is_spent_and_the_rest_is_done_later(
    bench, tmp_path, undisturbed
):
    unit = 3 * 2 * 16  # items x n x T
    ended, heard = bench.run(tmp_path / "s", strategies=["base"], max_tokens=unit)
    assert ended.finished == 1 and ended.stopped == f"max_tokens={unit}"
    assert sum(e.tokens for e in heard.of("unit")) <= unit
    ended, heard = bench.run(tmp_path / "s", max_tokens=10**9)
    assert ended.stopped is None and ended.finished == ended.units
    assert len(heard.of("unit")) == 3
    assert content(tmp_path / "s") == undisturbed


def test_a_budget_too_small_for_a_unit_does_none(bench, tmp_path):
    ended, heard = bench.run(tmp_path / "s", max_tokens=5)
    assert ended.finished == 0 and heard.of("unit") == []


def test_hours_stop_a_sweep_between_units(bench, tmp_path, monkeypatch):
    """The clock jumps an hour with each look at it."""
    now = [0.0]

    def clock():
        now[0] += 1800.0
        return now[0]

    monkeypatch.setattr("scalingar_fw.experiments.dispatch.time.time", clock)
    ended, _ = bench.run(tmp_path / "s", max_hours=1.9)
    assert ended.stopped == "max_hours=1.9"
    assert 0 < ended.finished < ended.units


@pytest.mark.parametrize("name", ["max_tokens", "max_hours"])
def test_budgets_are_more_than_nothing(bench, tmp_path, name):
    with pytest.raises(ScalingarError, match=name):
        bench.run(tmp_path / "s", **{name: 0})


@pytest.mark.parametrize("damage", ["truncated", "gone", "receipt"])
def test_a_damaged_unit_is_named_set_aside_and_done_again(bench, tmp_path, undisturbed, damage):
    layout = Layout(tmp_path / "s")
    bench.run(layout.root)
    key = layout.keys()[1]
    shard = layout.unit(key) / "candidates.parquet"
    broken = shard.read_bytes()[:100]
    if damage == "truncated":
        shard.write_bytes(broken)
    elif damage == "gone":
        shard.unlink()
    else:
        layout.receipt(key).write_text('{"files": ')
    ended, heard = bench.run(layout.root)
    (said,) = heard.of("damaged")
    assert said.key == key and said.why
    assert [e.key for e in heard.of("unit")] == [key]
    assert ended.finished == ended.units
    assert content(layout.root) == undisturbed
    (aside,) = layout.damaged.iterdir()
    assert said.why in (aside / "why.txt").read_text()
    if damage == "truncated":
        assert (aside / "unit" / "candidates.parquet").read_bytes() == broken


def test_a_unit_whose_writer_was_killed_before_its_receipt_counts_once(
    bench, tmp_path, undisturbed
):
    layout = Layout(tmp_path / "s")
    bench.run(layout.root)
    key = layout.keys()[0]
    layout.receipt(key).unlink()
    ended, heard = bench.run(layout.root)
    assert [e.key for e in heard.of("unit")] == [key]
    assert content(layout.root) == undisturbed
    assert not layout.damaged.exists(), "it held what it should"


def test_half_a_unit_without_a_receipt_is_replaced(bench, tmp_path, undisturbed):
    layout = Layout(tmp_path / "s")
    bench.run(layout.root)
    key = layout.keys()[0]
    layout.receipt(key).unlink()
    (layout.unit(key) / "steps.parquet").unlink()
    bench.run(layout.root)
    assert content(layout.root) == undisturbed
    assert len(list(layout.damaged.iterdir())) == 1


def test_two_who_finish_the_same_unit_leave_it_once(bench, tmp_path):
    layout = Layout(tmp_path / "s")
    bench.run(layout.root, limit=3, strategies=["base"])
    (key,) = layout.keys()
    receipt = json.loads(layout.receipt(key).read_text())
    before = layout.receipt(key).read_bytes()
    with store_writer.writing_place(layout, key) as place:
        for name in receipt["files"]:
            (place / name).write_bytes((layout.unit(key) / name).read_bytes())
        assert describe_files(place) == receipt["files"]
        assert store_writer.put(layout, key, place, {**receipt, "worker": "late"}) is False
    assert layout.receipt(key).read_bytes() == before
    assert list(layout.partial.iterdir()) == []


@pytest.mark.parametrize("where", ["unit", "receipt"])
def test_a_full_disk_ends_the_sweep_in_one_sentence_and_loses_nothing(
    bench, tmp_path, undisturbed, monkeypatch, where
):
    """The third unit, or its receipt, finds no room."""
    name = "write_unit" if where == "unit" else "replace_json"
    original, calls = getattr(store_writer, name), []

    def full(*args, **kwargs):
        if where == "unit" or args[0].parent.name == "receipts":
            calls.append(args)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(store_writer, name, full)
        with pytest.raises(OSError, match=r"No space left.*make room"):
            bench.run(tmp_path / "s")
    layout = Layout(tmp_path / "s")
    assert len(layout.keys()) == 2
    assert list(layout.partial.iterdir()) == []
    ended, heard = bench.run(layout.root)
    assert ended.finished == ended.units and len(heard.of("unit")) == 2
    assert content(layout.root) == undisturbed


def test_another_setting_of_the_whole_is_refused_with_the_way_out(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3, strategies=["base"])
    for change in ({"guidance": 1.5}, {"batch": 2}, {"record": False}, {"threads": 2}):
        with pytest.raises(ScalingarError, match=rf"{next(iter(change))}.*another --out"):
            bench.run(tmp_path / "s", limit=3, strategies=["base"], **change)


def test_a_label_cannot_come_to_mean_something_else(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3, strategies=["base"])
    other = [{"strategy": "scalingar", "name": "base"}]
    with pytest.raises(ScalingarError, match="'base' is another configuration"):
        bench.run(tmp_path / "s", limit=3, strategies=other)


def test_a_folder_with_something_else_is_refused(bench, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ScalingarError, match="no experiment's folder"):
        bench.run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_strategy_that_cannot_run_fails_and_the_others_go_on(bench, tmp_path):
    ended, heard = bench.run(tmp_path / "s", strategies=["fails", "base", "crashes"])
    assert (ended.finished, ended.failed) == (2, 4)
    said = {e.label: e.error for e in heard.of("failed")}
    assert "never chooses" in said["fails"] and "ZeroDivisionError: a bug" in said["crashes"]
    assert open_store(tmp_path / "s").labels() == ["base"]


def test_a_prompt_that_the_model_cannot_read_is_found_before_any_work(bench, tmp_path):
    with pytest.raises(ScalingarError, match="unreadable"):
        bench.run(tmp_path / "s", split="broken")


def test_a_unit_that_ends_its_worker_every_time_is_given_up(bench, tmp_path):
    class Deadly(InlineExecutor):
        submitted = 0

        def wait(self, seconds):
            if self._tasks and self._tasks[0].method == "run":
                Deadly.submitted += 1
                return [Outcome(self._tasks.pop(0).id, lost="its worker was ended by SIGKILL")]
            return super().wait(seconds)

    ended, heard = bench.run(tmp_path / "s", Deadly(registry=bench.registry), limit=3)
    assert ended.failed == 2 and Deadly.submitted == 2 * ATTEMPTS
    assert "SIGKILL" in heard.of("failed")[0].error


def test_observers_change_nothing_even_where_they_raise(bench, tmp_path, undisturbed):
    class Rude:
        def notify(self, event):
            raise RuntimeError("no")

        def close(self): ...

    with pytest.warns(PluginWarning, match="Rude is left out"):
        run_sweep(
            bench.sweep(),
            tmp_path / "s",
            executor="inline",
            registry=bench.registry,
            observers=[Rude()],
        )
    assert content(tmp_path / "s") == undisturbed


def test_observers_hear_the_forecast_each_unit_and_the_end(bench, tmp_path):
    ended, heard = bench.run(tmp_path / "s")
    kinds = [e.kind for e in heard.events]
    assert kinds == ["planned", *["unit", "progress"] * ended.units, "ended"]
    last = heard.of("progress")[-1]
    assert last.tokens == sum(e.tokens for e in heard.of("unit")) == ended.tokens
    assert heard.closed
    rows = [r for r in open_store(tmp_path / "s").candidates().to_pylist() if r["chosen"]]
    for label, accuracy in ended.accuracy.items():
        tasks: dict[str, list[float]] = {}
        for row in rows:
            if row["strategy"] == label:
                tasks.setdefault(row["task"], []).append(row["score"])
        means = [sum(s) / len(s) for s in tasks.values()]
        assert accuracy == pytest.approx(sum(means) / len(means))


def test_what_the_clock_says_is_in_receipts_alone(bench, tmp_path, undisturbed):
    bench.run(tmp_path / "s")
    for unit in open_store(tmp_path / "s").units():
        assert unit.receipt["wall_seconds"] > 0
        assert {"model", "image", "score", "write"} <= unit.receipt["seconds"].keys()
        assert unit.receipt["peak_bytes"] > 0 and unit.receipt["when"].endswith("+00:00")
        assert unit.receipt["executor"] == "inline"
    assert content(tmp_path / "s") == undisturbed


def test_workers_with_other_weights_than_the_sweep_s_do_nothing(bench, tmp_path):
    store_writer.create_store(tmp_path)
    setup = worker.Setup(model="toy", root=str(tmp_path), executor="test", benchmark="toy")
    crew = worker.Worker(setup, bench.registry)
    facts = crew.probe("test", [0])
    unit = bench.sweep().units(worker.Facts(**{**facts, "model_hash": "0" * 64}), crew.benchmark)[0]
    report = crew.run(unit.label, unit.config, facts["flops"])
    assert report["status"] == "failed" and "same files" in report["error"]


@pytest.mark.parametrize("name", [n for n in EXECUTORS if n in ("inline", "local")])
def test_executors_are_what_the_contract_says(name):
    assert isinstance(make_executor(name), Executor)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lokal",), "Did you mean 'local'"),
        (("local", 0), "workers=0"),
        (("inline", 2), "use --executor local"),
        (("local", 1, {"colour": 1}), "colour"),
        (("json:loads",), "json:loads"),
    ],
)
def test_an_executor_that_cannot_be_made_is_named(arguments, said):
    with pytest.raises(ScalingarError, match=said):
        make_executor(*arguments)


def test_a_sweep_among_equal_candidates_says_so(bench, tmp_path):
    with pytest.warns(ResultWarning, match="base: n=2, but nothing is drawn at temperature=0"):
        bench.run(tmp_path / "s", limit=1, strategies=["base"], temperature=0)
