"""The catalogue of checks: each a sentence with an id, and a docstring that says why users need it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from scalingar_fw.decoding.components import kind_of
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.hooks import EVENTS
from scalingar_fw.testing.cases import Case

#: Components that are stepped through a case.
STEPPING = ("confidence", "guidance", "termination", "sampler")
#: Components that read completed candidates.
CHOOSING = ("selector", "reward")
KINDS = (*STEPPING, *CHOOSING, "strategy", "observer")

#: Kinds under the names that earlier versions recorded in ids of checks.
_FORMER = {"estimator": "confidence"}


class Broken(AssertionError):
    """A contract is broken; the message says how.

    `hint`: the likely cause and its remedy, which a reader is told first.
    """

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotHere(Exception):
    """This case can not show anything about the contract (nothing forked, nobody was ended, ...)."""


Body = Callable[[Any, Case], None]

#: In which order checks run and are read: what a failure further down may only be a consequence of
#: comes first.
_ORDER = (
    # does it work at all, and does it leave alone what is not its own
    "runs", "inputs", "global-randomness", "global-settings", "clock", "no-own-memory",
    # what it returns
    "memory", "finite", "float32", "bounds", "valid", "permitted", "keeps-one", "warmup",
    "survivors", "budget", "no-revival", "sentences", "names", "needs", "extreme-noise", "answer",
    "ledger",
    # plays that must agree
    "determinism", "prompts-apart", "order", "take-update", "prefix", "causality", "copy", "save",
    # the rest
    "acts", "seed-matters", "settings-act", "distribution", "fork-noise", "results", "device",
    "round-trip", "scale", "fresh-process",
)  # fmt: skip

#: Checks that compare two plays (or test everything at once): they fail as well where one above
#: them does, so what they say then is not news.
CONSEQUENCES = frozenset(
    (
        *("clock", "no-own-memory", "determinism", "prompts-apart", "order", "take-update"),
        *("prefix", "causality", "copy", "save", "scale", "fresh-process", "results"),
        "global-randomness",
    )
)
#: What they are a consequence of: all of those, and what changes things that are not its own.
CAUSES = CONSEQUENCES | {"inputs", "global-settings", "memory"}


@frozen
class Check:
    """One contract. `run(component, case)` raises where a case breaks it.

    `applies(component)`: None, or why the contract says nothing about a component. `share`: the
    part of the examples that it needs, for checks that cost much. `cases`: those that it is about,
    where it is not about any case; they are not searched for and not shrunk.
    """

    id: str
    title: str
    why: str
    kind: str
    run: Body = field(repr=False)
    applies: Callable[[Any], str | None] = field(repr=False, default=lambda component: None)
    share: float = 1.0
    cases: tuple[Case, ...] = field(repr=False, default=())

    @property
    def name(self) -> str:
        """The id without the kind."""
        return self.id.removeprefix(f"{self.kind}-")

    @property
    def documented(self) -> str:
        """Where the documentation says it."""
        return f"docs/write/{self.kind}.md#the-contract"


CATALOGUE: dict[str, Check] = {}


def check(
    name: str,
    *kinds: str,
    applies: Callable[[Any], str | None] | None = None,
    share: float = 1.0,
    cases: Sequence[Case] = (),
) -> Callable[[Callable[[str, Any, Case], None]], Callable[[str, Any, Case], None]]:
    """Register a function `(kind, component, case)` as `kind-name` for each of them.

    Its docstring's first sentence is the title, the rest the reason.
    """
    if name not in _ORDER:
        raise TypeError(f"The check {name!r} has no place in the order of checks.")

    def register(function: Callable[[str, Any, Case], None]) -> Callable[[str, Any, Case], None]:
        title, _, why = (inspect.getdoc(function) or "").partition("\n\n")
        title = " ".join(title.split())
        if not title.endswith(".") or not why.strip():
            raise TypeError(f"The check {name!r} needs a docstring: a sentence, then why.")
        for kind in kinds:
            made = Check(
                id=f"{kind}-{name}",
                title=title,
                why=" ".join(why.split()),
                kind=kind,
                run=_bind(function, kind),
                applies=applies or (lambda component: None),
                share=share,
                cases=tuple(cases),
            )
            CATALOGUE[made.id] = made
        return function

    return register


def _bind(function: Callable[[str, Any, Case], None], kind: str) -> Body:
    return lambda component, case: function(kind, component, case)


def current_name(name: str) -> str:
    """An id of a check by today's name: `estimator-finite` is `confidence-finite`."""
    label, dot, last = name.rpartition(".")
    kind, dash, rest = last.partition("-")
    return f"{label}{dot}{_FORMER.get(kind, kind)}{dash}{rest}"


def kind_of_object(component: Any) -> str | None:
    """What a component is, in the words of the catalogue; None where it is nothing checkable."""
    if isinstance(component, Strategy):
        return "strategy"
    kind = kind_of(type(component))
    if kind is None and not isinstance(component, type):
        return "observer" if any(callable(getattr(component, e, None)) for e in EVENTS) else None
    return kind


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
    """The checks for a component's kind, in the order in which they run."""
    kind = kind_of_object(component)
    found = [c for c in CATALOGUE.values() if c.kind == kind]
    return sorted(found, key=lambda c: _ORDER.index(c.name))
