"""Contracts of everything that is stepped: estimators, guidance, termination, samplers."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.state import take
from scalingar_fw.testing.cases import Case, World
from scalingar_fw.testing.catalogue import STEPPING, Broken, NotHere, check, fresh, scope_of
from scalingar_fw.testing.memory import restored
from scalingar_fw.testing.play import Out, Player, difference, kept_as_they_were


def world_of(component: Any, case: Case, **how: Any) -> World:
    """The world of a case, with every quantity that the component's settings name."""
    return World(case, extras=signals_read(component), **how)


def signals_read(component: Any) -> list[str]:
    """The values of all settings called `signal`, parts included."""
    from scalingar_fw.config.settings import settings_of

    found = settings_of(component)
    return [v for k, (_, v) in found.items() if k.split(".")[-1] == "signal" and isinstance(v, str)]


def player(kind: str, component: Any, case: Case, **how: Any) -> Player:
    return Player(component, kind, world_of(component, case), **how)


def expect_same(whole: list[Out], part: list[Out], sentence: str, *, exact: bool = False) -> None:
    """Raise `Broken` where two plays differ."""
    found = difference(whole, part, exact=exact)
    if found is not None:
        raise Broken(f"{sentence}: {found}.")


def still(case: Case) -> Case:
    """The case without moves: nobody leaves but by the component's own decision."""
    return evolve(case, moves=())


# --- what is returned --------------------------------------------------------------------------


@check("memory", *STEPPING)
def memory_moves_with_rows(kind: str, component: Any, case: Case) -> None:
    """Every per-candidate entry of the memory has one place for each live row, at every step.

    Pruning, reordering and forking move what `candidate_field` declares. An entry of another
    length is moved to the wrong candidate, silently.
    """
    owner = contracts.name_of(component)
    play = player(kind, component, case)
    moves = {m.step: m for m in case.moves}
    contracts.check_memory(owner, play.state, len(play.rows))
    for t in range(case.total):
        play.step(moves.get(t))
        contracts.check_memory(owner, play.state, len(play.rows))


# --- independence ------------------------------------------------------------------------------


@check("prompts-apart", *STEPPING)
def prompts_do_not_mix(kind: str, component: Any, case: Case) -> None:
    """Rows are independent of the batch's other prompts.

    How many prompts share a forward pass is an accident of memory. If it changes an answer, no
    result can be repeated on another machine, and a benchmark depends on its batch size.
    """
    if case.prompts < 2:
        raise NotHere
    together = player(kind, component, case).run()
    for prompt in range(case.prompts):
        world = world_of(component, case, subset=(prompt,))
        alone = Player(component, kind, world).run()
        expect_same(together, alone, f"prompt {prompt} decoded without the others differs")
        for one, other in zip(together, alone, strict=True):
            if len(other.names) != sum(p == prompt for p, _ in one.names):
                raise Broken(
                    f"at step {one.index} prompt {prompt} has another number of rows without the "
                    "other prompts."
                )


@check("order", *STEPPING)
def order_of_rows_is_nothing(kind: str, component: Any, case: Case) -> None:
    """Permuting the rows permutes the results; ties go by candidate id, never by row position.

    A row's place on the axis is an accident of earlier prunings. Code that reads it (argmax over
    rows, position 0 first) makes equal candidates live or die by chance.
    """
    whole = player(kind, component, case).run()
    play = player(kind, component, case)
    moves = {m.step: m for m in case.moves}
    moved = []
    for t in range(case.total):
        play.take(torch.from_numpy(_order(case, t, len(play.rows))))
        moved.append(play.step(moves.get(t)))
    expect_same(whole, moved, "rows in another order")


def _order(case: Case, stream: int, count: int) -> np.ndarray:
    order: np.ndarray = np.arange(count)[::-1].copy()
    if case.shuffle:
        case.random(stream).shuffle(order)
    return order


@check("take-update", *STEPPING)
def take_and_update_commute(kind: str, component: Any, case: Case) -> None:
    """Selecting rows and then updating equals updating and then selecting.

    For scope "row" any subset, order or duplicates; for scope "cohort" whole prompts, in any
    order. Otherwise pruning a neighbour changes a survivor's memory, and forks inherit a history
    that is not theirs.
    """
    case = still(case)
    whole = player(kind, component, case).run()
    play = player(kind, component, case)
    at = case.turn % case.total
    part = play.run(until=at)
    count, rng = len(play.rows), case.random(at)
    if scope_of(component) == "row":
        rows = rng.integers(0, count, rng.integers(1, 2 * count + 1))
    else:
        prompts = np.unique(play.rows.prompt)
        kept = rng.permutation(prompts)[: rng.integers(1, len(prompts) + 1)]
        rows = rng.permutation(np.flatnonzero(np.isin(play.rows.prompt, kept)))
    play.take(torch.from_numpy(rows.astype(np.int64)))
    part += play.run()
    expect_same(whole, part, f"with the rows {rows.tolist()} selected before step {at}")


