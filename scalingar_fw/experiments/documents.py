"""What the JSON files of a store hold; a reader may meet more keys, never fewer or others.

`reading.checked_record` holds files against these. What text alone says (`sampling`, `strategy`) is
checked where it becomes an object.
"""

from __future__ import annotations

from typing import Any, TypedDict


class _Manifest(TypedDict):
    format: str
    schema: int


class ManifestFile(_Manifest, total=False):
    """`store.json`; `frame`: what all units have in common, once the first sweep said it."""

    frame: dict[str, Any]


class LabelFile(TypedDict):
    """`labels/*.json`: the strategy that a label means."""

    label: str
    strategy: dict[str, Any]


class FileEntry(TypedDict):
    """What a receipt says of a file."""

    sha256: str
    bytes: int


class _Receipt(TypedDict):
    schema: int
    key: str
    files: dict[str, FileEntry]
    rows: dict[str, int]
    tokens: int
    answers: dict[str, list[float]]


class ReceiptFile(_Receipt, total=False):
    """`receipts/*.json`; what only the clock says may be missing."""

    seconds: dict[str, float]
    wall_seconds: float
    peak_bytes: int
    when: str
    executor: str
    worker: str


class ItemEntry(TypedDict):
    """An item of a unit, with its place in the split."""

    item: int
    text: str
    class_id: int | None
    negative: str | None
    task: str
    cluster: str
    replica: int


class _UnitConfig(TypedDict):
    model: str
    model_hash: str
    sampling: dict[str, float]
    device: str
    dtype: str
    benchmark: str
    split: str
    record: bool
    images: str
    strategy: dict[str, Any]
    n: int
    seed: int
    items: list[ItemEntry]


class UnitConfig(_UnitConfig, total=False):
    """All that a unit's content follows from."""

    version: int
    threads: int
    scorer: str


class LedgerEntry(TypedDict):
    """The counts of a unit that its costs are made of."""

    tokens: int
    prefill_rows: int
    decode_rows: int
    model_calls: int


class _Unit(TypedDict):
    schema: int
    key: str
    label: str
    config: UnitConfig
    grid: list[int]
    total_tokens: int
    oracle: bool
    ledger: LedgerEntry


class UnitFile(_Unit, total=False):
    """`unit.json`."""

    flops: dict[str, float]


class ClaimFile(TypedDict):
    """`claims/*.json`: the process that is at work."""

    host: str
    pid: int
    started: str | None


class ExportEntry(TypedDict):
    """The candidate whose image was exported."""

    unit: str
    item: int
    seed: int
    candidate: int


class ExportFile(TypedDict):
    """The manifest of an export for an official evaluator."""

    format: str
    benchmark: str
    split: str
    strategy: str
    n: int
    name: str
    images: dict[str, ExportEntry]
