"""Traces: every trajectory of a decode on disk, as Parquet that other tools read too.

`steps.parquet` has a row for each candidate and step with all signals, `trajectories.parquet` one
for each candidate, `prompts.parquet` one for each prompt; `manifest.json` says how they were made.
Nothing in a trace depends on the clock, so the same run gives the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from attrs import evolve, field, frozen

from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Ledger, Status, Trajectory, frozen_array
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError
from scalingar_fw.files import new_folder, sha256_of, write_json
from scalingar_fw.reading import checked_record, read_json, read_table, with_columns

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "scalingar-trace"
#: Readers take this version and older ones; a change of columns' meaning raises it.
SCHEMA = 1
MANIFEST = "manifest.json"
TABLES = ("steps.parquet", "trajectories.parquet", "prompts.parquet")
#: Columns that say which row it is; a signal with such a name is stored as `signal.<name>`.
_INDEX = ("prompt", "candidate", "step", "token")
#: Columns that may be null.
_OPTIONAL = ("reason", "parent", "text", "class_id", "negative")


class _Manifest(TypedDict):
    """What `manifest.json` must hold to be read."""

    grid: list[int]
    total_tokens: int
    n: int
    ledger: dict[str, int]
    signals: list[str]
    versions: dict[str, str]
    config: dict[str, Any]
    sha256: dict[str, str]


def library_versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    names = ("scalingar-fw", "torch", "numpy", "pyarrow", "pillow")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


@frozen(eq=False)
class Trace:
    """A decode with what made it; `read_trace` gives back what `write` wrote.

    `decoded.ledger` holds counts only: seconds and memory are in `run.json`.
    """

    decoded: Decoded = field(repr=False)
    config: RunConfig
    grid: Grid
    versions: Mapping[str, str] = field(factory=library_versions, repr=False)

    @property
    def prompts(self) -> Sequence[Prompt]:
        return self.decoded.prompts

    @property
    def trajectories(self) -> Sequence[Trajectory]:
        return self.decoded.trajectories

    @property
    def signals(self) -> list[str]:
        """Names of all recorded signals, in the order in which they were first recorded."""
        return list(dict.fromkeys(name for t in self.trajectories for name in t.signals))

    def steps(self) -> pa.Table:
        """One row for each candidate and step; `.to_pandas()` where pandas is installed.

        A signal that a candidate does not have is null there; NaN is a recorded value.
        """
        import pyarrow as pa

        ts = self.trajectories
        lengths = [len(t) for t in ts]
        columns: dict[str, Any] = {
            "prompt": pa.array(np.repeat([t.prompt for t in ts], lengths), pa.int32()),
            "candidate": pa.array(np.repeat([t.candidate for t in ts], lengths), pa.int32()),
            "step": pa.array(_join([np.arange(n) for n in lengths]), pa.int32()),
            "token": pa.array(_join([t.tokens for t in ts]), pa.int32()),
        }
        for name in self.signals:
            values = _join([t.signals.get(name, np.zeros(len(t), np.float32)) for t in ts])
            absent = np.repeat([name not in t.signals for t in ts], lengths)
            mask = absent if absent.any() else None
            columns[_column(name)] = pa.array(values, pa.float32(), mask=mask, from_pandas=False)
        return pa.table(columns)

    def write(self, folder: Path | str, overwrite: bool = False) -> Path:
        """Write the trace as `folder`, whole or not at all."""
        folder = Path(folder)
        with new_folder(folder, overwrite) as place:
            self.write_into(place)
        return folder

    def write_into(self, place: Path) -> None:
        """Write the trace's files into a folder that is there (and not yet anybody's result)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ts, decoded = self.trajectories, self.decoded
        places = set(decoded.chosen)
        trajectories = {
            "prompt": pa.array([t.prompt for t in ts], pa.int32()),
            "candidate": pa.array([t.candidate for t in ts], pa.int32()),
            "status": pa.array([t.status.value for t in ts], pa.string()),
            "reason": pa.array([t.reason for t in ts], pa.string()),
            "length": pa.array([len(t) for t in ts], pa.int32()),
            "parent": pa.array([t.parent for t in ts], pa.int32()),
            "forked_at": pa.array([t.forked_at for t in ts], pa.int32()),
            "chosen": pa.array([i in places for i in range(len(ts))], pa.bool_()),
            "signals": pa.array([list(t.signals) for t in ts], pa.list_(pa.string())),
        }
        prompts = {
            "prompt": pa.array(range(len(decoded.prompts)), pa.int32()),
            "text": pa.array([p.text for p in decoded.prompts], pa.string()),
            "class_id": pa.array([p.class_id for p in decoded.prompts], pa.int64()),
            "negative": pa.array([p.negative for p in decoded.prompts], pa.string()),
        }
        tables = (self.steps(), pa.table(trajectories), pa.table(prompts))
        for name, table in zip(TABLES, tables, strict=True):
            pq.write_table(table, place / name, compression="zstd")
        manifest = {
            "format": FORMAT,
            "schema": SCHEMA,
            "key": self.config.key(),
            "seed": self.config.seed,
            "model": {"name": self.config.model, "hash": self.config.model_hash},
            "grid": [self.grid.rows, self.grid.cols],
            "total_tokens": decoded.total_tokens,
            "n": decoded.n,
            "ledger": decoded.ledger.counts(),
            "signals": self.signals,
            "versions": dict(self.versions),
            "config": self.config.to_data(),
            "sha256": {name: sha256_of(place / name) for name in TABLES},
            "files": list(TABLES),
        }
        write_json(place / MANIFEST, manifest)


