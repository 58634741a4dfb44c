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
    from scalingar_analysis.plots.plot_registry import figure as figure
    from scalingar_analysis.plots.plot_registry import plot as plot
    from scalingar_analysis.runs.run import open_run as open_run
    from scalingar_fw.registry import Registry

_HERE = "scalingar_analysis."

#: Commands on recorded candidates.
COMMANDS = {
    "record": "Record complete candidates with all signals, to replay on.",
    "replay": "What a policy would have done with recorded candidates.",
    "autopsy": "Was it right to end them? Precision, recall and regret.",
    "lab": "What a new per-step signal is worth.",
    "tune": "Search a policy's settings by replay (extra tune).",
}

_HOMES = {"figure": "plots.plot_registry", "open_run": "runs.run", "plot": "plots.plot_registry"}

__all__ = ["figure", "open_run", "plot"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


@hookimpl
def scalingar_register(registry: Registry) -> None:
    add = registry.add
    add(
        "artefact",
        "candidates.png",
        _HERE + "plots.contact_sheet:write",
        "all candidates; pruned ones up to where they were cut, with reason and confidence",
    )
    add(
        "artefact",
        "dynamics.png",
        _HERE + "plots.dynamics:write",
        "entropy, confidence, guidance and live candidates over steps",
    )
    add(
        "artefact",
        "thumbnails",
        _HERE + "plots.thumbnails:write",
        "each candidate's image, small: what plots and reports are drawn over",
    )
    add("command", "report", _HERE + "commands.report:report", "A run as one HTML page.")
    add("command", "plot", _HERE + "commands.plot:plot", "Draw a run: dynamics, maps, pareto, ...")
    for name, line in COMMANDS.items():
        add("command", name, f"{_HERE}commands.{name}:{name}", line)
    add(
        "command",
        "compare",
        _HERE + "commands.compare:compare",
        "Compare strategies: accuracy, cost, paired differences, equal budgets.",
    )
    add(
        "command",
        "reproduce",
        _HERE + "commands.reproduce:reproduce",
        "Run the paper's experiments; its figures beside ours.",
    )
