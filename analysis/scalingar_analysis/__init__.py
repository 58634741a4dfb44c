"""Plots of runs and traces; knows results and records, and no model.

    import scalingar_analysis as analysis
    analysis.plot("runs/...", "dynamics")      # a figure; notebooks show it

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_analysis.commands.in_python import compare as compare
    from scalingar_analysis.plots.plot_registry import figure as figure
    from scalingar_analysis.plots.plot_registry import plot as plot
    from scalingar_analysis.runs.run import open_run as open_run
    from scalingar_fw.registry import Registry

# fmt: off
#: By kind: name, `module:attribute` in this package, summary.
TABLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "artefact": (
        ("candidates.png", "plots.contact_sheet:write", "all candidates; pruned ones up to where they were cut, with reason and confidence"),
        ("dynamics.png", "plots.dynamics:write", "entropy, confidence, guidance and live candidates over steps"),
        ("thumbnails", "plots.thumbnails:write", "each candidate's image, small: what plots and reports are drawn over"),
    ),
    "command": (
        ("report", "commands.report:report", "A run as one HTML page."),
        ("plot", "commands.plot:plot", "Draw a run: dynamics, maps, pareto, ..."),
        ("record", "commands.record:record", "Record complete candidates with all signals, to replay on."),
        ("replay", "commands.replay:replay", "What a policy would have done with recorded candidates."),
        ("autopsy", "commands.autopsy:autopsy", "Was it right to end them? Precision, recall and regret."),
        ("lab", "commands.lab:lab", "What a new per-step signal is worth."),
        ("tune", "commands.tune:tune", "Search a policy's settings by replay (extra tune)."),
        ("compare", "commands.compare:compare", "Compare strategies: accuracy, cost, paired differences, equal budgets."),
        ("ui", "commands.ui:ui", "A playground in the browser: watch candidates grow (extra ui)."),
        ("reproduce", "commands.reproduce:reproduce", "Run the paper's experiments; its figures beside ours."),
    ),
}
# fmt: on

_HOMES = {
    "compare": "commands.in_python",
    "figure": "plots.plot_registry",
    "open_run": "runs.run",
    "plot": "plots.plot_registry",
}

__all__ = ["compare", "figure", "open_run", "plot"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


@hookimpl
def scalingar_register(registry: Registry) -> None:
    for kind, rows in TABLE.items():
        for name, target, summary in rows:
            registry.add(kind, name, f"{__name__}.{target}", summary)
