"""What makes a unit finished: a receipt, and files that match it and say what a unit's files say.

Every command asks here, so that all give the same verdict on the same folder. A unit is finished or
it is not: one whose files nobody can read would be missing from a comparison without a word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from scalingar_fw.config.identity import identity_of
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.documents import ReceiptFile, UnitFile
from scalingar_fw.experiments.layout import CANDIDATES, SCHEMA, STEPS, UNIT, Layout
from scalingar_fw.experiments.tables import check_candidates, check_steps
from scalingar_fw.files import sha256_of
from scalingar_fw.reading import checked_record, load_json, read_record, read_table

if TYPE_CHECKING:
    import pyarrow as pa

#: What a file of a unit may be called.
_IMAGE = re.compile(r"images/\d{1,9}-\d{1,20}-\d{1,9}\.png")


def read_receipt(layout: Layout, key: str) -> dict[str, Any]:
    """The receipt of a unit.

    Raises:
        ScalingarError: there is none, or it is not one of this unit.
    """
    path = layout.receipt(key)
    if not path.is_file():
        raise ScalingarError(f"{path} is missing")
    receipt = read_record(path, ReceiptFile)
    if receipt["key"] != key:
        raise ScalingarError(f"{path} is the receipt of another unit")
    if receipt["schema"] > SCHEMA:
        raise ScalingarError(f"{path} was written by a newer scalingar-fw")
    for name in (UNIT, CANDIDATES):
        if name not in receipt["files"]:
            raise ScalingarError(f"{path} is damaged: it does not list {name}")
    for name in receipt["files"]:
        if name not in (UNIT, CANDIDATES, STEPS) and not _IMAGE.fullmatch(name):
            raise ScalingarError(f"{path} is damaged: {name[:80]!r} is no file of a unit")
    if receipt["tokens"] < 0 or any(len(a) != 2 or a[0] < 1 for a in receipt["answers"].values()):
        raise ScalingarError(f"{path} is damaged: its counts are none")
    return receipt


def read_unit(layout: Layout, key: str, receipt: dict[str, Any]) -> dict[str, Any]:
    """The content of `unit.json`; `ScalingarError` where it is not what the unit's key says."""
    path = layout.unit(key) / UNIT
    text = file_bytes(layout, key, receipt, UNIT).decode("utf-8", errors="replace")
    content = checked_record(load_json(text, str(path)), UnitFile, str(path))
    config = content["config"]
    if content["key"] != key or identity_of(config) != key:
        raise ScalingarError(f"{path} is damaged: it is the configuration of another unit.")
    grid = content["grid"]
    if len(grid) != 2 or min(grid) < 1 or grid[0] * grid[1] != content["total_tokens"]:
        raise ScalingarError(f"{path} is damaged: grid={grid!r} is none.")
    if not config["items"] or config["n"] < 1:
        raise ScalingarError(f"{path} is damaged: it is a unit without candidates.")
    return content


def read_candidates(layout: Layout, key: str, receipt: dict[str, Any], unit: Any) -> pa.Table:
    """The table of candidates; `ScalingarError` where it is not one of this unit."""
    table = _table(layout, key, receipt, CANDIDATES)
    return check_candidates(table, unit, str(layout.unit(key) / CANDIDATES))


def read_steps(
    layout: Layout, key: str, receipt: dict[str, Any], columns: list[str] | None = None
) -> pa.Table:
    """The table of steps, or some of its columns."""
    table = _table(layout, key, receipt, STEPS, columns)
    return check_steps(table, str(layout.unit(key) / STEPS), whole=columns is None)


def _table(
    layout: Layout,
    key: str,
    receipt: dict[str, Any],
    name: str,
    columns: list[str] | None = None,
) -> pa.Table:
    import pyarrow as pa

    data = pa.BufferReader(file_bytes(layout, key, receipt, name))
    return read_table(data, str(layout.unit(key) / name), columns=columns)


def file_bytes(layout: Layout, key: str, receipt: dict[str, Any], name: str) -> bytes:
    """A file's content, which is what the receipt says, or a `ScalingarError`."""
    path = layout.unit(key) / name
    said = receipt["files"][name]
    why = _size_trouble(path, said)
    data = b"" if why else path.read_bytes()
    if why is None and hashlib.sha256(data).hexdigest() != said["sha256"]:
        why = f"{path} is not what its receipt says (sha256)"
    if why:
        raise ScalingarError(f"{why}.")
    return data


def _size_trouble(path: Path, said: dict[str, Any]) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != said["bytes"]:
        return f"{path} has {path.stat().st_size} bytes instead of {said['bytes']}"
    return None


def trouble(layout: Layout, key: str, deep: bool = True) -> str | None:
    """Why a unit is not finished, or None if it is.

    `deep` reads every file and compares its hash; otherwise the unit's configuration is read, and
    the sizes of the others must do.
    """
    try:
        receipt = read_receipt(layout, key)
        for name, said in receipt["files"].items():
            path = layout.unit(key) / name
            why = _size_trouble(path, said)
            if why is None and deep and sha256_of(path) != said["sha256"]:
                why = f"{path} is not what its receipt says (sha256)"
            if why is not None:
                return why
        unit = read_unit(layout, key, receipt)
        if deep:
            candidates = read_candidates(layout, key, receipt, unit)
            if STEPS in receipt["files"]:
                steps = read_steps(layout, key, receipt)
                lengths = sum(candidates["length"].to_pylist())
                if len(steps) != lengths:
                    path = layout.unit(key) / STEPS
                    return f"{path} is damaged: {len(steps)} steps, but lengths sum to {lengths}"
    except (ScalingarError, OSError) as error:
        return str(error).rstrip(".")
    return None


def content(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a unit's folder by their names in the receipt, in a fixed order."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield PurePosixPath(path.relative_to(folder)).as_posix(), path


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """What a receipt says of each file: sha256 and size in bytes."""
    return {
        name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for name, path in content(folder)
    }


__all__ = [
    "content",
    "describe_files",
    "file_bytes",
    "read_candidates",
    "read_receipt",
    "read_steps",
    "read_unit",
    "trouble",
]
