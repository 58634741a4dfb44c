"""Where things lie in a store, and what makes a unit finished: its receipt, and files that match it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from scalingar_fw.errors import ScalingarError
from scalingar_fw.files import sha256_of

FORMAT = "scalingar-store"
#: Readers take this version and older ones; a change of a column's meaning raises it.
SCHEMA = 1

CANDIDATES, STEPS, UNIT = "candidates.parquet", "steps.parquet", "unit.json"


@frozen
class Layout:
    """The paths of a store at `root`."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "store.json"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.yaml"

    @property
    def labels(self) -> Path:
        """A file for each label: the strategy that it means in this store."""
        return self.root / "labels"

    @property
    def receipts(self) -> Path:
        return self.root / "receipts"

    @property
    def claims(self) -> Path:
        """Who is at work on which unit."""
        return self.root / "claims"

    @property
    def partial(self) -> Path:
        """What is being written: on the same file system, so that it can be renamed in."""
        return self.root / "partial"

    @property
    def scores(self) -> Path:
        """Judgements that came after the run, a file for each benchmark."""
        return self.root / "scores"

    @property
    def exports(self) -> Path:
        """What was laid out for official evaluators: which image is which candidate's."""
        return self.root / "exports"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    def unit(self, key: str) -> Path:
        return self.root / "units" / key[:2] / key

    def receipt(self, key: str) -> Path:
        return self.receipts / f"{key}.json"

    def keys(self) -> list[str]:
        """Keys with a receipt, sorted."""
        return sorted(p.stem for p in self.receipts.glob("*.json") if not p.name.startswith("."))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; `ScalingarError` names the file that holds none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScalingarError(f"{path} is damaged or missing: {error}.") from error
    if not isinstance(data, dict):
        raise ScalingarError(f"{path} is damaged: it holds no JSON object.")
    return data


def read_receipt(layout: Layout, key: str) -> dict[str, Any] | None:
    """The receipt of a unit, or None where there is none that can be read."""
    if not layout.receipt(key).is_file():
        return None
    try:
        receipt = read_json(layout.receipt(key))
    except ScalingarError:
        return None
    return receipt if isinstance(receipt.get("files"), dict) else None


def content(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a unit's folder by their names in the receipt, in a fixed order."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield path.relative_to(folder).as_posix(), path


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """What a receipt says of each file: sha256 and size in bytes."""
    return {
        name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for name, path in content(folder)
    }


def trouble(layout: Layout, key: str, deep: bool = True) -> str | None:
    """Why a unit is not finished, or None if it is.

    `deep` reads every file and compares its hash; otherwise sizes must do.
    """
    folder = layout.unit(key)
    receipt = read_receipt(layout, key)
    if receipt is None:
        return f"{layout.receipt(key)} is missing or damaged"
    for name, said in receipt["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != said.get("bytes"):
            return f"{path} has {path.stat().st_size} bytes instead of {said.get('bytes')}"
        if deep and sha256_of(path) != said.get("sha256"):
            return f"{path} is not what its receipt says (sha256)"
    return None
