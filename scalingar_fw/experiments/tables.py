"""A unit's results as Parquet tables, and back: a row for each candidate, a row for each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalingar_fw.decoding.result import Status, Trajectory, frozen_array
from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import with_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from scalingar_fw.experiments.evaluate import ItemResult

#: Columns of `candidates.parquet`: name and Arrow type.
CANDIDATE_COLUMNS = {
    "unit": "string",
    "model": "string",
    "strategy": "string",
    "benchmark": "string",
    "split": "string",
    "n": "int32",
    "seed": "int64",
    "item": "int32",
    "task": "string",
    "cluster": "string",
    "replica": "int32",
    "prompt": "string",
    "candidate": "int32",
    "parent": "int32",
    "forked_at": "int32",
    "length": "int32",
    "tokens": "int32",
    "status": "string",
    "reason": "string",
    "chosen": "bool",
    "score": "float32",
    "oracle": "bool",
    "confidence": "float32",
    "recoveries": "int32",
}
#: Columns behind the means that runs of 0.1 do not have: there they are null.
LATER_COLUMNS = {"held_out": "bool", "controls": "numbers by name"}
#: Means over a candidate's steps: column and recorded signal.
MEANS = {
    "mean_log_prob_cond": "log_prob_cond",
    "mean_log_prob_uncond": "log_prob_uncond",
    "mean_log_prob_guided": "log_prob_guided",
    "mean_entropy": "entropy",
    "mean_margin": "margin",
    "mean_kl": "kl",
}
#: Columns of `steps.parquet` that are no signals; a signal with such a name is `signal.<name>`.
#: Reading adds `strategy` and `n`, which are the same for a whole unit.
STEP_INDEX = {
    "strategy": "string",
    "n": "int32",
    "item": "int32",
    "seed": "int64",
    "candidate": "int32",
    "step": "int32",
    "token": "int32",
}


def candidate_schema() -> pa.Schema:
    """The Arrow schema of `candidates.parquet`."""
    import pyarrow as pa

    columns = {**CANDIDATE_COLUMNS, **dict.fromkeys(MEANS, "float32"), **LATER_COLUMNS}
    return pa.schema([(name, _type(kind)) for name, kind in columns.items()])


def candidates_table(
    key: str, label: str, config: Mapping[str, Any], oracle: bool, results: Sequence[ItemResult]
) -> pa.Table:
    """One row for each candidate of a unit, in the order of items and candidate ids."""
    import pyarrow as pa

    rows = []
    for result in results:
        for place, t in enumerate(result.trajectories):
            score = float(result.scores[place])
            rows.append(
                {
                    "unit": key,
                    "model": config["model"],
                    "strategy": label,
                    "benchmark": config["benchmark"],
                    "split": config["split"],
                    "n": config["n"],
                    "seed": config["seed"],
                    "item": result.index,
                    "task": result.item.task,
                    "cluster": result.item.cluster,
                    "replica": result.item.replica,
                    "prompt": result.item.prompt.label,
                    "candidate": t.candidate,
                    "parent": t.parent,
                    "forked_at": t.forked_at,
                    "length": len(t),
                    "tokens": len(t) - t.forked_at,
                    "status": t.status.value,
                    "reason": t.reason,
                    "chosen": place == result.chosen,
                    "score": None if math.isnan(score) else score,
                    "oracle": oracle,
                    "confidence": _known(t.final("confidence")),
                    "recoveries": _recoveries(t),
                    **{name: _mean(t, signal) for name, signal in MEANS.items()},
                    "held_out": result.item.held_out,
                    "controls": [
                        (name, float(values[place]))
                        for name, values in result.controls.items()
                        if not math.isnan(values[place])
                    ],
                }
            )
    return pa.Table.from_pylist(rows, schema=candidate_schema())


def with_later_columns(table: pa.Table) -> pa.Table:
    """`table` with the columns that it lacks because an earlier version wrote it, null."""
    import pyarrow as pa

    schema = candidate_schema()
    for name in LATER_COLUMNS:
        if name not in table.column_names:
            table = table.append_column(
                schema.field(name), pa.nulls(len(table), schema.field(name).type)
            )
    return table


#: Columns of `candidates.parquet` that may be null.
_OPTIONAL = {"parent", "reason", "score", "confidence", *MEANS, *LATER_COLUMNS}


def check_candidates(table: pa.Table, unit: Mapping[str, Any], where: str) -> pa.Table:
    """`table` in the schema of `candidate_schema`, as read from a file.

    Args:
        table: what the file holds.
        unit: the content of `unit.json`.
        where: names the file in messages.

    Raises:
        ScalingarError: a column is missing, or the rows are not those of the unit's candidates.
    """
    import pyarrow.compute as pc

    table = with_columns(table, {f.name: f.type for f in candidate_schema()}, where, LATER_COLUMNS)
    for name in table.column_names:
        if name not in _OPTIONAL and table[name].null_count:
            raise ScalingarError(f"{where} is damaged: {name!r} is missing in some rows.")
    config = unit["config"]
    asked = {entry["item"] for entry in config["items"]}
    answers = table.filter(table["chosen"])["item"].to_pylist()
    whole = unit["total_tokens"]
    length, forked = table["length"].to_numpy(), table["forked_at"].to_numpy()
    score = pc.drop_null(table["score"]).to_numpy()
    wrong = (
        ("item", set(table["item"].to_pylist()) != asked),
        ("chosen", len(answers) != len(asked) or set(answers) != asked),
        ("n", (table["n"].to_numpy() != config["n"]).any()),
        ("seed", (table["seed"].to_numpy() != config["seed"]).any()),
        ("length", ((length < 0) | (length > whole)).any()),
        ("forked_at", ((forked < 0) | (forked > length)).any()),
        ("status", not set(table["status"].to_pylist()) <= {s.value for s in Status}),
        ("score", not np.isfinite(score).all()),
    )
    for name, fault in wrong:
        if fault:
            raise ScalingarError(f"{where} is damaged: {name!r} is not that of its unit.")
    return table


def check_steps(table: pa.Table, where: str, whole: bool = True) -> pa.Table:
    """`table` with the types of `steps_table`; `whole`: no column of the index may be missing."""
    import pyarrow as pa

    index = {k: pa.type_for_alias(v) for k, v in STEP_INDEX.items() if k not in ("strategy", "n")}
    signals = dict.fromkeys((c for c in table.column_names if c not in index), pa.float32())
    return with_columns(table, index | signals, where, () if whole else index)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _recoveries(t: Trajectory) -> int:
    """Flags of its own that a rebound cleared again (0 where no policy records them)."""
    flags = t.signals.get("recovered")
    return 0 if flags is None else int(np.nansum(flags[t.forked_at :]))


def _mean(t: Trajectory, signal: str) -> float | None:
    """The mean of a signal over all steps of the path, in float64; None where there is none."""
    values = t.signals.get(signal)
    return None if values is None or not len(values) else float(values.astype(np.float64).mean())


def steps_table(results: Sequence[ItemResult], seed: int) -> pa.Table:
    """One row for each candidate and step, shared steps of a fork included.

    A signal that a candidate does not have is null there; NaN is a recorded value.
    """
    import pyarrow as pa

    ts = [t for r in results for t in r.trajectories]
    lengths = [len(t) for t in ts]
    items = [r.index for r in results for _ in r.trajectories]
    columns: dict[str, Any] = {
        "item": pa.array(np.repeat(items, lengths), pa.int32()),
        "seed": pa.array(np.full(sum(lengths), seed), pa.int64()),
        "candidate": pa.array(np.repeat([t.candidate for t in ts], lengths), pa.int32()),
        "step": pa.array(_join([np.arange(n) for n in lengths]), pa.int32()),
        "token": pa.array(_join([t.tokens for t in ts]), pa.int32()),
    }
    for name in dict.fromkeys(name for t in ts for name in t.signals):
        values = _join([t.signals.get(name, np.zeros(len(t), np.float32)) for t in ts])
        absent = np.repeat([name not in t.signals for t in ts], lengths)
        mask = absent if absent.any() else None
        columns[step_column(name)] = pa.array(values, pa.float32(), mask=mask, from_pandas=False)
    return pa.table(columns)


def step_column(signal: str) -> str:
    """The column of a signal in `steps.parquet`."""
    return f"signal.{signal}" if signal in STEP_INDEX else signal


def signal_of(column: str) -> str:
    """The inverse of `step_column`."""
    return column.removeprefix("signal.")


def _join(arrays: list[Any]) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _type(kind: str) -> Any:
    import pyarrow as pa

    if kind == "numbers by name":
        return pa.map_(pa.string(), pa.float32())
    return pa.bool_() if kind == "bool" else pa.type_for_alias(kind)


def trajectories_of(
    rows: Sequence[Mapping[str, Any]], steps: Sequence[pa.Table]
) -> list[Trajectory]:
    """The trajectories of one item: `rows` of the candidates' table, `steps[i]` of candidate i.

    `prompt` is 0 in each: a pool is one prompt's.
    """
    out = []
    for row, table in zip(rows, steps, strict=True):
        if len(table) != row["length"]:
            raise ValueError(f"{len(table)} steps of a candidate with length {row['length']}")
        signals = {}
        for column in table.column_names:
            if column not in STEP_INDEX and not table[column].null_count:
                signals[signal_of(column)] = frozen_array(table[column].to_numpy())
        tokens = table["token"].to_numpy().astype(np.int64)
        out.append(
            Trajectory(
                prompt=0,
                candidate=row["candidate"],
                status=Status(row["status"]),
                reason=row["reason"],
                tokens=frozen_array(tokens),
                signals=signals if len(table) else {},
                parent=row["parent"],
                forked_at=row["forked_at"],
            )
        )
    return out