@check("causality", *STEPPING)
def past_is_past(kind: str, component: Any, case: Case) -> None:
    """Changing the future changes no past decision, and nothing said is changed afterwards.

    A result that was handed out and is overwritten at the next step falsifies every trace; a
    decision that depends on later steps can not be made online.
    """
    at = case.turn % case.total
    whole = player(kind, component, case).run()
    said = kept_as_they_were(whole[: at + 1])
    other = Player(component, kind, world_of(component, case, altered=at))
    changed = other.run()[: at + 1]
    expect_same(said, whole[: at + 1], "what was said was overwritten later", exact=True)
    expect_same(said, changed, f"with another future after step {at}", exact=True)


@check("determinism", *STEPPING)
def same_in_same_out(kind: str, component: Any, case: Case) -> None:
    """The same inputs give the same results, bit for bit.

    Seeds, resumed runs and byte-identical pictures all rest on it.
    """
    one = kept_as_they_were(player(kind, component, case).run())
    expect_same(one, player(kind, component, case).run(), "a second, equal run", exact=True)


@check("no-own-memory", *STEPPING)
def memory_is_in_the_state(kind: str, component: Any, case: Case) -> None:
    """One object serves two runs at once: its memory is in the state, not on itself.

    A component that keeps something on `self` remembers the first run that it met; two prompts,
    two threads or a resumed run then disturb each other.
    """
    alone = kept_as_they_were(player(kind, fresh(component), case).run())
    other = evolve(case, seed=case.seed + 1, material=tuple((b + 91) % 256 for b in case.material))
    first, second = player(kind, component, case), player(kind, component, other)
    moves = {m.step: m for m in case.moves}
    both = []
    for t in range(case.total):
        second.step(moves.get(t))
        both.append(first.step(moves.get(t)))
    expect_same(alone, both, "with another run in between", exact=True)


@check("inputs", *STEPPING)
def inputs_stay(kind: str, component: Any, case: Case) -> None:
    """Inputs are not changed: neither the signals and confidences nor the memory passed in.

    The loop hands the same tensors to the next component, to the record and to forks; writing
    into one (x += y, x.clamp_()) corrupts all of them.
    """
    owner = contracts.name_of(component)

    def watch(call: Any, inputs: tuple[Any, ...]) -> Any:
        return contracts.untouched(owner, call, *inputs)

    player(kind, component, case, watch=watch).run()


@check("copy", *STEPPING)
def state_can_be_copied(kind: str, component: Any, case: Case) -> None:
    """A deep copy of the memory in mid-run continues like the original.

    Forked runs, what-if replays and debuggers copy the state; memory that is shared behind its
    back (a generator, an object with an identity) ties the copies together.
    """
    _continues(kind, component, case, copy.deepcopy, "a deep copy of the memory")


@check("save", *STEPPING)
def state_can_be_saved(kind: str, component: Any, case: Case) -> None:
    """The memory survives torch.save and torch.load(weights_only=True) in mid-run.

    A run that is interrupted resumes from its files. Safe loading holds tensors only, so that is
    what a memory must be made of.
    """
    _continues(kind, component, case, saved_and_loaded, "the memory, saved and loaded,")


def saved_and_loaded(memory: Any) -> Any:
    """`memory` after its tensors went through a file."""
    file = io.BytesIO()
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    restored(memory, collect)
    torch.save(found, file)
    file.seek(0)
    loaded = iter(torch.load(file, weights_only=True))
    return restored(memory, lambda _: next(loaded))


def _continues(kind: str, component: Any, case: Case, twin_of: Any, what: str) -> None:
    at = case.turn % case.total
    play = player(kind, component, case)
    play.run(until=at)
    twin = copy.copy(play)
    try:
        twin.state = twin_of(play.state)
    except Exception as error:
        raise Broken(
            f"{what} can not be made at step {at}: {type(error).__name__}: {error}"
        ) from error
    whole = kept_as_they_were(play.run())
    expect_same(whole, twin.run(), f"{what} continues differently", exact=True)


@check("global-randomness", *STEPPING)
def randomness_is_an_argument(kind: str, component: Any, case: Case) -> None:
    """No global randomness is read: torch's, numpy's and Python's streams stay where they are.

    Results that depend on a global stream change with everything that ran before. Randomness
    comes as an argument (`step.noise`), keyed by seed, prompt, candidate and step.
    """
    with contracts.no_global_randomness(contracts.name_of(component)):
        player(kind, component, case).run()


@check("round-trip", *STEPPING, "selector", "reward", "strategy", share=0.04)
def configuration_round_trips(kind: str, component: Any, case: Case) -> None:
    """Its configuration, written as YAML and read back, gives an equal component.

    A run's config.yaml and its hash are made of it. Settings that do not survive can be reached
    neither by --set nor by a configuration file, and the run can not be repeated.
    """
    import yaml

    from scalingar_fw.config.serialization import build, describe
    from scalingar_fw.registry import default_registry

    cls = type(component)
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotHere(f"{cls.__qualname__} can not be imported from here by name")
    registry = default_registry()
    data = describe(component, registry, full=True)
    named = "confidence" if kind == "estimator" else kind
    again = build(named, yaml.safe_load(yaml.safe_dump(data)), registry)
    if describe(again, registry, full=True) != data or type(again) is not cls:
        raise Broken(f"{data} came back as {describe(again, registry, full=True)}.")


__all__ = ["expect_same", "player", "saved_and_loaded", "signals_read", "still", "take", "world_of"]
