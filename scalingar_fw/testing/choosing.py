"""Contracts of selectors and rewards: what reads completed candidates."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import Pool, Selector
from scalingar_fw.decoding.result import Array, Status, Trajectory, frozen_array
from scalingar_fw.decoding.step import RESERVED
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.battery import SMOKE
from scalingar_fw.testing.cases import PROMPTS, RECORDED, Case, World
from scalingar_fw.testing.catalogue import CHOOSING, Broken, check
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.plays import signals_read
from scalingar_fw.testing.stepping import check_frozen, say_settings
from scalingar_fw.testing.surroundings import changed_settings, leaping_clock, settings_now

#: What every decode records.
ALWAYS = ("confidence", *(name for name in RESERVED if name != "token"))
#: ... and what ScalingAR's estimators and samplers of particles and beams record beside it.
STANDARD = (
    *ALWAYS,
    "rebound",
    "intrinsic",
    "drift",
    "score",
    "log_weight",
    "gain",
    "phi_confidence",
    *RECORDED,
)
SIDE = 48


def pool_of(component: Any, case: Case, signals: Sequence[str] = STANDARD) -> Pool:
    """Completed candidates of one prompt with every signal that the component may read.

    `signals`: the names of those that are there whatever it requires. Candidates' ids have gaps (others were pruned), their order is any, and many of them tie.
    """
    rng = case.random(0)
    count = case.n
    ids = rng.permutation(3 * count)[:count].tolist()
    more = signals_read(component) if signals is STANDARD else ()
    required = (name.replace("*", "confidence") for name in component.requires)
    names = dict.fromkeys((*signals, *more, *required))
    tied = case.material[0] % 2
    made = []
    for candidate in ids:
        own = case.random(7 if tied else 7 + candidate)
        recorded = {name: _signal(name, own, case) for name in names}
        made.append(
            Trajectory(
                prompt=0,
                candidate=candidate,
                status=Status.COMPLETED,
                reason=Status.COMPLETED.sentence,
                tokens=frozen_array(own.integers(0, case.vocab, case.total)),
                signals=recorded,
            )
        )
    return Pool(PROMPTS[0], tuple(made), case.seed, _images, _read, WORD_CLASSES)


#: Words that can replace one another in the kit's prompts.
WORD_CLASSES = (("red", "blue", "green"), ("circle", "square", "ring"), ("left", "right"))


def _read(trajectories: Any, prompts: Any) -> Array:
    """Log-probabilities (nats) that hang on the prompt and on each token, and on nothing else."""
    return np.stack(
        [
            [
                -1.0 - ((np.asarray(t.tokens) * 7 + zlib.crc32(prompt.label.encode())) % 11)
                for t in trajectories
            ]
            for prompt in prompts
        ]
    ).astype(np.float64)


def _signal(name: str, rng: np.random.Generator, case: Case) -> Any:
    values = rng.random(case.total)
    if case.material[-1] % 4 == 1:
        values = np.round(values, 1)
    if name.startswith("log_"):
        values = -10.0 * values
    if name == "gain":
        values = np.ones(case.total)
    return frozen_array(values.astype(np.float32))


def _images(trajectories: Any) -> Array:
    """A picture of each, by its tokens; of the size of the embedded model's."""
    out = np.zeros((len(trajectories), SIDE, SIDE, 3), dtype=np.uint8)
    for image, t in zip(out, trajectories, strict=True):
        image[:] = np.resize(np.asarray(t.tokens) * 16 % 256, (SIDE, SIDE, 1))
    return out


def answer(component: Any, pool: Pool) -> Any:
    """What is said about a pool: a selector's choice by candidate id, a reward's scores."""
    if isinstance(component, Selector):
        return component.select(pool)
    return np.asarray(component.score(pool), dtype=np.float64)


def ready(component: Any, case: Case) -> None:
    """Let it refuse its settings, as it may before the first token."""
    world = World(case)
    try:
        component.init(world.context(world.start()))
    except ScalingarError as error:
        raise Refused(str(error)) from error


def said(component: Any, pool: Pool) -> dict[int, float] | int:
    """`answer` by candidate id, which means the same in any order."""
    out = answer(component, pool)
    if isinstance(component, Selector):
        return int(pool.candidates[int(out)].candidate)
    return {t.candidate: float(v) for t, v in zip(pool.candidates, out.reshape(-1), strict=True)}


def _close(one: dict[int, float] | int, other: dict[int, float] | int) -> bool:
    if isinstance(one, int) or isinstance(other, int):
        return False
    names = sorted(one)
    same = names == sorted(other)
    return same and np.allclose([one[n] for n in names], [other[n] for n in names], rtol=1e-5)


@check("runs", *CHOOSING, cases=(SMOKE,))
def it_runs(kind: str, component: Any, case: Case) -> None:
    """It reads a plain pool of three candidates without an error.

    Everything else is checked on top of this, so what fails here is told once, and the other
    checks are not tried.
    """
    check_frozen(component)
    ready(component, case)
    answer(component, pool_of(component, case))


@check("global-settings", *CHOOSING, share=0.3)
def settings_of_libraries_stay(kind: str, component: Any, case: Case) -> None:
    """Global settings of torch and numpy are as before: types, threads, gradients, errors.

    They hold for the whole process, and so for the prompts that are decoded afterwards.
    """
    ready(component, case)
    before = settings_now()
    try:
        answer(component, pool_of(component, case))
    finally:
        changed = changed_settings(before)
    say_settings(component, changed)


