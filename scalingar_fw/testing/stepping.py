"""Contracts of everything that is stepped: estimators, guidance, termination, samplers."""

from __future__ import annotations

import copy
import io
from typing import Any

import attrs
import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.confidence import VALUE
from scalingar_fw.decoding.step import RESERVED
from scalingar_fw.testing.battery import SMOKE
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import STEPPING, Broken, NotHere, check, fresh, scope_of
from scalingar_fw.testing.memory import restored
from scalingar_fw.testing.play import Out, Player, difference, kept_as_they_were
from scalingar_fw.testing.plays import played, signals_read, world_of
from scalingar_fw.testing.surroundings import leaping_clock


def player(kind: str, component: Any, case: Case, **how: Any) -> Player:
    return Player(component, kind, world_of(component, case), **how)


def expect_same(
    whole: list[Out], part: list[Out], sentence: str, *, exact: bool = False, hint: str = ""
) -> None:
    """Raise `Broken` where two plays differ."""
    found = difference(whole, part, exact=exact)
    if found is not None:
        raise Broken(f"{sentence}: {found}.", hint)


def still(case: Case) -> Case:
    """The case without moves: nobody leaves but by the component's own decision."""
    return evolve(case, moves=())


# --- does it work at all ------------------------------------------------------------------------


def without_frozen(component: Any) -> list[str]:
    """Settings that stay descriptions because their class is no attrs class."""
    found = []
    for cls in type(component).__mro__:
        # attrs turns `param(...)` into settings; until then they are objects that count themselves.
        found += [k for k, v in vars(cls).items() if type(v).__name__ == "_CountingAttr"]
    return found


def check_frozen(component: Any) -> None:
    """Raise `Broken` where a class has settings and no `@frozen`."""
    settings = without_frozen(component)
    if settings:
        name = type(component).__name__
        raise Broken(
            f"{name} describes the setting {settings[0]!r}, but is no attrs class, so it has no "
            "settings at all.",
            f"a missing @frozen: write `@frozen` (from attrs import frozen) above `class {name}`.",
        )


@check("runs", *STEPPING, cases=(SMOKE,))
def it_runs(kind: str, component: Any, case: Case) -> None:
    """It goes through a plain run of two prompts without an error.

    Everything else is checked on top of this, so what fails here is told once, and the other
    checks are not tried.
    """
    check_frozen(component)
    played(kind, component, case)


@check("inputs", *STEPPING)
def inputs_stay(kind: str, component: Any, case: Case) -> None:
    """Inputs are not changed: neither the signals and confidences nor the memory passed in.

    The loop hands the same tensors to the next component, to the record and to forks; writing
    into one (x += y, x.clamp_()) corrupts all of them.
    """
    touched = played(kind, component, case).touched
    if touched is not None:
        raise Broken(touched, "an operation in place: write x = x + y, not x += y or x.clamp_().")


@check("global-randomness", *STEPPING)
def randomness_is_an_argument(kind: str, component: Any, case: Case) -> None:
    """No global randomness is read: torch's, numpy's and Python's streams stay where they are.

    Results that depend on a global stream change with everything that ran before. Randomness
    comes as an argument (`step.noise`), keyed by seed, prompt, candidate and step.
    """
    drawn = played(kind, component, case).drawn
    if drawn is not None:
        raise drawn


@check("global-settings", *STEPPING)
def settings_of_libraries_stay(kind: str, component: Any, case: Case) -> None:
    """Global settings of torch and numpy are as before: types, threads, gradients, errors.

    They hold for the whole process. A component that changes one changes the model, the other
    components and whatever runs afterwards.
    """
    say_settings(component, played(kind, component, case).settings)


def say_settings(component: Any, changed: str | None) -> None:
    """Raise `Broken` where a global setting changed."""
    if changed is not None:
        raise Broken(
            f"{contracts.name_of(component)} changed what {changed} sets, for the whole process.",
            "say it for your own tensors alone (dtype=..., with np.errstate(...), torch.no_grad()).",
        )


@check("clock", *STEPPING, share=0.3)
def clock_changes_nothing(kind: str, component: Any, case: Case) -> None:
    """A clock that leaps changes nothing.

    Decisions by time (a deadline, a cache that expires) depend on the machine and its load: the
    same seed gives other pictures on the next day.
    """
    with leaping_clock(type(component).__module__):
        late = player(kind, fresh(component), case).run()
    expect_same(
        played(kind, component, case).outs,
        late,
        "under a clock that leaps",
        exact=True,
        hint="it reads the clock: decide by step.index and what is passed in.",
    )


