"""Plots of runs and traces; knows results and records, and no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

_HERE = "scalingar_analysis."


@hookimpl
def scalingar_register(registry: Registry) -> None:
    add = registry.add
    add(
        "artefact",
        "candidates.png",
        _HERE + "contact_sheet:write",
        "all candidates; pruned ones up to where they were cut, with reason and confidence",
    )
    add(
        "artefact",
        "dynamics.png",
        _HERE + "dynamics:write",
        "entropy, confidence, guidance and live candidates over steps",
    )
