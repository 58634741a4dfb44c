"""What is compared: an arm is a strategy at one n, with each item's outcome under each seed.

Pure functions over a store's candidates and unit records; nothing here draws a conclusion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, evolve, field, frozen

from scalingar_fw.decoding.result import Array, Status
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.tables import MEANS

if TYPE_CHECKING:
    import pyarrow as pa

    from scalingar_fw.benchmark import Item
    from scalingar_fw.experiments import Store, UnitRecord

#: A cell of a comparison: an item of the split, under a seed.
Key = tuple[int, int]

#: Signals of a candidate that tables know, and their columns; of a "-" the sign is turned, so that
#: higher means surer.
SIGNALS = {"-" * (c == "mean_entropy") + c: c for c in ("confidence", *MEANS)}


@frozen(eq=False)
class Cell:
    """One item's candidates under one arm and seed.

    `score`, `confidence`: of the answer, the latter NaN where none was recorded. `scores [K]`: NaN
    where a candidate was not completed. `signals`, `controls`: by name `[K]`, NaN where nothing was
    recorded; controls are the benchmark's crude numbers (`scalingar_fw.benchmark.Controls`).
    `ended`: candidates by status. `held_out`: whether what is asked for was kept from training.
    """

    prompt: str
    task: str
    cluster: str
    score: float
    confidence: float
    tokens: int
    recoveries: int
    ended: Mapping[str, int]
    forks: int
    scores: Array
    signals: Mapping[str, Array]
    controls: Mapping[str, Array] = field(factory=dict)
    held_out: bool | None = None


@define(eq=False)
class Arm:
    """A strategy at one n.

    `config`: of its units, all that its content follows from. `units`: what they cost. `scale`:
    the lowest and highest guidance scale, where steps were recorded.
    """

    label: str
    n: int
    oracle: bool
    config: Mapping[str, Any] = field(repr=False)
    total: int  # T
    cells: dict[Key, Cell] = field(factory=dict, repr=False)
    units: list[UnitRecord] = field(factory=list, repr=False)
    source: str = ""
    scale: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """How notes call it."""
        return f"{self.label} (n={self.n})"

    @property
    def strategy(self) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self.config["strategy"]
        return described

    def part(self, kind: str) -> str:
        """The short name of a part: "quantile"."""
        part = self.strategy.get(kind)
        name = part.get("name", "") if isinstance(part, Mapping) else ""
        return str(name).rsplit("/", 1)[-1]


def cells_of(table: pa.Table) -> dict[tuple[str, int], tuple[bool, dict[Key, Cell]]]:
    """Cells by (strategy, n), and whether it is an oracle, from a table of candidates.

    Raises:
        ScalingarError: an answer has no score yet.
    """
    names = [
        "strategy", "n", "seed", "item", "task", "cluster", "prompt", "candidate", "parent",
        "tokens", "status", "chosen", "score", "oracle", "recoveries", "held_out", "controls",
        *SIGNALS.values(),
    ]  # fmt: skip
    columns = {name: table[name].to_pylist() for name in names}
    groups: dict[tuple[str, int, int, int], list[int]] = {}
    for row in range(len(table)):
        where = tuple(columns[k][row] for k in ("strategy", "n", "item", "seed"))
        groups.setdefault(where, []).append(row)
    out: dict[tuple[str, int], tuple[bool, dict[Key, Cell]]] = {}
    for (label, n, item, seed), rows in groups.items():
        rows = sorted(rows, key=lambda row: columns["candidate"][row])
        oracle = bool(columns["oracle"][rows[0]])
        out.setdefault((label, n), (oracle, {}))[1][item, seed] = _cell(columns, rows)
    return out


def _cell(columns: Mapping[str, list[Any]], rows: Sequence[int]) -> Cell:
    def number(name: str, row: int) -> float:
        value = columns[name][row]
        return math.nan if value is None else float(value)

    first = rows[0]
    answers = [row for row in rows if columns["chosen"][row]]
    score = number("score", answers[0]) if answers else math.nan
    if math.isnan(score):
        raise ScalingarError(
            f"The answer to {columns['prompt'][first]!r} by {columns['strategy'][first]!r} has no "
            "score yet: score the run (`scalingar score`), or import the official evaluator's "
            "results (`scalingar import`)."
        )
    statuses = [columns["status"][row] for row in rows]
    signals = {}
    for name, column in SIGNALS.items():
        sign = -1.0 if name.startswith("-") else 1.0
        signals[name] = sign * np.array([number(column, row) for row in rows])
    seen = [dict(columns["controls"][row] or ()) for row in rows]
    controls = {
        name: np.array([known.get(name, math.nan) for known in seen])
        for name in dict.fromkeys(name for known in seen for name in known)
    }
    return Cell(
        prompt=columns["prompt"][first],
        task=columns["task"][first],
        cluster=columns["cluster"][first],
        score=score,
        confidence=number("confidence", answers[0]),
        tokens=sum(columns["tokens"][row] for row in rows),
        recoveries=sum(columns["recoveries"][row] or 0 for row in rows),
        ended={s: statuses.count(s) for s in dict.fromkeys(statuses)},
        forks=sum(columns["parent"][row] is not None for row in rows),
        scores=np.array([number("score", row) for row in rows]),
        signals=signals,
        controls=controls,
        held_out=columns["held_out"][first],
    )


def complete(cells: Iterable[Cell]) -> bool:
    """Whether every candidate of every cell was decoded to its end, by itself."""
    done = Status.COMPLETED.value
    return all(set(c.ended) == {done} and not c.forks for c in cells)


def judged(cells: Iterable[Cell]) -> bool:
    """Whether every candidate has a score, not the answers alone (as official evaluators give)."""
    return all(np.isfinite(c.scores).all() for c in cells)


def oracle_of(arm: Arm) -> Arm:
    """What the judge itself would pick of an arm's candidates, all of them judged: an upper bound,
    and no method."""
    cells = {k: evolve(c, score=float(np.nanmax(c.scores))) for k, c in arm.cells.items()}
    return evolve(arm, label=f"oracle of {arm.label}", oracle=True, cells=cells)


def arms_of(store: Store) -> list[Arm]:
    """The arms of one store, in the order of its labels and n."""
    found = cells_of(store.candidates())
    units: dict[tuple[str, int], list[UnitRecord]] = {}
    for unit in store.units():
        units.setdefault((unit.label, unit.n), []).append(unit)
    return [
        Arm(
            label=label,
            n=n,
            oracle=oracle,
            config=units[label, n][0].config,
            total=int(units[label, n][0].content["total_tokens"]),
            cells=cells,
            units=units[label, n],
            source=Path(store.path).name,
            scale=_scales(store, label, n) if _recorded(units[label, n]) else None,
        )
        for (label, n), (oracle, cells) in found.items()
    ]


def _recorded(units: Sequence[UnitRecord]) -> bool:
    """Whether the steps of units with a schedule were kept (no others are read for it)."""
    guidance = units[0].config["strategy"].get("guidance", {}).get("name", "")
    moving = not str(guidance).endswith("/constant")
    return moving and all(u.config["record"] for u in units)


def _scales(store: Store, label: str, n: int) -> tuple[float, float]:
    import pyarrow.compute as pc

    steps = store.steps(label, columns=["n", "scale"])
    bounds = pc.min_max(steps.filter(pc.equal(steps["n"], n))["scale"]).as_py()
    return float(bounds["min"]), float(bounds["max"])


def _identity(arm: Arm) -> str:
    """What makes two arms the same method under the same conditions."""
    from scalingar_fw.config.identity import identity_of

    same = ("version", "model", "model_hash", "sampling", "dtype", "scorer")
    frame = {k: arm.config.get(k) for k in same}
    return identity_of({**frame, "strategy": arm.strategy, "n": arm.n})


def merged(runs: Sequence[Sequence[Arm]]) -> list[Arm]:
    """The arms of several runs. The same strategy under the same conditions is one arm, with the
    cells of all; a label that means different things is told apart by its run's folder."""
    out: list[Arm] = []
    for arms in runs:
        for arm in arms:
            twin = next((a for a in out if _twins(a, arm)), None)
            if twin is None:
                out.append(arm)
                continue
            fresh = set(arm.cells) - set(twin.cells)
            twin.cells.update({k: arm.cells[k] for k in fresh})
            twin.units += [u for u in arm.units if u.key not in {v.key for v in twin.units}]
    clashing = {
        (a.label, a.n) for a in out if sum((b.label, b.n) == (a.label, a.n) for b in out) > 1
    }
    for arm in out:
        if (arm.label, arm.n) in clashing:
            arm.label = f"{arm.label} [{arm.source}]"
    return out


