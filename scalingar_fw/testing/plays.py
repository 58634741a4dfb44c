"""A play that is watched in every way at once, and remembered while a component is checked.

Most checks only look at what a component does in an undisturbed run, and the others compare a
disturbed one with it. So it is played once for each case: a crash in it is one exception, whichever
check meets it, and a kit of thirty checks costs what the disturbances cost.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import Step
from scalingar_fw.errors import ContractError
from scalingar_fw.testing.cases import Case, World
from scalingar_fw.testing.catalogue import fresh
from scalingar_fw.testing.play import Out, Player, kept_as_they_were
from scalingar_fw.testing.surroundings import changed_settings, settings_now


@frozen(eq=False)
class Said:
    """One return of a component: of `update`, `commit` or `propose`."""

    what: str
    value: Any
    step: Step
    inputs: tuple[Any, ...]


@define(eq=False)
class Played:
    """A whole run of one component, and all that was noticed in it.

    `outs`: what it said, copied at once; `late`: the same objects after the last step. `memory`,
    `touched`, `drawn`, `settings`: the first breach of the contracts of memory, inputs and
    everything global, or None.
    """

    outs: list[Out] = field(factory=list)
    late: list[Out] = field(factory=list)
    said: list[Said] = field(factory=list)
    memory: ContractError | None = None
    touched: str | None = None
    drawn: ContractError | None = None
    settings: str | None = None


#: The plays of the component that is being checked; None outside of a check.
_PLAYS: contextvars.ContextVar[dict[Case, Played | Exception] | None] = contextvars.ContextVar(
    "plays", default=None
)
_MOST = 256  # of those that are remembered: a shrinking counter-example makes new ones all the time


@contextlib.contextmanager
def remembered(plays: dict[Case, Played | Exception]) -> Iterator[None]:
    """In the block, `played` keeps its results in `plays`, which belong to one component."""
    token = _PLAYS.set(plays)
    try:
        yield
    finally:
        _PLAYS.reset(token)


def played(kind: str, component: Any, case: Case) -> Played:
    """The undisturbed run of a copy of `component`; raises what it raises."""
    plays = _PLAYS.get()
    found = None if plays is None else plays.get(case)
    if found is None:
        try:
            found = _play(kind, fresh(component), case)
        except Exception as error:
            found = error
        if plays is not None:
            if len(plays) >= _MOST:
                plays.clear()
            plays[case] = found
    if isinstance(found, Exception):
        raise found
    return found


def world_of(component: Any, case: Case, **how: Any) -> World:
    """The world of a case, with every quantity that the component's settings name."""
    return World(case, extras=signals_read(component), **how)


def signals_read(component: Any) -> list[str]:
    """The values of all settings called `signal`, parts included."""
    from scalingar_fw.config.settings import settings_of

    found = settings_of(component)
    return [v for k, (_, v) in found.items() if k.split(".")[-1] == "signal" and isinstance(v, str)]


def _play(kind: str, component: Any, case: Case) -> Played:
    owner, out = contracts.name_of(component), Played()

    def watch(call: Any, inputs: tuple[Any, ...]) -> Any:
        before = contracts.snapshot(*inputs)
        returned = call()
        if out.touched is None and not contracts.unchanged(before, *inputs):
            step = next((i.index for i in inputs if isinstance(i, Step)), None)
            when = "in init" if step is None else f"at step {step}"
            out.touched = f"{owner} changed its inputs in place {when}."
        return returned

    def accept(play: Player, what: str, value: Any, step: Step, inputs: tuple[Any, ...]) -> None:
        out.said.append(Said(what, value, step, inputs))

    def remember_memory(play: Player) -> None:
        if out.memory is None:
            try:
                contracts.check_memory(owner, play.state, len(play.rows))
            except ContractError as error:
                out.memory = error

    settings = settings_now()
    try:
        with contracts.no_global_randomness(owner):
            play = Player(component, kind, world_of(component, case), watch=watch, accept=accept)
            moves = {m.step: m for m in case.moves}
            remember_memory(play)
            for t in range(case.total):
                out.late.append(play.step(moves.get(t)))
                out.outs += kept_as_they_were(out.late[-1:])
                remember_memory(play)
    except ContractError as error:
        if len(out.outs) < case.total:  # not the one that is raised at the end of the block
            raise
        out.drawn = error
    finally:
        out.settings = changed_settings(settings)
    return out


__all__ = ["Played", "Said", "played", "remembered", "signals_read", "world_of"]
