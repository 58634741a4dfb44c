"""The catalogue of checks: each a sentence with an id, and a docstring that says why users need it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from scalingar_fw.decoding.components import kind_of
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.testing.cases import Case

#: Components that are stepped through a case.
STEPPING = ("estimator", "guidance", "termination", "sampler")

_OF_KIND = {"confidence": "estimator"}


class Broken(AssertionError):
    """A contract is broken; the message says how."""


class NotHere(Exception):
    """This case can not show anything about the contract (nothing forked, nobody was ended, ...)."""


Body = Callable[[Any, Case], None]


@frozen
class Check:
    """One contract. `run(component, case)` raises where a case breaks it.

    `applies(component)`: None, or why the contract says nothing about a component. `share`: the
    part of the examples that it needs, for checks that cost much.
    """

    id: str
    title: str
    why: str
    capability: str
    run: Body = field(repr=False)
    applies: Callable[[Any], str | None] = field(repr=False, default=lambda component: None)
    share: float = 1.0


CATALOGUE: dict[str, Check] = {}


def check(
    name: str,
    *capabilities: str,
    applies: Callable[[Any], str | None] | None = None,
    share: float = 1.0,
) -> Callable[[Callable[[str, Any, Case], None]], Callable[[str, Any, Case], None]]:
    """Register a function `(capability, component, case)` as `capability-name` for each of them.

    Its docstring's first sentence is the title, the rest the reason.
    """

    def register(function: Callable[[str, Any, Case], None]) -> Callable[[str, Any, Case], None]:
        title, _, why = (inspect.getdoc(function) or "").partition("\n\n")
        title = " ".join(title.split())
        if not title.endswith(".") or not why.strip():
            raise TypeError(f"The check {name!r} needs a docstring: a sentence, then why.")
        for capability in capabilities:
            made = Check(
                id=f"{capability}-{name}",
                title=title,
                why=" ".join(why.split()),
                capability=capability,
                run=_bind(function, capability),
                applies=applies or (lambda component: None),
                share=share,
            )
            CATALOGUE[made.id] = made
        return function

    return register


def _bind(function: Callable[[str, Any, Case], None], capability: str) -> Body:
    return lambda component, case: function(capability, component, case)


def capability_of(component: Any) -> str | None:
    """What a component is, in the words of the catalogue; None where it is nothing checkable."""
    if isinstance(component, Strategy):
        return "strategy"
    kind = kind_of(type(component))
    return _OF_KIND.get(kind, kind) if kind is not None else None


def fresh(component: Any) -> Any:
    """A copy that has met nothing yet; itself where it can not be copied (a loaded network)."""
    try:
        return copy.deepcopy(component)
    except Exception:
        return component


def scope_of(component: Any) -> str:
    """What a component says that it reads: "row" or "cohort"."""
    return str(component.scope)


def checks_of(component: Any) -> list[Check]:
    """The checks for a component's capability, in the order of the catalogue."""
    capability = capability_of(component)
    return [c for c in CATALOGUE.values() if c.capability == capability]
