"""Tools for testing components: a reference model, and (extra `testing`) the conformance kit.

@pytest.mark.parametrize("check", checks_for(MyEstimator()), ids=str)
def test_contract(check):
    check()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scalingar_fw.testing.reference import ReferenceModel, ScriptedModel

if TYPE_CHECKING:
    from scalingar_fw.testing import generators as generators
    from scalingar_fw.testing.adapters import check_adapter as check_adapter
    from scalingar_fw.testing.cases import Case as Case
    from scalingar_fw.testing.catalogue import CATALOGUE as CATALOGUE
    from scalingar_fw.testing.running import Outcome as Outcome
    from scalingar_fw.testing.running import check_component as check_component
    from scalingar_fw.testing.running import checks_for as checks_for
    from scalingar_fw.testing.running import replay as replay

#: Where each name lives. Hypothesis is imported by `generators`, and by a check that runs.
_HOMES = {
    "CATALOGUE": "catalogue",
    "Case": "cases",
    "Outcome": "running",
    "check_adapter": "adapters",
    "check_component": "running",
    "checks_for": "running",
    "replay": "running",
}

__all__ = [
    "CATALOGUE",
    "Case",
    "Outcome",
    "ReferenceModel",
    "ScriptedModel",
    "check_adapter",
    "check_component",
    "checks_for",
    "generators",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name == "generators":
        from scalingar_fw.testing.running import need_hypothesis

        need_hypothesis()
        return importlib.import_module(f"{__name__}.generators")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