@check("no-own-memory", *STEPPING)
def memory_is_in_the_state(kind: str, component: Any, case: Case) -> None:
    """One object serves two runs at once: its memory is in the state, not on itself.

    A component that keeps something on `self` remembers the first run that it met; two prompts,
    two threads or a resumed run then disturb each other.
    """
    alone = played(kind, component, case).outs
    other = evolve(case, seed=case.seed + 1, material=tuple((b + 91) % 256 for b in case.material))
    first, second = player(kind, component, case), player(kind, component, other)
    moves = {m.step: m for m in case.moves}
    both = []
    for t in range(case.total):
        second.step(moves.get(t))
        both.append(first.step(moves.get(t)))
    expect_same(
        alone,
        both,
        "with another run in between",
        exact=True,
        hint="it keeps something on itself: return it as the next state, and read it from there.",
    )


# --- what is returned ---------------------------------------------------------------------------


@check("memory", *STEPPING)
def memory_moves_with_rows(kind: str, component: Any, case: Case) -> None:
    """Every per-candidate entry of the memory has one place for each live row, at every step.

    Pruning, reordering and forking move what `candidate_field` declares. An entry of another
    length is moved to the wrong candidate, silently.
    """
    memory = played(kind, component, case).memory
    if memory is not None:
        raise memory


@check("names", "confidence", "termination", "sampler")
def recorded_names_are_its_own(kind: str, component: Any, case: Case) -> None:
    """What it records has names of its own: text, and none that the framework records itself.

    A signal called `entropy` or `scale` would take the place of the model's own in the trace, and
    every plot and reward that reads it would be wrong without a word.
    """
    for said in played(kind, component, case).said:
        value = said.value
        recorded = value.signals if kind == "confidence" else value.trace
        for name in recorded:
            if not isinstance(name, str) or not name.strip():
                raise Broken(f"it records something as {name!r}; a name is text.")
            if name in RESERVED or name == VALUE:
                raise Broken(
                    f"at step {said.step.index} it records something as {name!r}, which is the "
                    "framework's own record.",
                    f"another name, such as {'my_' + name!r}.",
                )


# --- independence -------------------------------------------------------------------------------


@check("determinism", *STEPPING)
def same_in_same_out(kind: str, component: Any, case: Case) -> None:
    """The same inputs give the same results, bit for bit.

    Seeds, resumed runs and byte-identical pictures all rest on it.
    """
    one = played(kind, component, case).outs
    again = player(kind, component, case).run()
    expect_same(one, again, "a second, equal run", exact=True)


@check("prompts-apart", *STEPPING)
def prompts_do_not_mix(kind: str, component: Any, case: Case) -> None:
    """Rows are independent of the batch's other prompts.

    How many prompts share a forward pass is an accident of memory. If it changes an answer, no
    result can be repeated on another machine, and a benchmark depends on its batch size.
    """
    if case.prompts < 2:
        raise NotHere
    together = played(kind, component, case).outs
    hint = (
        "it reads rows of other prompts (a mean, a maximum or a rank over the whole batch): use "
        "group_rank, group_quantile or step.rows.group."
    )
    for prompt in range(case.prompts):
        alone = Player(component, kind, world_of(component, case, subset=(prompt,))).run()
        sentence = f"prompt {prompt} decoded without the others differs"
        expect_same(together, alone, sentence, hint=hint)
        for one, other in zip(together, alone, strict=True):
            rows, expected = len(other.names), sum(p == prompt for p, _ in one.names)
            if rows != expected:
                raise Broken(
                    f"at step {one.index} prompt {prompt} has {rows} rows without the other "
                    f"prompts instead of {expected}.",
                    hint,
                )


