"""Reading a store: finished units, their tables, and the trajectories rebuilt from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import frozen

from scalingar_fw.config.identity import identity_of
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.condition import (
    file_bytes,
    read_candidates,
    read_receipt,
    read_steps,
    read_unit,
    trouble,
)
from scalingar_fw.experiments.documents import LabelFile, ManifestFile
from scalingar_fw.experiments.layout import FORMAT, SCHEMA, STEPS, Layout
from scalingar_fw.experiments.scores import read_scores, with_scores
from scalingar_fw.experiments.tables import (
    STEP_INDEX,
    candidate_schema,
    trajectories_of,
    with_later_columns,
)
from scalingar_fw.reading import read_record

if TYPE_CHECKING:
    import pyarrow as pa

_REDO = "run `scalingar bench` on this folder again, which sets it aside and redoes it"


@frozen(eq=False)
class UnitRecord:
    """A finished unit: one strategy, n and seed over a block of items.

    `config`: all that its content follows from, as in `unit.json`; `ledger`, `flops`: counts of
    the unit as a whole; `receipt`: sizes, hashes, seconds by phase, peak memory, who and when.
    """

    key: str
    label: str
    model: str
    n: int
    seed: int
    config: dict[str, Any] = attrs.field(repr=False)
    ledger: dict[str, int] = attrs.field(repr=False)
    flops: dict[str, float] = attrs.field(repr=False)
    receipt: dict[str, Any] = attrs.field(repr=False)
    content: dict[str, Any] = attrs.field(repr=False)

    @property
    def items(self) -> list[int]:
        """Its items' places in the benchmark's split."""
        return [item["item"] for item in self.config["items"]]


@frozen(eq=False)
class StoredPool:
    """One item's candidates under one strategy, n and seed.

    `scores [K]`: NaN where a candidate was not completed. `chosen`: index into `trajectories`.
    """

    item: int
    seed: int
    prompt: Prompt
    task: str
    cluster: str
    trajectories: Sequence[Trajectory]
    scores: Array
    chosen: int
    n: int


def strategy_content(strategy: Mapping[str, Any]) -> str:
    """A described strategy's identity, labels left out: equal text is the same method."""
    return identity_of({"strategy": strategy})


def open_store(path: Path | str) -> Store:
    """The store in the folder `path`.

    Raises:
        ScalingarError: there is none, or it was written by a newer version.
    """
    layout = Layout(Path(path))
    if not layout.manifest.is_file():
        raise ScalingarError(
            f"{layout.root} holds no experiment (no {layout.manifest.name}): name the --out folder "
            "of a `scalingar bench`."
        )
    manifest = read_record(layout.manifest, ManifestFile)
    if manifest["format"] != FORMAT:
        raise ScalingarError(f"{layout.manifest} is not of format {FORMAT!r}.")
    schema = manifest["schema"]
    if schema < 1:
        raise ScalingarError(f"{layout.manifest} is damaged: schema={schema!r} is no version.")
    if schema > SCHEMA:
        raise ScalingarError(
            f"{layout.root} was written by a newer scalingar-fw (schema {schema}; this one reads "
            f"up to {SCHEMA}): upgrade to read it."
        )
    return Store(layout)


