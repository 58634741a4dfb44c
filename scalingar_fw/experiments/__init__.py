"""Experiments: sweeps of models x strategies x prompts x seeds x n, in units that are never lost.

from scalingar_fw.experiments import open_store

store = open_store("runs/sweep")
store.candidates().to_pandas()

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalingar_fw.experiments.driver import run_sweep as run_sweep
    from scalingar_fw.experiments.store import Store as Store
    from scalingar_fw.experiments.store import StoredPool as StoredPool
    from scalingar_fw.experiments.store import UnitRecord as UnitRecord
    from scalingar_fw.experiments.store import open_store as open_store
    from scalingar_fw.experiments.sweep import Shard as Shard
    from scalingar_fw.experiments.sweep import Sweep as Sweep
    from scalingar_fw.experiments.sweep import make_sweep as make_sweep
    from scalingar_fw.experiments.sweep import parse_sweep as parse_sweep
    from scalingar_fw.experiments.sweep import read_sweep as read_sweep
    from scalingar_fw.experiments.unit import Unit as Unit

_HOMES = {
    "Shard": "sweep",
    "Store": "store",
    "StoredPool": "store",
    "Sweep": "sweep",
    "Unit": "unit",
    "UnitRecord": "store",
    "make_sweep": "sweep",
    "open_store": "store",
    "parse_sweep": "sweep",
    "read_sweep": "sweep",
    "run_sweep": "driver",
}

__all__ = [
    "Shard",
    "Store",
    "StoredPool",
    "Sweep",
    "Unit",
    "UnitRecord",
    "make_sweep",
    "open_store",
    "parse_sweep",
    "read_sweep",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
