"""Sweeps over a toy model and a toy benchmark, which cost milliseconds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.sweep import Sweep, make_sweep, parse_sweep
from scalingar_fw.registry import Registry, load_registry

TOY = Path(__file__).with_name("toy.py")
BASIC: dict[str, Any] = {
    "model": "toy",
    "benchmark": "toy",
    "strategies": ["base", "scalingar"],
    "n": 2,
    "limit": 6,
    "batch": 3,
}


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed = False

    def notify(self, event: Any) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True

    def of(self, kind: str) -> list[Any]:
        return [e for e in self.events if e.kind == kind]


@define
class Bench:
    """Makes and runs sweeps; by default inline, which needs no process."""

    registry: Registry = field(repr=False)

    def sweep(self, **changes: Any) -> Sweep:
        given = {k: v for k, v in {**BASIC, **changes}.items() if v is not None}
        return make_sweep(parse_sweep(given), self.registry)

    def run(self, out: Path, executor: Any = "inline", sweep: Sweep | None = None, **more: Any):
        """`Ended`, and what an observer heard."""
        heard = Heard()
        options = {k: more.pop(k) for k in list(more) if k in RUN_OPTIONS}
        ended = run_sweep(
            self.sweep(**more) if sweep is None else sweep,
            out,
            executor=executor,
            registry=self.registry,
            plugins=[TOY],
            observers=[heard],
            **options,
        )
        return ended, heard


RUN_OPTIONS = ("workers", "executor_options", "max_tokens", "max_hours", "shard", "dry_run")


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench(load_registry([TOY]))


def content(root: Path) -> dict[str, bytes]:
    """Every file below `units/` by its relative path: what may not depend on who did it."""
    units = Layout(root).root / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of the basic sweep's store, done in this process in the sweep's order."""
    out = tmp_path_factory.mktemp("undisturbed") / "store"
    bench.run(out)
    return content(out)


@pytest.fixture
def of_a_library(monkeypatch):
    """For tests that start somebody else's service: Ray and wandb write their settings into this
    process's environment and search path as they are imported, and leave them there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