def with_held_out(arms: Sequence[Arm], items: Sequence[Item]) -> None:
    """Say of the cells of runs that did not record it whether they are held out, from the split's
    items: where the item has the same prompt still."""
    for arm in arms:
        for (place, seed), cell in arm.cells.items():
            known = cell.held_out is not None or place >= len(items)
            if not known and items[place].prompt.label == cell.prompt:
                arm.cells[place, seed] = evolve(cell, held_out=items[place].held_out)


def _twins(one: Arm, other: Arm) -> bool:
    return one.label == other.label and _identity(one) == _identity(other)


def load_arms(paths: Sequence[Path], split: str | None = None) -> tuple[list[Arm], str, str]:
    """The arms of the runs at `paths`, their benchmark and split.

    Raises:
        ScalingarError: nothing is finished there, or the runs are of several splits.
    """
    from scalingar_fw.experiments import open_store

    stores = [open_store(path) for path in paths]
    found = [arms_of(store) for store in stores]
    places = dict.fromkeys(
        (a.config["benchmark"], a.config["split"]) for arms in found for a in arms
    )
    if not places:
        raise ScalingarError(
            f"Nothing is finished in {', '.join(map(str, paths))}: `scalingar bench` goes on where "
            "it stopped."
        )
    if split is not None:
        if split not in [s for _, s in places]:
            raise unknown_name("split of these runs", split, [s for _, s in places])
        places = {(b, s): None for b, s in places if s == split}
    if len(places) > 1:
        names = ", ".join(f"{b}/{s}" for b, s in places)
        raise ScalingarError(
            f"These runs are of several splits ({names}): compare one at a time (--split)."
        )
    (benchmark, chosen) = next(iter(places))
    kept = [
        [a for a in arms if (a.config["benchmark"], a.config["split"]) == (benchmark, chosen)]
        for arms in found
    ]
    return merged(kept), benchmark, chosen


def in_common(arms: Sequence[Arm]) -> list[Key]:
    """The cells that every arm has, sorted.

    Raises:
        ScalingarError: there is none, or a cell is not the same prompt in all.
    """
    keys = set.intersection(*(set(a.cells) for a in arms)) if arms else set()
    if not keys:
        counts = ", ".join(f"{a.name}: {len(a.cells)}" for a in arms)
        raise ScalingarError(
            f"No item was done by every strategy under the same seed ({counts} cells): finish the "
            "runs, or compare fewer of them."
        )
    for key in keys:
        prompts = {a.cells[key].prompt for a in arms}
        if len(prompts) > 1:
            raise ScalingarError(
                f"Item {key[0]} is {' and '.join(map(repr, sorted(prompts)))}: these runs are of "
                "different versions of the benchmark."
            )
    return sorted(keys)
