"""Files that somebody else may have written, as plain data: one bounded door for every format.

Whatever is read here is bounded before it is built: bytes, nodes, depth, and what YAML's aliases
or Parquet's encodings expand to. What a document must hold is a `TypedDict`, which `checked_record`
holds it against. Every fault is a `ScalingarError` of one sentence that names the file.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scalingar_fw.errors import ScalingarError, shown

if TYPE_CHECKING:
    import pyarrow as pa

#: A text file of more bytes is refused: a hundred times the largest that a sweep needs.
MAX_BYTES = 64 << 20
#: YAML takes a hundred times as long as JSON.
MAX_YAML_BYTES = 8 << 20
#: Scalars, lists and mappings of a document, aliases counted as often as they are used.
MAX_NODES = 200_000
#: Nested lists and mappings. A described strategy needs about ten.
MAX_DEPTH = 64
#: Digits of a number in YAML or JSON: conversion takes quadratic time.
MAX_DIGITS = 1000
#: Cells of a Parquet table: a column of equal values takes a few bytes, however long it is.
MAX_CELLS = 1 << 28
#: Bytes of a table in memory, where texts make it larger than its cells say.
MAX_TABLE_BYTES = 1 << 30


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        ScalingarError: it is no such file, or holds more than `limit` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:  # not by its size: a pipe has none, and /dev/zero no end
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise ScalingarError(f"{path} holds more than {limit >> 20} MiB, too much for a text file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScalingarError(f"{path} is not a text file in UTF-8: {error.reason}.") from error


def can_be_written(text: str) -> bool:
    """Whether a file in UTF-8 can hold it: arguments that were no text hold surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- YAML --------------------------------------------------------------------------------------


#: libyaml's parser where there is one, as in all published wheels: ten times as fast.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parser):  # type: ignore[misc]
    """YAML's safe subset; a key that is given twice is an error, not the last one, and so is a
    value that Python cannot make of its text."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._keys: dict[int, str] = {}  # what a node is the value of

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        number = node.tag.endswith((":int", ":float"))
        if number and isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_DIGITS:
            raise self._refused(node, f"a number of {len(node.value)} digits")
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # `!!int x`, `2026-13-01`: whatever the conversion meets
            kind = node.tag.rpartition(":")[2].rpartition("!")[2]
            raise self._refused(node, f"{shown(node.value, 60)} is no {kind}") from error

    def _refused(self, node: yaml.Node, why: str) -> yaml.YAMLError:
        key = self._keys.get(id(node))
        text = why if key is None else f"{key}: {why}"
        return yaml.constructor.ConstructorError(None, None, text, node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for key_node, value_node in pairs:
            if key_node.tag.endswith(":merge"):  # `<<: *other`: what stands here goes first
                continue
            key = self.construct_object(key_node, deep=True)
            self._keys[id(value_node)] = shown(key, 60).strip("'")
            if not isinstance(key, Hashable):
                continue  # refused below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{shown(key, 60)} is given twice", key_node.start_mark
                )
            seen.add(key)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def load_yaml(text: str, where: str) -> Any:
    """Plain data from YAML; `ScalingarError` names `where`, the line, and the key."""
    if len(text) > MAX_YAML_BYTES:
        raise ScalingarError(f"{where} holds more than {MAX_YAML_BYTES >> 20} MiB of YAML.")
    try:
        _check_yaml(text, where)
        return yaml.load(text, _Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ScalingarError(f"{where}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        first = str(error).strip().splitlines()[0][:200]
        raise ScalingarError(f"{where} is not valid YAML: {first}.") from error


def _check_yaml(text: str, where: str) -> None:
    """Refuse what would grow: the events are counted before anything is made of them."""
    sizes: dict[str, int] = {}  # by anchor: the nodes that an alias stands for
    open_: list[tuple[str | None, int]] = []  # anchors of what is open, with the count before it
    count = 0
    for event in yaml.parse(text, _Parser):
        line = f"{where}, line {event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            if event.anchor in (name for name, _ in open_):
                raise ScalingarError(f"{line}: *{event.anchor} refers to what it is a part of.")
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            open_.append((event.anchor, count))
            count += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if count > MAX_NODES:
            raise ScalingarError(f"{line}: more than {MAX_NODES} values, aliases included.")
        if len(open_) > MAX_DEPTH:
            raise ScalingarError(
                f"{line}: lists and mappings are nested more than {MAX_DEPTH} deep."
            )


# --- JSON --------------------------------------------------------------------------------------


def load_json(text: str, where: str) -> Any:
    """Plain data from JSON; `ScalingarError` names `where`."""
    try:
        data = json.loads(text, parse_int=_whole, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise ScalingarError(f"{where} is damaged or not JSON: {why}.") from error
    if "\\ud" in text.lower() and not can_be_written(json.dumps(data, ensure_ascii=False)):
        raise ScalingarError(f"{where} holds text that is not Unicode: half a pair of surrogates.")
    below: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        below = [v for part in below for v in _parts(part)]
        if not below:
            return data
    raise ScalingarError(f"{where}: lists and objects are nested more than {MAX_DEPTH} deep.")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice, 60)} is given twice")
    return out


def _parts(value: Any) -> Iterator[Any]:
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        yield from (v for v in parts if isinstance(v, (dict, list)))


def read_json(path: Path) -> Any:
    """The content of a JSON file; `ScalingarError` names the file that holds none."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ScalingarError(f"{path} is missing or cannot be read: {error.strerror}.") from error
    return load_json(text, str(path))


