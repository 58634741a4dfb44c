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
    from scalingar_fw.experiments.store import Pool as Pool
    from scalingar_fw.experiments.store import Store as Store
    from scalingar_fw.experiments.store import UnitRecord as UnitRecord
    from scalingar_fw.experiments.store import open_store as open_store
    from scalingar_fw.experiments.unit import Unit as Unit

_HOMES = {
    "Pool": "store",
    "Store": "store",
    "Unit": "unit",
    "UnitRecord": "store",
    "open_store": "store",
}

__all__ = ["Pool", "Store", "Unit", "UnitRecord", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