def _column(signal: str) -> str:
    return f"signal.{signal}" if signal in _INDEX else signal


def _join(arrays: list[Any]) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def read_trace(folder: Path | str) -> Trace:
    """The trace in `folder` (a trace's, or a run's that holds one).

    Raises:
        ScalingarError: it is damaged, no trace, or of a newer version; the message names the file.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file() and (folder / "trace" / MANIFEST).is_file():
        folder = folder / "trace"
    manifest = _manifest(folder)
    for name in TABLES:
        _check_hash(folder / name, manifest)
    source = folder / MANIFEST
    try:
        steps, trajectories, prompts = (_columns(folder / name) for name in TABLES)
        source = folder / TABLES[1]
        _check_rows(trajectories, len(prompts["prompt"]), manifest["total_tokens"], source)
        ts = _trajectories(steps, trajectories, manifest["signals"])
        source = folder / TABLES[2]
        names = ("text", "class_id", "negative")
        texts = tuple(Prompt(*row) for row in zip(*(prompts[k] for k in names), strict=True))
        source = folder / MANIFEST
        decoded = Decoded(
            prompts=texts,
            trajectories=ts,
            chosen=[i for i, chosen in enumerate(trajectories["chosen"]) if chosen],
            ledger=_counts(manifest["ledger"]),
            total_tokens=int(manifest["total_tokens"]),
            n=int(manifest["n"]),
        )
        config = RunConfig.from_data(manifest["config"], str(source))
        return Trace(decoded, config, Grid(*manifest["grid"]), manifest["versions"])
    except ScalingarError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScalingarError(
            f"{source} is damaged or foreign: {type(error).__name__}: {error}."
        ) from error


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ScalingarError(f"{folder} is no trace: it has no {MANIFEST}.")
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ScalingarError(f"{path} is no trace of scalingar: its format is not {FORMAT!r}.")
    schema = found.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ScalingarError(f"{path} is damaged: schema={schema!r} is no version.")
    if schema > SCHEMA:
        raise ScalingarError(
            f"{path} was written by a newer scalingar-fw (schema {schema}; this one reads up to "
            f"{SCHEMA}): upgrade to read it."
        )
    manifest = checked_record(found, _Manifest, str(path))
    rows_cols, total = manifest["grid"], manifest["total_tokens"]
    if len(rows_cols) != 2 or min(rows_cols) < 1 or rows_cols[0] * rows_cols[1] != total:
        raise ScalingarError(
            f"{path} is damaged: grid={rows_cols!r} is not that of {total} tokens."
        )
    return manifest


def _check_hash(path: Path, manifest: dict[str, Any]) -> None:
    if not path.is_file():
        raise ScalingarError(f"{path} is missing: the trace is incomplete.")
    if manifest["sha256"].get(path.name) != sha256_of(path):
        raise ScalingarError(f"{path} is damaged: its content is not what {MANIFEST} says.")


def _columns(path: Path) -> dict[str, Any]:
    """A table's columns: numpy arrays with a mask for numbers, lists for the rest."""
    import pyarrow as pa

    table = with_columns(read_table(path, str(path)), _kinds(path.name), str(path))
    for name in table.column_names:
        if name not in _OPTIONAL and name in _kinds(path.name) and table[name].null_count:
            raise ScalingarError(f"{path} is damaged: {name!r} is missing in some rows.")
    if path.name != TABLES[0]:
        return {name: table[name].to_pylist() for name in table.column_names}
    signals = {n: pa.float32() for n in table.column_names if n not in _INDEX}
    table = with_columns(table, signals, str(path))
    return {name: table[name].combine_chunks() for name in table.column_names}


