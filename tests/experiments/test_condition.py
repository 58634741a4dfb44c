"""A store that somebody edited: every command gives the same verdict, in one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalingar_fw import ScalingarError
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.claims import STALE_SECONDS, is_held
from scalingar_fw.experiments.condition import trouble
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.scores import read_scores

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    shutil.copytree(FIXTURES / "bench_steps", tmp_path / "s")
    return Layout(tmp_path / "s")


def key_of(layout: Layout) -> str:
    (key,) = layout.keys()
    return key


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text())
    changed = change(data)
    path.write_text(json.dumps(data if changed is None else changed))


def receipt_again(layout: Layout) -> None:
    """Whoever edits a file may edit its receipt as well."""
    key = key_of(layout)

    def renew(receipt: Any) -> None:
        for name in receipt["files"]:
            data = (layout.unit(key) / name).read_bytes()
            receipt["files"][name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }

    edit(layout.receipt(key), renew)


def verdicts(layout: Layout) -> list[str]:
    """What each way into a store says of its unit; "" where it finds nothing wrong."""
    said = [trouble(layout, key_of(layout)) or ""]

    def read(use: Callable[[Any], Any]) -> None:
        try:
            use(open_store(layout.root))
        except ScalingarError as error:
            said.append(str(error))
        else:
            said.append("")

    read(lambda s: s.candidates())
    read(lambda s: [s.steps(label) for label in s.labels()])
    read(lambda s: [s.trajectories(label) for label in s.labels()])
    return said


def put(path: tuple[Any, ...], value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


def test_a_whole_store_is_finished_for_everybody(store: Layout) -> None:
    assert verdicts(store) == ["", "", "", ""]


@pytest.mark.parametrize(
    "change",
    [
        put(("files",), {}),
        put(("files",), []),
        put(("files", "../../x"), {"sha256": "0", "bytes": 0}),
        put(("files", "unit.json"), 3),
        drop("files", "candidates.parquet"),
        put(("schema",), True),
        put(("schema",), 99),
        put(("tokens",), "many"),
        put(("tokens",), -1),
        put(("answers",), {"a": [0, 0]}),
        put(("answers",), {"a": [1]}),
        put(("key",), "0" * 64),
        put(("seconds",), {"load": None}),
        lambda _: [],
    ],
)
def test_an_edited_receipt_makes_no_unit(store: Layout, change: Callable[[Any], Any]) -> None:
    edit(store.receipt(key_of(store)), change)
    assert all(verdicts(store)), verdicts(store)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nul", b"\0" * 50])
def test_a_receipt_that_is_no_json_makes_no_unit(store: Layout, data: bytes) -> None:
    store.receipt(key_of(store)).write_bytes(data)
    assert all(verdicts(store)), verdicts(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        put(("key",), "x"),
        put(("label",), None),
        put(("config", "n"), 4),
        put(("config", "n"), 2.5),
        put(("config", "items"), []),
        put(("config", "items", 0, "text"), None),
        drop("config"),
        drop("config", "strategy"),
        drop("config", "sampling"),
        put(("grid",), [1]),
        put(("grid",), "3x3"),
        put(("total_tokens",), 10**40),
        put(("ledger",), {}),
        put(("ledger", "tokens"), True),
        put(("oracle",), 1),
        put(("flops",), {"model": "much"}),
    ],
)
def test_an_edited_unit_is_damaged_although_its_receipt_was_edited_too(
    store: Layout, change: Callable[[Any], Any]
) -> None:
    edit(store.unit(key_of(store)) / "unit.json", change)
    receipt_again(store)
    assert all(verdicts(store)), verdicts(store)


def table_with(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column = pa.array([values] * len(table)) if not callable(values) else values(table)
        return table.set_column(table.column_names.index(name), name, column)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["length"]),
        lambda t: t.drop_columns(["chosen"]),
        lambda t: t.slice(0, 0),
        table_with("chosen", False),
        table_with("chosen", True),
        table_with("length", 10_000),
        table_with("length", None),
        table_with("length", "long"),
        table_with("status", "lost"),
        table_with("item", 77),
        table_with("seed", 2**40),
        table_with("score", float("inf")),
        table_with("forked_at", -1),
    ],
)
def test_an_edited_table_of_candidates_is_damaged(
    store: Layout, change: Callable[[pa.Table], pa.Table]
) -> None:
    path = store.unit(key_of(store)) / "candidates.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    receipt_again(store)
    found = verdicts(store)
    assert found[0] and found[1] and found[3], found


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["token"]),
        table_with("token", "x"),
        table_with("token", 2**60),
        lambda t: t.append_column("odd", pa.array([[1]] * len(t))),
    ],
)
def test_an_edited_table_of_steps_is_damaged(
    store: Layout, change: Callable[[pa.Table], pa.Table]
) -> None:
    path = store.unit(key_of(store)) / "steps.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    receipt_again(store)
    found = verdicts(store)
    assert found[0] and found[2] and found[3], found


@pytest.mark.parametrize("change", [lambda _: 3, put(("label",), 7), put(("strategy",), "x")])
def test_an_edited_label_is_named(store: Layout, change: Callable[[Any], Any]) -> None:
    (label,) = store.labels.glob("*.json")
    edit(label, change)
    with pytest.raises(ScalingarError, match=label.name):
        open_store(store.root).labels()


@pytest.mark.parametrize("schema", [True, 0, "1", None, 1.0])
def test_a_store_of_no_version_is_refused(store: Layout, schema: Any) -> None:
    edit(store.manifest, put(("schema",), schema))
    with pytest.raises(ScalingarError, match=r"store\.json is damaged"):
        open_store(store.root)


def test_scores_that_somebody_edited_are_named(store: Layout) -> None:
    store.scores.mkdir()
    pq.write_table(pa.table({"unit": ["x"]}), store.scores / "shapes.parquet")
    with pytest.raises(ScalingarError, match=r"shapes\.parquet is damaged: it lacks the column"):
        read_scores(store)
    (store.scores / "shapes.parquet").write_bytes(b"PAR1")
    with pytest.raises(ScalingarError, match=r"shapes\.parquet is damaged"):
        read_scores(store)


@pytest.mark.parametrize(
    "claim",
    [
        {"host": "elsewhere", "pid": 1, "started": None},
        {"host": "elsewhere", "pid": 10**30, "started": None},
        ["host"],
        {"host": 3},
    ],
)
def test_a_claim_from_the_future_or_the_past_is_nobody_s(store: Layout, claim: Any) -> None:
    import os
    import time

    store.claims.mkdir(exist_ok=True)
    path = store.claims / f"{'a' * 64}.json"
    path.write_text(json.dumps(claim))
    for away in (-10 * STALE_SECONDS, 10 * STALE_SECONDS, 10**9):
        os.utime(path, (time.time() + away,) * 2)
        assert not is_held(store, "a" * 64)


def test_a_claim_with_a_number_that_is_no_process_s_is_nobody_s(store: Layout) -> None:
    import socket

    store.claims.mkdir(exist_ok=True)
    path = store.claims / f"{'a' * 64}.json"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**62, "started": None}))
    assert not is_held(store, "a" * 64)