@check("order", *STEPPING)
def order_of_rows_is_nothing(kind: str, component: Any, case: Case) -> None:
    """Permuting the rows permutes the results; ties go by candidate id, never by row position.

    A row's place on the axis is an accident of earlier prunings. Code that reads it (argmax over
    rows, position 0 first) makes equal candidates live or die by chance.
    """
    whole = played(kind, component, case).outs
    play = player(kind, component, case)
    moves = {m.step: m for m in case.moves}
    moved = []
    for t in range(case.total):
        play.take(torch.from_numpy(_order(case, t, len(play.rows))))
        moved.append(play.step(moves.get(t)))
    hint = (
        "it goes by a row's place: use step.rows.candidate_id, or group_rank, which breaks ties "
        "by it."
    )
    expect_same(whole, moved, "rows in another order", hint=hint)


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
    whole = played(kind, component, case).outs
    scope = scope_of(component)
    rows, part = _with_rows_taken(kind, component, case, scope)
    found = difference(whole, part)
    if found is None:
        return
    hint = "memory that does not move with its rows: keep it in candidate_field()s or tensors."
    if scope == "row":
        _, cohort = _with_rows_taken(kind, component, case, "cohort")
        if difference(whole, cohort) is None:
            hint = (
                'it reads other candidates of its prompt: declare scope = "cohort". (Or its memory '
                "is a prompt_field() and belongs to the candidates.)"
            )
    at = case.turn % case.total
    raise Broken(f"with the rows {rows.tolist()} selected before step {at}: {found}.", hint)


def _with_rows_taken(
    kind: str, component: Any, case: Case, scope: str
) -> tuple[np.ndarray, list[Out]]:
    """The rows that are selected in mid-run, and the run with that selection."""
    play = player(kind, component, case)
    at = case.turn % case.total
    part = play.run(until=at)
    count, rng = len(play.rows), case.random(at)
    if scope == "row":
        rows = rng.integers(0, count, rng.integers(1, 2 * count + 1))
    else:
        prompts = np.unique(play.rows.prompt)
        kept = rng.permutation(prompts)[: rng.integers(1, len(prompts) + 1)]
        rows = rng.permutation(np.flatnonzero(np.isin(play.rows.prompt, kept)))
    play.take(torch.from_numpy(rows.astype(np.int64)))
    return rows, part + play.run()


def _not_alone(component: Any) -> str | None:
    return None if scope_of(component) == "row" else "it compares candidates: scope is 'cohort'"


@check("prefix", *STEPPING, applies=_not_alone)
def fewer_are_a_prefix_of_more(kind: str, component: Any, case: Case) -> None:
    """Where each candidate is looked at by itself, n candidates are the first of n + 1.

    That makes comparisons of N paired: what changes between N = 4 and N = 8 is N, not the noise.
    """
    case = still(case)
    few = played(kind, component, case).outs
    many = played(kind, component, evolve(case, n=case.n + 1)).outs
    expect_same(
        many,
        few,
        f"with {case.n} candidates instead of {case.n + 1}",
        hint='it reads how many candidates there are, or the others: declare scope = "cohort".',
    )


@check("causality", *STEPPING)
def past_is_past(kind: str, component: Any, case: Case) -> None:
    """Changing the future changes no past decision, and nothing said is changed afterwards.

    A result that was handed out and is overwritten at the next step falsifies every trace; a
    decision that depends on later steps can not be made online.
    """
    at = case.turn % case.total
    whole = played(kind, component, case)
    other = Player(component, kind, world_of(component, case, altered=at))
    changed = other.run()[: at + 1]
    expect_same(
        whole.outs,
        whole.late,
        "what was said was overwritten later",
        exact=True,
        hint="it returns a buffer that it writes into at the next step: return new tensors.",
    )
    expect_same(whole.outs[: at + 1], changed, f"with another future after step {at}", exact=True)


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
            f"{what} can not be made at step {at}: {type(error).__name__}: {error}",
            "keep tensors, numbers, dicts, tuples or attrs classes of them.",
        ) from error
    whole = kept_as_they_were(play.run())
    hint = "its copies share something: keep tensors, and return new ones."
    expect_same(whole, twin.run(), f"{what} continues differently", exact=True, hint=hint)


@check("round-trip", *STEPPING, "selector", "reward", "strategy", cases=(SMOKE,))
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
    kept = [] if attrs.has(cls) else list(getattr(component, "__dict__", ()))
    if kept:
        raise Broken(
            f"{cls.__name__} keeps {kept[0]!r} on itself, which no configuration can hold.",
            f"make {cls.__name__} an attrs class: `@frozen` above it, settings as `param` fields.",
        )
    again = build(kind, yaml.safe_load(yaml.safe_dump(data)), registry)
    if describe(again, registry, full=True) != data or type(again) is not cls:
        raise Broken(f"{data} came back as {describe(again, registry, full=True)}.")


__all__ = [
    "check_frozen",
    "expect_same",
    "player",
    "saved_and_loaded",
    "say_settings",
    "signals_read",
    "still",
    "without_frozen",
    "world_of",
]
