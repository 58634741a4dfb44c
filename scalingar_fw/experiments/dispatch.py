"""Handing out units: find what is missing in a store, have it done, count receipts."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from scalingar_fw.benchmark import Benchmark
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.claims import is_held, sweep_up
from scalingar_fw.experiments.condition import read_receipt, trouble
from scalingar_fw.experiments.documents import ManifestFile
from scalingar_fw.experiments.events import (
    Damaged,
    Ended,
    Failed,
    Finished,
    Observers,
    Planned,
    Progress,
)
from scalingar_fw.experiments.executors import Executor, Outcome, Task
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.store_writer import (
    claim_label,
    replace_json,
    replace_text,
    set_aside,
)
from scalingar_fw.experiments.sweep import Shard, Sweep
from scalingar_fw.experiments.tally import Tally, bound, forecast
from scalingar_fw.experiments.unit import Unit
from scalingar_fw.experiments.worker import BUSY, DONE, EXISTS, FAILED, LATE, Facts
from scalingar_fw.reading import read_record

#: How often a unit is begun again after its worker died.
ATTEMPTS = 3
#: How long the driver sleeps where only other drivers' workers are busy.
POLL_SECONDS = 0.5


@define(eq=False)
class Dispatch:
    """One call's work on one store; `run` does it."""

    sweep: Sweep
    layout: Layout
    executor: Executor
    benchmark: Benchmark
    observers: Observers
    max_tokens: int | None
    max_hours: float | None
    shard: Shard | None = None
    total: int = 0
    flops: Mapping[str, Any] = field(factory=dict)
    tally: Tally = field(init=False)
    units: dict[str, Unit] = field(factory=dict)
    waiting: deque[str] = field(factory=deque)  # to be submitted
    elsewhere: deque[str] = field(factory=deque)  # claimed by somebody else
    running: set[str] = field(factory=set)
    attempts: dict[str, int] = field(factory=dict)
    hopeless: dict[tuple[str, int], str] = field(factory=dict)  # (label, n) that fail, and why
    open_bounds: int = 0  # tokens that the running units may take at most
    stopped: str | None = None
    unwritable: OSError | None = None  # why nothing can be written here

    def run(self, facts: Facts, workers: int, dry_run: bool) -> Ended:
        self.total, self.flops = facts.total, facts.flops
        self.units = {u.key: u for u in self.sweep.units(facts, self.benchmark, self.shard)}
        frame = self.sweep.frame(facts, self.benchmark)
        check_frame(self.layout, frame)
        if not dry_run:
            self._prepare(frame)
        receipts = self._take_stock(dry_run)
        missing = [k for k in self.units if k not in receipts]
        if missing and self.unwritable is not None:
            raise self.unwritable
        bounds = {key: bound(unit, self.total) for key, unit in self.units.items()}
        self.tally = Tally(len(self.units), sum(bounds[k] for k in missing))
        for key, receipt in receipts.items():
            self.tally.add(self.units[key].label, receipt)
        known = [(bounds[key], receipt) for key, receipt in receipts.items()]
        self.observers.notify(
            Planned(
                units=len(self.units),
                finished=len(receipts),
                tokens=sum(bounds.values()),
                missing_tokens=self.tally.left_bound,
                seconds=forecast(known, self.tally.left_bound, workers),
                labels=tuple(e.label for e in self.sweep.entries),
                frame=frame,
            )
        )
        self.waiting.extend(missing)
        if not dry_run:
            self._work()
        return self._end("dry run" if dry_run and missing else self.stopped)

    def _prepare(self, frame: Mapping[str, Any]) -> None:
        """Say in the store what is going to be done. A finished store may lie where nothing can be
        written: what fails there counts once something is missing."""
        try:
            self._write_down(frame)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            self.unwritable = error

    def _write_down(self, frame: Mapping[str, Any]) -> None:
        manifest = read_record(self.layout.manifest, ManifestFile)
        if "frame" not in manifest:
            replace_json(self.layout.manifest, {**manifest, "frame": dict(frame)})
            check_frame(self.layout, frame)  # another driver may have been first
        for entry in self.sweep.entries:
            claim_label(self.layout, entry.label, entry.strategy)
        replace_text(self.layout.sweep, self.sweep.to_yaml())
        sweep_up(self.layout)

    def _take_stock(self, dry_run: bool) -> dict[str, Mapping[str, Any]]:
        """Receipts of finished units of this sweep; what is damaged is named and set aside."""
        found: dict[str, Mapping[str, Any]] = {}
        for key in self.units:
            if not self.layout.receipt(key).is_file():
                continue
            why = trouble(self.layout, key)
            if why is None:
                found[key] = read_receipt(self.layout, key)
                continue
            moved = "" if dry_run else str(set_aside(self.layout, key, why))
            self.observers.notify(Damaged(key, why, moved))
        return found

    def _work(self) -> None:
        until = None if self.max_hours is None else time.time() + 3600 * self.max_hours
        while True:
            self.layout.check_here()
            self._submit(until)
            if not self.running:
                if not self.elsewhere or self.stopped:
                    return
                self._look_elsewhere()
                if not self.waiting:
                    time.sleep(POLL_SECONDS)
                continue
            for outcome in self.executor.wait(POLL_SECONDS):
                self._receive(outcome)
            self._look_elsewhere()

    def _submit(self, until: float | None) -> None:
        tasks = []
        while self.waiting and len(self.running) < self.executor.slots and not self.stopped:
            key = self.waiting[0]
            unit = self.units[key]
            if _cell(unit) in self.hopeless:
                self.waiting.popleft()
                self._fail(key, self.hopeless[_cell(unit)])
                continue
            if self.layout.receipt(key).is_file() and self._count(key, ours=False):
                self.waiting.popleft()
                continue
            if until is not None and time.time() >= until:
                self.stopped = f"max_hours={self.max_hours:g}"
                break
            if not self._affordable(key):
                # What is running may turn out cheaper than its bound.
                if not self.running:
                    self.stopped = f"max_tokens={self.max_tokens}"
                break
            self.waiting.popleft()
            self.running.add(key)
            self.open_bounds += bound(unit, self.total)
            arguments = {"label": unit.label, "config": dict(unit.config), "flops": self.flops}
            tasks.append(Task(key, "run", {**arguments, "until": until}))
        if tasks:
            self.executor.submit(tasks)

    def _affordable(self, key: str) -> bool:
        if self.max_tokens is None:
            return True
        most = bound(self.units[key], self.total)
        return self.tally.spent + self.open_bounds + most <= self.max_tokens

    def _receive(self, outcome: Outcome) -> None:
        key = outcome.id
        self.running.discard(key)
        self.open_bounds -= bound(self.units[key], self.total)
        if outcome.result is None:
            why = outcome.broken or outcome.lost or "no answer"
            self.attempts[key] = self.attempts.get(key, 0) + 1
            if outcome.broken is None and self.attempts[key] < ATTEMPTS:
                self.waiting.appendleft(key)
            else:
                self._fail(key, why)
            return
        status = outcome.result["status"]
        if status in (DONE, EXISTS):
            if not self._count(key, ours=status == DONE):
                self.waiting.append(key)  # it was damaged in the meantime
        elif status == BUSY:
            self.elsewhere.append(key)
        elif status == LATE:
            self.stopped = f"max_hours={self.max_hours:g}"
        elif status == FAILED:
            self._failed(key, outcome.result)

    def _failed(self, key: str, result: Mapping[str, Any]) -> None:
        error = str(result["error"])
        if result["kind"] == "disk":
            self.layout.check_here()
            raise OSError(
                f"{error}: the store cannot be written. What is finished is kept: make room and "
                "run again."
            )
        if result["kind"] == "input":  # every unit of this strategy and n would say so
            self.hopeless[_cell(self.units[key])] = error
        self._fail(key, error)

    def _fail(self, key: str, error: str) -> None:
        self.tally.failed += 1
        self.tally.left_bound -= bound(self.units[key], self.total)
        self.observers.notify(Failed(key, self.units[key].label, error))

    def _count(self, key: str, ours: bool) -> bool:
        """Count a unit by its receipt; False where there is none that its files match."""
        why = trouble(self.layout, key, deep=False)
        if why is not None:
            if self.layout.receipt(key).is_file():
                moved = set_aside(self.layout, key, why)
                self.observers.notify(Damaged(key, why, str(moved)))
            return False
        receipt = read_receipt(self.layout, key)
        unit = self.units[key]
        self.tally.add(unit.label, receipt)
        self.tally.advance(bound(unit, self.total), receipt["tokens"] if ours else 0)
        self.observers.notify(
            Finished(
                key=key,
                label=unit.label,
                n=unit.config["n"],
                seed=unit.config["seed"],
                items=len(unit.config["items"]),
                tokens=receipt["tokens"],
                seconds=float(receipt.get("wall_seconds", 0.0)),
                ours=ours,
                answers={task: (c, s) for task, (c, s) in receipt["answers"].items()},
            )
        )
        t = self.tally
        self.observers.notify(Progress(t.units, t.finished, t.tokens, t.accuracy, t.seconds_left))
        return True

    def _look_elsewhere(self) -> None:
        """Units that other drivers' workers had: finished by now, or given up."""
        for _ in range(len(self.elsewhere)):
            key = self.elsewhere.popleft()
            if self.layout.receipt(key).is_file():
                if not self._count(key, ours=False):
                    self.waiting.append(key)
            elif is_held(self.layout, key):
                self.elsewhere.append(key)
            else:
                self.waiting.append(key)

    def _end(self, stopped: str | None) -> Ended:
        t = self.tally
        ended = Ended(t.units, t.finished, t.failed, t.tokens, t.seconds, t.accuracy, stopped)
        self.observers.notify(ended)
        return ended


def _cell(unit: Unit) -> tuple[str, int]:
    return unit.label, unit.config["n"]


def check_frame(layout: Layout, frame: Mapping[str, Any]) -> None:
    """Refuse a store whose units cannot be compared with this sweep's."""
    if not layout.manifest.is_file():
        return
    known = read_record(layout.manifest, ManifestFile).get("frame")
    if known is None:
        return
    for name, value in frame.items():
        if known.get(name) != value:
            was, now = (f"{str(v)[:60]}" for v in (known.get(name), value))
            raise ScalingarError(
                f"{layout.root} holds a sweep with {name}={was}, and this one has {name}={now}: "
                "choose another --out. Strategies, n, seeds and limit may be added to a sweep."
            )