def _check_rows(rows: dict[str, list[Any]], prompts: int, total: int, source: Path) -> None:
    """Refuse trajectories that are not those of a decode."""
    answers = [p for p, chosen in zip(rows["prompt"], rows["chosen"], strict=True) if chosen]
    spans = zip(rows["forked_at"], rows["length"], strict=True)
    wrong = (
        ("prompt", not set(rows["prompt"]) <= set(range(prompts))),
        ("chosen", answers != list(range(prompts))),
        ("length", not all(0 <= forked <= length <= total for forked, length in spans)),
        ("candidate", any(c < 0 for c in rows["candidate"])),
    )
    for name, fault in wrong:
        if fault:
            raise ScalingarError(f"{source} is damaged: {name!r} is not that of a decode.")


def _kinds(name: str) -> dict[str, Any]:
    """The columns that a table must have, with their types."""
    import pyarrow as pa

    if name == TABLES[0]:
        return dict.fromkeys(_INDEX, pa.int32())
    if name == TABLES[2]:
        texts = dict.fromkeys(("text", "negative"), pa.string())
        return {"prompt": pa.int32(), **texts, "class_id": pa.int64()}
    numbers = ("prompt", "candidate", "length", "parent", "forked_at")
    return {
        **dict.fromkeys(numbers, pa.int32()),
        "status": pa.string(),
        "reason": pa.string(),
        "chosen": pa.bool_(),
        "signals": pa.list_(pa.string()),
    }


def _trajectories(
    steps: dict[str, Any], table: dict[str, list[Any]], signals: Sequence[str]
) -> list[Trajectory]:
    tokens = steps["token"].to_numpy(zero_copy_only=False).astype(np.int64)
    values = {s: steps[_column(s)].fill_null(0.0).to_numpy() for s in signals}
    if sum(table["length"]) != len(tokens):
        raise ValueError(f"lengths sum to {sum(table['length'])}, but there are {len(tokens)} rows")
    out, start = [], 0
    for row in range(len(table["length"])):
        record = {name: column[row] for name, column in table.items()}
        span = slice(start, start := start + record["length"])
        out.append(
            Trajectory(
                prompt=record["prompt"],
                candidate=record["candidate"],
                status=Status(record["status"]),
                reason=record["reason"],
                tokens=frozen_array(tokens[span]),
                signals={s: frozen_array(values[s][span]) for s in record["signals"]},
                parent=record["parent"],
                forked_at=record["forked_at"],
            )
        )
    return out


def without_clock(decoded: Decoded) -> Decoded:
    """`decoded` with a ledger of counts alone: what does not depend on the machine's pace."""
    return evolve(decoded, ledger=_counts(decoded.ledger.counts()))


def _counts(counts: Mapping[str, Any]) -> Ledger:
    return Ledger(**{name: int(value) for name, value in counts.items()})  # type: ignore[arg-type]