@check("clock", *CHOOSING, share=0.3)
def clock_changes_nothing(kind: str, component: Any, case: Case) -> None:
    """A clock that leaps changes nothing.

    An answer by time (a deadline for a heavy judge) depends on the machine and its load.
    """
    ready(component, case)
    pool = pool_of(component, case)
    with leaping_clock(type(component).__module__):
        late = said(component, pool)
    if said(component, pool) != late:
        raise Broken(f"{said(component, pool)} became {late} under a clock that leaps.")


@check("needs", *CHOOSING, share=0.3)
def it_reads_what_it_requires(kind: str, component: Any, case: Case) -> None:
    """It needs nothing but what every decode records, and what `requires` names.

    A signal that `requires` leaves out is missed after the last token, when everything is paid
    for; one that it names is missed before the first.
    """
    ready(component, case)
    pool = pool_of(component, case, ALWAYS)
    try:
        scores = answer(component, pool)
    except Exception as error:
        raise Broken(
            f"with no signals but {', '.join(pool.candidates[0].signals)}: "
            f"{type(error).__name__}: {error}",
            "it reads a signal that `requires` does not name.",
        ) from error
    if kind == "reward" and not np.isfinite(scores).all():
        raise Broken(
            f"with no signals but {', '.join(pool.candidates[0].signals)} it gives "
            f"{scores.tolist()}.",
            "it reads a signal that `requires` does not name (final(name) is then NaN).",
        )


@check("valid", "selector")
def choice_is_in_the_pool(kind: str, component: Any, case: Case) -> None:
    """A selector chooses one of the completed candidates that it is given.

    An index that means another list (all candidates, those of the batch) shows a user the picture
    of another prompt, or one that was pruned half-way.
    """
    ready(component, case)
    pool = pool_of(component, case)
    pick = component.select(pool)
    if not isinstance(pick, (int, np.integer)) or isinstance(pick, bool):
        raise Broken(f"select returned {pick!r}, which is no index.")
    if not 0 <= pick < len(pool.candidates):
        raise Broken(f"select returned {pick} for a pool of {len(pool.candidates)} candidates.")


@check("finite", "reward")
def scores_are_finite(kind: str, component: Any, case: Case) -> None:
    """A reward gives one finite number for each candidate.

    A NaN loses every comparison without a word, so the best candidate may never win.
    """
    ready(component, case)
    pool = pool_of(component, case)
    scores = np.asarray(component.score(pool), dtype=np.float64)
    if scores.shape != (len(pool.candidates),) or not np.isfinite(scores).all():
        raise Broken(f"score returned {scores.tolist()} for {len(pool.candidates)} candidates.")


@check("order", "selector", "reward")
def order_of_candidates_is_nothing(kind: str, component: Any, case: Case) -> None:
    """The order of the candidates changes nothing; ties go by candidate id.

    Their order depends on who was pruned and forked. A choice by position makes equal candidates
    win by chance, and a repeated run differ.
    """
    ready(component, case)
    pool = pool_of(component, case)
    turned = evolve(pool, candidates=tuple(reversed(pool.candidates)))
    one, other = said(component, pool), said(component, turned)
    # A network rounds a row differently at another place of its batch: scores agree to rounding.
    if one != other and not _close(one, other):
        raise Broken(
            f"{one} became {other} when the same candidates were listed in reverse.",
            "it goes by a candidate's place in the list: break ties by its number, `.candidate`.",
        )


@check("determinism", "selector", "reward")
def same_pool_same_answer(kind: str, component: Any, case: Case) -> None:
    """The same pool gives the same answer, after any other pool.

    Draws by weight are keyed by the pool's seed and prompt, so that a run can be repeated; what
    is kept from one prompt must not leak into the next.
    """
    ready(component, case)
    first = said(component, pool_of(component, case))
    said(component, pool_of(component, evolve(case, shuffle=case.shuffle + 1, n=case.n + 1)))
    again = said(component, pool_of(component, case))
    if first != again:
        raise Broken(
            f"{first} became {again} for the same pool, after another one.",
            "it keeps something on itself or in its module, or draws without pool.seed.",
        )


@check("inputs", "selector", "reward")
def pool_stays(kind: str, component: Any, case: Case) -> None:
    """The pool is not changed: neither its list nor the recorded signals.

    What a selector writes is what the trace and the report show afterwards.
    """
    ready(component, case)
    pool = pool_of(component, case)
    listed = list(pool.candidates)
    pool = evolve(pool, candidates=list(listed))
    before = contracts.snapshot(*(t.signals for t in listed), *(t.tokens for t in listed))
    answer(component, pool)
    same = contracts.unchanged(before, *(t.signals for t in listed), *(t.tokens for t in listed))
    if not same or [id(t) for t in pool.candidates] != [id(t) for t in listed]:
        raise Broken("the candidates of the pool were changed.")


@check("global-randomness", "selector", "reward")
def chance_is_keyed(kind: str, component: Any, case: Case) -> None:
    """No global randomness is read.

    A draw from a global stream changes with everything that ran before; `uniforms(pool.seed, ...)`
    is the same for ever.
    """
    ready(component, case)
    with contracts.no_global_randomness(contracts.name_of(component)), torch.no_grad():
        answer(component, pool_of(component, case))