def read_record(path: Path, shape: type) -> dict[str, Any]:
    """The object in a JSON file, which has the shape of the `TypedDict` `shape`.

    Raises:
        ScalingarError: it cannot be read, or holds something else; names the file and the key.
    """
    return checked_record(read_json(path), shape, str(path))


def checked_record(data: Any, shape: type, where: str) -> dict[str, Any]:
    """`data`, an object that holds what a `TypedDict` says; keys beside those are let through, so
    that a later version may add some."""
    if not isinstance(data, dict):
        raise ScalingarError(f"{where} is damaged: it holds {_named(data)}, no object.")
    needed: frozenset[str] = shape.__required_keys__  # type: ignore[attr-defined]
    for name, hint in typing.get_type_hints(shape).items():
        if name in data:
            _check(data[name], hint, name, where)
        elif name in needed:
            raise ScalingarError(f"{where} is damaged: it lacks {name!r}.")
    return data


def _check(value: Any, hint: Any, name: str, where: str) -> None:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # `X | None`
        if value is not None:
            _check(value, next(a for a in arguments if a is not type(None)), name, where)
    elif typing.is_typeddict(hint):
        checked_record(value, hint, f"{where}: {name}")
    elif origin is list:
        _need(isinstance(value, list), value, "a list", name, where)
        for place, part in enumerate(value):
            _check(part, arguments[0], f"{name}[{place}]", where)
    elif origin is dict:
        _need(isinstance(value, dict), value, "an object", name, where)
        for key, part in value.items():
            _check(part, arguments[1], f"{name}.{key}", where)
    elif hint is float:
        holds = isinstance(value, (int, float)) and not isinstance(value, bool)
        _need(holds and abs(value) < 1e300, value, "a number", name, where)
    elif hint is int:
        holds = isinstance(value, int) and not isinstance(value, bool)
        _need(holds and abs(value) < 2**64, value, "a whole number", name, where)
    elif hint is not Any:
        _need(isinstance(value, hint), value, _WORDS[hint], name, where)


_WORDS = {str: "text", bool: "true or false"}


def _need(holds: bool, value: Any, wanted: str, name: str, where: str) -> None:
    if not holds:
        raise ScalingarError(
            f"{where} is damaged: {shown(name, 80)[1:-1]} is {shown(value, 60)}, not {wanted}."
        )


def _named(value: Any) -> str:
    return "a list" if isinstance(value, list) else shown(value, 60)


# --- Parquet -----------------------------------------------------------------------------------


@contextmanager
def _damage(where: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except ScalingarError:
        raise
    # Arrow's own errors, and those of Python that it raises for what it cannot represent.
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ScalingarError(f"{where} is damaged: {first}.") from error


def _unpacked(file: Any, columns: list[str] | None, where: str) -> pa.Table:
    """The table in the file, refused before it grows: what a column unpacks to, its size in the
    file does not say."""
    import pyarrow as pa

    meta = file.metadata
    chunks = [
        meta.row_group(group).column(column)
        for group in range(meta.num_row_groups)
        for column in range(meta.num_columns)
    ]
    if max(meta.num_rows, sum(chunk.num_values for chunk in chunks)) > MAX_CELLS:
        raise ScalingarError(
            f"{where} unpacks to more than {MAX_CELLS} cells: it is no table here."
        )
    # A text that stands there once may be meant by every row.
    texts = [c for c in chunks if "BYTE" in c.physical_type]
    bound = sum(c.num_values * c.total_uncompressed_size for c in texts)
    if bound <= MAX_TABLE_BYTES:
        return file.read(columns=columns, use_threads=False)
    batches, size = [], 0
    for batch in file.iter_batches(256, columns=columns, use_threads=False):
        batches.append(batch)
        size += batch.nbytes
        if size > MAX_TABLE_BYTES:
            raise ScalingarError(f"{where} unpacks to more than {MAX_TABLE_BYTES >> 30} GiB.")
    return pa.Table.from_batches(batches, batches[0].schema if batches else None).combine_chunks()


def read_table(source: Any, where: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet table.

    Args:
        source: a path, or a buffer of the file's bytes.
        where: names it in messages.
        columns: read these alone; those that the file lacks are left out.

    Raises:
        ScalingarError: it is damaged, or too large to be unpacked.
    """
    import pyarrow.parquet as pq

    with _damage(where):
        file = pq.ParquetFile(source)
        there = set(file.schema_arrow.names)
        if len(there) < len(file.schema_arrow.names):
            raise ScalingarError(f"{where} is damaged: a column is there twice.")
        wanted = None if columns is None else [c for c in columns if c in there]
        table = _unpacked(file, wanted, where)
        table.validate(full=True)
        return table


def with_columns(
    table: pa.Table, kinds: Mapping[str, Any], where: str, optional: Collection[str] = ()
) -> pa.Table:
    """`table` with the types of `kinds`; one that is there in another is converted, if nothing is
    lost by it.

    Raises:
        ScalingarError: a column that is not `optional` is missing, or holds something else.
    """
    for name, kind in kinds.items():
        if name not in table.column_names:
            if name in optional:
                continue
            raise ScalingarError(f"{where} is damaged: it lacks the column {name!r}.")
        column = table[name]
        if column.type.equals(kind):
            continue
        with _damage(f"{where}: {name!r}"):
            column = column.cast(kind)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


__all__ = [
    "can_be_written",
    "checked_record",
    "load_json",
    "load_yaml",
    "read_json",
    "read_record",
    "read_table",
    "read_text",
    "with_columns",
]
