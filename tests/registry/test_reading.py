"""One door for foreign files: plain data or one sentence, in bounded time and memory."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw import ScalingarError
from scalingar_fw.reading import (
    MAX_CELLS,
    MAX_DEPTH,
    MAX_NODES,
    checked_record,
    load_json,
    load_yaml,
    read_json,
    read_record,
    read_table,
    read_text,
    with_columns,
)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_json_means_what_python_s_own_reader_says(data: Any) -> None:
    assert load_json(json.dumps(data), "it") == data


@given(plain)
def test_yaml_means_what_the_safe_loader_says(data: Any) -> None:
    text = yaml.safe_dump(data)
    assert load_yaml(text, "it") == yaml.safe_load(text)


@given(st.text() | st.text(alphabet="&*a:{}[]-? !<\n 1'\"#|>%@", max_size=60))
def test_any_text_is_data_or_one_short_sentence(text: str) -> None:
    for load in (load_json, load_yaml):
        try:
            load(text, "it")
        except ScalingarError as error:
            assert str(error).startswith("it") and "\n" not in str(error)
            assert len(str(error)) < 400


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "\n".join(lines)


def test_aliases_count_as_often_as_they_are_used() -> None:
    assert len(load_yaml(bomb(4), "it")) == 4
    begun = time.monotonic()
    with pytest.raises(ScalingarError, match=f"line 6: more than {MAX_NODES} values"):
        load_yaml(bomb(30), "it")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "text", ["a: &s {a: *s}", "&s [*s]", "a: &s {<<: *s}", "a: &x [&y {b: *x}]"]
)
def test_a_value_that_holds_itself_is_refused(text: str) -> None:
    with pytest.raises(ScalingarError, match="refers to what it is a part of"):
        load_yaml(text, "it")


@pytest.mark.parametrize("load", [load_json, load_yaml])
def test_depth_is_bounded_long_before_python_s_stack(load: Any) -> None:
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH, "it")
    for depth in (MAX_DEPTH + 1, 5000, 200_000):
        with pytest.raises(ScalingarError, match="deep"):
            load("[" * depth + "]" * depth, "it")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: !!int x", "line 1: seed: 'x' is no int"),
        ("a: 1\nseed: 2026-13-01", "line 2: seed: '2026-13-01' is no timestamp"),
        ("seed: !!int ''", "seed: '' is no int"),
        ("seed: !!bool x", "seed: 'x' is no bool"),
        ("seed: !!timestamp x", "seed: 'x' is no timestamp"),
        ("seed: " + "9" * 5000, "seed: a number of 5000 digits"),
        ("seed: 1" + ":1" * 5000, "seed: a number of 10001 digits"),
        ("[1]: 2", "unhashable"),
        ("a: 1\na: 2", "'a' is given twice"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: *nowhere", "undefined alias"),
        ("<<: [1]", "expected a mapping"),
        ("!!map [1]", "expected a mapping"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ScalingarError) as caught:
        load_yaml(text, "my.yaml")
    assert said in str(caught.value) and str(caught.value).startswith("my.yaml")


def test_merged_keys_are_read_and_a_key_of_its_own_goes_first() -> None:
    found = load_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}", "it")
    assert found["d"] == {"b": 3, "c": 2}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', "9" * 5000, '"\\ud800"', '{"\\udc00": 1}', "", "{", "nul", "[1,]"],
)
def test_json_that_no_file_of_ours_holds_is_refused(text: str) -> None:
    with pytest.raises(ScalingarError, match="^it "):
        load_json(text, "it")


def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    endless = Path("/dev/zero")
    if endless.exists():
        with pytest.raises(ScalingarError, match="more than 1 MiB"):
            read_text(endless, 1 << 20)
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(ScalingarError, match=r"latin\.json is not a text file in UTF-8"):
        read_json(latin)
    with pytest.raises(ScalingarError, match="missing or cannot be read"):
        read_json(tmp_path)


class Inner(TypedDict):
    count: int


class _Needed(TypedDict):
    name: str
    parts: list[Inner]


class Shape(_Needed, total=False):
    share: float
    by_name: dict[str, list[int]]
    note: str | None


GOOD = {"name": "a", "parts": [{"count": 1}], "share": 1, "by_name": {"x": [1]}, "note": None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 1}, "name is 1, not text"),
        ({"name": None}, "name is None, not text"),
        ({"parts": {}}, "parts is {}, not a list"),
        ({"parts": [{"count": True}]}, "count is True, not a whole number"),
        ({"parts": [{"count": 1.0}]}, "count is 1.0, not a whole number"),
        ({"parts": [{"count": 10**30}]}, "not a whole number"),
        ({"parts": [{}]}, "lacks 'count'"),
        ({"parts": [3]}, "it holds 3, no object"),
        ({"share": float("nan")}, "share is nan, not a number"),
        ({"share": float("inf")}, "share is inf, not a number"),
        ({"share": "1"}, "share is '1', not a number"),
        ({"by_name": {"x": ["1"]}}, "by_name.x[0] is '1', not a whole number"),
        ({"note": []}, "note is [], not text"),
    ],
)
def test_a_record_that_lacks_its_shape_is_named_by_key(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert checked_record(GOOD, Shape, "r.json") == GOOD
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ScalingarError) as caught:
        read_record(path, Shape)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_keys_of_a_later_version_are_let_through_and_missing_ones_are_not() -> None:
    assert checked_record({**GOOD, "later": [1]}, Shape, "it")["later"] == [1]
    with pytest.raises(ScalingarError, match="lacks 'name'"):
        checked_record({"parts": []}, Shape, "it")
    with pytest.raises(ScalingarError, match="no object"):
        checked_record([1], Shape, "it")


def packed(table: pa.Table) -> pa.BufferReader:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return pa.BufferReader(sink.getvalue())


def test_a_table_is_read_whole_or_by_column_with_the_types_that_are_asked_for() -> None:
    table = pa.table({"a": pa.array([1, 2], pa.int64()), "b": ["x", None]})
    assert read_table(packed(table), "it").equals(table)
    assert read_table(packed(table), "it", ["b", "none"]).column_names == ["b"]
    assert with_columns(table, {"a": pa.int32()}, "it")["a"].type == pa.int32()
    with pytest.raises(ScalingarError, match="it is damaged: it lacks the column 'c'"):
        with_columns(table, {"c": pa.int32()}, "it")
    with pytest.raises(ScalingarError, match="it: 'b' is damaged"):
        with_columns(table, {"b": pa.int32()}, "it")
    with pytest.raises(ScalingarError, match="'a' is damaged"):
        with_columns(pa.table({"a": [2**40]}), {"a": pa.int32()}, "it")


def test_any_damage_to_a_table_is_one_sentence() -> None:
    whole = packed(pa.table({"a": list(range(100)), "b": ["x"] * 100})).read()
    for place in range(0, len(whole), 3):
        for data in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
            try:
                read_table(pa.BufferReader(data), "it")
            except ScalingarError as error:
                assert str(error).startswith("it") and len(str(error)) < 400


def test_a_small_file_that_unpacks_to_a_huge_table_is_refused_before_it_does() -> None:
    sink = pa.BufferOutputStream()
    block = pa.table({"a": pa.nulls(1 << 22, pa.int8())})
    with pq.ParquetWriter(sink, block.schema, compression="zstd") as writer:
        for _ in range(MAX_CELLS // (1 << 22) + 1):
            writer.write_table(block)
    data = sink.getvalue()
    assert len(data) < 1 << 20
    with pytest.raises(ScalingarError, match="unpacks to more than"):
        read_table(pa.BufferReader(data), "it")


def test_one_long_text_in_every_row_is_refused_before_it_is_written_out() -> None:
    indices = pa.array([0] * 400_000, pa.int32())
    table = pa.table({"a": pa.DictionaryArray.from_arrays(indices, ["x" * 100_000])})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, store_schema=False)
    data = sink.getvalue()
    assert len(data) < 1 << 20
    with pytest.raises(ScalingarError, match="unpacks to more than"):
        read_table(pa.BufferReader(data), "it")
