"""Built-in strategies: a page each, which lists its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

_HERE = "scalingar_strategies."


@hookimpl
def scalingar_register(registry: Registry) -> None:
    add = registry.add
    add("strategy", "base", _HERE + "base:base", "one sample of the model, nothing scaled")
    add(
        "strategy",
        "scalingar",
        _HERE + "scalingar:scalingar",
        "ScalingAR (arXiv 2509.26376), with the silent decisions chosen so that it prunes",
    )
    add(
        "strategy",
        "scalingar-literal",
        _HERE + "scalingar:scalingar_literal",
        "ScalingAR as the paper's text reads literally",
    )