class Store:
    """What a sweep has finished so far, read when it is asked for.

    A unit counts if its receipt exists and its files match it; a damaged one is an error that names
    it, never a smaller result.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def path(self) -> Path:
        return self.layout.root

    @cached_property
    def _labels(self) -> dict[str, list[str]]:
        """Labels by the content of the strategy that they mean."""
        out: dict[str, list[str]] = {}
        for path in sorted(self.layout.labels.glob("*.json")):
            known = read_record(path, LabelFile)
            out.setdefault(strategy_content(known["strategy"]), []).append(known["label"])
        return out

    @cached_property
    def _units(self) -> list[UnitRecord]:
        found = [r for key in self.layout.keys() for r in self._read(key)]
        return sorted(_without_repeats(found), key=lambda u: (u.label, u.n, u.seed, u.items))

    def _read(self, key: str) -> Iterator[UnitRecord]:
        with self._damage(key):
            receipt = read_receipt(self.layout, key)
            why = trouble(self.layout, key, deep=False)
            if why is not None:
                raise ScalingarError(f"{why}.")
            content = read_unit(self.layout, key, receipt)
        config = content["config"]
        # Two labels may mean the same strategy: the unit is done once and counts for both.
        for label in self._labels.get(strategy_content(config["strategy"]), [content["label"]]):
            yield UnitRecord(
                key=key,
                label=label,
                model=config["model"],
                n=config["n"],
                seed=config["seed"],
                config=config,
                ledger=content["ledger"],
                flops=content.get("flops", {}),
                receipt=receipt,
                content=content,
            )

    @contextlib.contextmanager
    def _damage(self, key: str) -> Iterator[None]:
        """Damage in the block is the unit's, and has a way out."""
        try:
            yield
        except (ScalingarError, OSError) as error:
            why = str(error).rstrip(".")
            raise ScalingarError(f"Unit {key[:12]} is damaged: {why}: {_REDO}.") from error

    def file(self, unit: UnitRecord, name: str) -> bytes:
        """The content of one of a unit's files, by its name in the receipt; never a damaged one."""
        with self._damage(unit.key):
            return file_bytes(self.layout, unit.key, unit.receipt, name)

    def units(self, label: str | None = None) -> list[UnitRecord]:
        """Finished units by label, n, seed and items; of one label where it is given."""
        if label is None:
            return list(self._units)
        found = [u for u in self._units if u.label == label]
        if not found:
            raise unknown_name(f"strategy in {self.path}", label, self.labels())
        return found

    def labels(self) -> list[str]:
        """The labels of strategies that have at least one finished unit."""
        return sorted({u.label for u in self._units})

    def _candidates(self, unit: UnitRecord) -> pa.Table:
        with self._damage(unit.key):
            return read_candidates(self.layout, unit.key, unit.receipt, unit.content)

    def _steps(self, unit: UnitRecord, columns: list[str] | None = None) -> pa.Table:
        if STEPS not in unit.receipt["files"]:
            raise ScalingarError(
                f"{self.path} holds no steps: they are recorded with `record: true` (--record)."
            )
        with self._damage(unit.key):
            return read_steps(self.layout, unit.key, unit.receipt, columns)

    def candidates(self, label: str | None = None) -> pa.Table:
        """A row for each candidate, ordered by (strategy, n, seed, item, candidate).

        Scores that were imported or made after the run stand in the place of the unit's own.
        """
        import pyarrow as pa

        tables = [
            _labelled(with_later_columns(self._candidates(u)), u.label) for u in self.units(label)
        ]
        if not tables:
            return candidate_schema().empty_table()
        order = [(c, "ascending") for c in ("strategy", "n", "seed", "item", "candidate")]
        whole = pa.concat_tables(tables).sort_by(order).combine_chunks()
        return with_scores(whole, read_scores(self.layout))

    def steps(self, label: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """A row for each candidate and step, in the candidates' order: `strategy`, `n`, and what
        `steps.parquet` holds. `columns`: these alone; one that nothing recorded is an error.

        A signal that a strategy does not record is null in its rows.
        """
        import pyarrow as pa

        order = ("strategy", "n", "seed", "item", "candidate", "step")
        # The order's columns are read in any case.
        wanted = None if columns is None else [*dict.fromkeys((*order[2:], *columns))]
        tables = []
        for unit in self.units(label):
            table = self._steps(unit, wanted)
            table = table.add_column(0, "n", pa.array(np.full(len(table), unit.n), pa.int32()))
            labels = pa.repeat(pa.scalar(unit.label), len(table))
            tables.append(table.add_column(0, "strategy", labels))
        if not tables:
            empty = {
                name: pa.array([], pa.type_for_alias(kind)) for name, kind in STEP_INDEX.items()
            }
            tables = [pa.table(empty)]
        whole = pa.concat_tables(tables, promote_options="default")
        whole = whole.sort_by([(c, "ascending") for c in order])
        if columns is not None:
            for column in columns:
                if column not in whole.column_names:
                    everything = self.steps(label).column_names
                    raise unknown_name(f"column of the steps in {self.path}", column, everything)
            whole = whole.select(list(columns))
        return whole.combine_chunks()

    def trajectories(
        self, label: str, n: int | None = None, seed: int | None = None
    ) -> list[StoredPool]:
        """The candidates of each item, rebuilt, ordered by (n, seed, item).

        Raises:
            ScalingarError: steps were not recorded, or there is no such label, n or seed.
        """
        units = self.units(label)
        for name, value in (("n", n), ("seed", seed)):
            known = {getattr(u, name) for u in units}
            if value is not None and value not in known:
                raise unknown_name(
                    f"{name} of {label!r} in {self.path}", str(value), map(str, known)
                )
        pools: list[StoredPool] = []
        judged = read_scores(self.layout)
        for unit in units:
            if n in (None, unit.n) and seed in (None, unit.seed):
                pools += self._pools(unit, judged)
        return sorted(pools, key=lambda p: (p.n, p.seed, p.item))

    def _pools(self, unit: UnitRecord, judged: pa.Table) -> Iterator[StoredPool]:
        rows = with_scores(self._candidates(unit), judged).to_pylist()
        steps = self._steps(unit)
        ends = np.cumsum([row["length"] for row in rows])
        if int(ends[-1]) != len(steps):
            raise ScalingarError(
                f"Unit {unit.key[:12]} is damaged: {len(steps)} steps, but lengths sum to "
                f"{ends[-1]}: {_REDO}."
            )
        for entry in unit.config["items"]:
            places = [i for i, row in enumerate(rows) if row["item"] == entry["item"]]
            mine = [rows[i] for i in places]
            parts = [steps.slice(ends[i] - rows[i]["length"], rows[i]["length"]) for i in places]
            scores = [np.nan if row["score"] is None else row["score"] for row in mine]
            yield StoredPool(
                item=entry["item"],
                seed=unit.seed,
                prompt=Prompt(entry["text"], entry["class_id"], entry["negative"]),
                task=entry["task"],
                cluster=entry["cluster"],
                trajectories=trajectories_of(mine, parts),
                scores=np.array(scores),
                chosen=next(i for i, row in enumerate(mine) if row["chosen"]),
                n=unit.n,
            )

    def grid(self, label: str) -> Grid:
        """The model's token grid."""
        return Grid(*self.units(label)[0].content["grid"])

    def sampling(self, label: str) -> Sampling:
        """How tokens were drawn."""
        return Sampling(**self.units(label)[0].config["sampling"])

    def verify(self) -> list[tuple[str, str]]:
        """Keys of units that are damaged, each with why; every file is read."""
        found = ((key, trouble(self.layout, key)) for key in self.layout.keys())
        return [(key, why) for key, why in found if why is not None]


def _labelled(table: pa.Table, label: str) -> pa.Table:
    import pyarrow as pa

    place = table.column_names.index("strategy")
    return table.set_column(place, "strategy", pa.repeat(pa.scalar(label), len(table)))


def _without_repeats(units: Sequence[UnitRecord]) -> list[UnitRecord]:
    """Each (label, n, seed, item) once.

    A sweep that was amended by a larger `limit` has the last block of the smaller one again, as a
    part of a longer block: the longer one counts.
    """
    kept: list[UnitRecord] = []
    seen: set[tuple[str, int, int, int]] = set()
    for unit in sorted(units, key=lambda u: (-len(u.items), u.key)):
        cells = {(unit.label, unit.n, unit.seed, item) for item in unit.items}
        if not cells & seen:
            seen |= cells
            kept.append(unit)
    return kept


__all__ = ["Store", "StoredPool", "UnitRecord", "open_store", "strategy_content"]
