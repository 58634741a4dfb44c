"""Collects what a reader wants of each step, and lays it out by candidate at the end.

Nothing is copied to the host while decoding: a step costs a list append. Steps between two changes
of the rows are stacked and moved in one transfer at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from attrs import define, field, frozen
from torch import Tensor

from scalingar_fw.decoding.result import Array, Status, Trajectory, frozen_array
from scalingar_fw.decoding.state import Rows
from scalingar_fw.errors import ContractError


@frozen(eq=False)
class StepRecord:
    """One step: `values` are `[N]` tensors over `rows`; `parent [N]` indexes the rows before it."""

    index: int
    rows: Rows
    parent: Tensor | None
    values: dict[str, Tensor]


@define
class _Segment:
    """Consecutive steps over the same rows; `origin`: each row's place in the segment before."""

    rows: Rows
    origin: Array | None
    steps: list[StepRecord] = field(factory=list)

    def host(self) -> dict[str, Array]:
        """Each quantity as `[steps, N]`; one transfer each."""
        names = dict.fromkeys(name for s in self.steps for name in s.values)
        out: dict[str, Array] = {}
        for name in names:
            have = [s.values.get(name) for s in self.steps]
            like = next(v for v in have if v is not None)
            absent = torch.full_like(like, torch.nan if like.is_floating_point() else 0)
            out[name] = torch.stack([absent if v is None else v for v in have]).cpu().numpy()
        return out


_LOGITS = (
    "model's logits were",
    "half precision overflowed or the weights are broken. Try --dtype float32",
)
_CHECKED = {
    "entropy_nats": _LOGITS,  # of the conditional branch
    "kl": _LOGITS,  # of both
    "scale": ("guidance scale was", "its policy must give finite numbers"),
    "confidence": ("confidence was", "its estimator must give finite numbers"),
}


def _check_finite(columns: dict[str, Array], identity: tuple[int, int]) -> None:
    """Blame whoever gave a number that is not finite, the model before the guidance policy."""
    for name, (what, advice) in _CHECKED.items():
        bad = np.flatnonzero(~np.isfinite(columns[name]))
        if len(bad):
            raise ContractError(
                f"The {what} not finite at step {bad[0]} of prompt {identity[0]}, candidate "
                f"{identity[1]}: {advice}."
            )


@frozen(eq=False)
class _Columns(Mapping[str, Array]):
    """A dropped candidate's signals, read from the table of all tokens when asked for.

    A search drops candidates at every step and they share their beginnings: copies would hold
    T^2 tokens where T were decoded.
    """

    _table: dict[str, Array]
    _path: Array
    _names: tuple[str, ...]

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return frozen_array(self._table[name][self._path].astype(np.float32))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@define
class _End:
    segment: int
    row: int
    status: Status
    reason: str
    identity: tuple[int, int]


class Recorder:
    """Every step's record, and how every candidate ended."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._pending: Array | None = None
        self._ends: list[_End] = []
        self._forks: dict[tuple[int, int], tuple[int, int]] = {}

    def add(self, record: StepRecord) -> None:
        """Append a step; a change of the rows opens a segment."""
        if self._segments and self._pending is None and record.parent is None:
            self._segments[-1].steps.append(record)
            return
        origin = self._pending
        if record.parent is not None:
            parent = record.parent.cpu().numpy()
            origin = parent if origin is None else origin[parent]
        self._segments.append(_Segment(record.rows, origin, [record]))
        self._pending = None

    def keep(self, rows: Tensor) -> None:
        """The rows of the last record that live on."""
        self._pending = rows.cpu().numpy()

    def fork(self, prompt: int, candidate: int, parent: int, step: int) -> None:
        self._forks[prompt, candidate] = (parent, step)

    def end(self, who: Rows, places: Iterable[int], status: Status, reason: str) -> None:
        """End the rows at `places` of the live rows `who`: those of the last record, or those that
        were kept of it; before the first record, whoever was there from the start."""
        segment = len(self._segments) - 1
        for place in places:
            row = place if self._pending is None else int(self._pending[place])
            identity = (int(who.prompt[place]), int(who.candidate[place]))
            self._ends.append(_End(segment, row, status, reason, identity))

    def trajectories(self) -> list[Trajectory]:
        """All candidates, by prompt and candidate id; raises if a signal is not finite."""
        sizes = [len(s.steps) * len(s.rows) for s in self._segments]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        table = self._table(sizes)
        ends: dict[int, list[_End]] = {}
        for end in self._ends:
            ends.setdefault(end.segment, []).append(end)
        # Dropped before the first token: the columns of the others, empty.
        first = {name: None for s in self._segments[:1] for v in s.steps for name in v.values}
        empty = np.zeros(0, dtype=np.int64)
        out = [self._trajectory(table, first, empty, end) for end in ends.get(-1, [])]
        # Where each row's history lies in the table, `[N, tokens so far]`: moved on once for each
        # change of the rows, so a search that forks at every step costs what its tokens cost.
        paths = np.zeros((0, 0), dtype=np.int64)
        names: dict[str, None] = {}
        for number, segment in enumerate(self._segments):
            count, steps = len(segment.rows), len(segment.steps)
            own = starts[number] + np.arange(count)[:, None] + count * np.arange(steps)
            if number:
                assert segment.origin is not None
                own = np.concatenate([paths[segment.origin], own], axis=1)
            paths = own
            names.update(dict.fromkeys(name for s in segment.steps for name in s.values))
            out += [self._trajectory(table, names, paths[e.row], e) for e in ends.get(number, [])]
        return sorted(out, key=lambda t: (t.prompt, t.candidate))

    def _table(self, sizes: list[int]) -> dict[str, Array]:
        """Each quantity of all segments behind one another, NaN where it was not recorded."""
        host = [s.host() for s in self._segments]
        names = dict.fromkeys(name for values in host for name in values)
        table: dict[str, Array] = {}
        for name in names:
            parts = [
                values[name].ravel() if name in values else np.full(size, np.nan, np.float32)
                for values, size in zip(host, sizes, strict=True)
            ]
            table[name] = np.concatenate(parts)
        return table

    def _trajectory(
        self, table: dict[str, Array], names: dict[str, None], path: Array, end: _End
    ) -> Trajectory:
        _check_finite({name: table[name][path] for name in _CHECKED}, end.identity)
        tokens = frozen_array(table["token"][path].astype(np.int64))
        signals: Mapping[str, Array] = _Columns(
            table, path.astype(np.int32), tuple(n for n in names if n != "token")
        )
        if end.status is not Status.DROPPED:
            signals = dict(signals)
        parent, forked_at = self._forks.get(end.identity, (None, 0))
        return Trajectory(
            prompt=end.identity[0],
            candidate=end.identity[1],
            status=end.status,
            reason=end.reason,
            tokens=tokens,
            signals=signals,
            parent=parent,
            forked_at=forked_at,
        )
