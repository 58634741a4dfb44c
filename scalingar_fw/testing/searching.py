"""Looks for a case that breaks a check: the battery first, then what Hypothesis thinks of.

A failing case is made smaller by hand: it has a dozen fields, of which most have a plainest value,
and cases of the battery did not come from Hypothesis, which could not shrink them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import torch
from attrs import evolve, frozen

from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.testing.battery import BATTERY
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import Broken, Check, NotHere, fresh
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.plays import Played, remembered
from scalingar_fw.testing.surroundings import changed_settings, settings_now

#: Cases in a row that show nothing about a contract, after which it does not apply.
ENOUGH = 15
#: Attempts to make a counter-example smaller.
SHRINKING = 120

Plays = dict[Case, Played | Exception]


@frozen(eq=False)
class Found:
    """What a search found: the error and the smallest case, or why nothing could be seen."""

    error: Exception | None = None
    case: Case | None = None
    examples: int = 0
    skipped: str = ""


def attempt(check: Check, component: Any, case: Case, plays: Plays | None = None) -> None:
    """One case of one check, under the loop's conditions; raises where it breaks.

    On a copy: a component that remembers earlier cases would fail for what is not in this one.
    """
    settings = settings_now()
    try:
        with torch.inference_mode(), remembered({} if plays is None else plays):
            check.run(fresh(component), case)
    finally:  # a component that changes global settings is told by one check, and harms no other
        changed_settings(settings)


def search(check: Check, component: Any, examples: int, floor: int | None, plays: Plays) -> Found:
    """Look for a case that breaks `check`.

    `examples`: how many cases are looked for beyond the battery; `floor`: how many of the battery
    are tried (None: all).
    """
    reason = check.applies(component)
    if reason is not None:
        return Found(skipped=reason)
    skipped: list[str] = []
    counted = 0
    for case in check.cases or BATTERY[:floor]:
        try:
            attempt(check, component, case, plays)
        except (Refused, NotHere) as error:
            skipped.append(str(error))
        except Exception as error:
            if check.cases:
                return Found(error, case, counted + 1)
            return _shrunk(check, component, case, error, counted + 1)
        else:
            counted += 1
    if not check.cases and examples > 0:
        number = max(1, round(examples * check.share))
        failure, more = _searched(check, component, number, plays, skipped, counted)
        counted += more
        if failure is not None:
            return _shrunk(check, component, *failure, counted + 1)
    if counted == 0:
        why = next((s for s in reversed(skipped) if s), "no case shows anything about it")
        return Found(skipped=why)
    return Found(examples=counted)


def _searched(
    check: Check, component: Any, number: int, plays: Plays, skipped: list[str], before: int
) -> tuple[tuple[Case, Exception] | None, int]:
    import hypothesis
    from hypothesis import HealthCheck, Phase

    from scalingar_fw.testing.generators import cases

    failures: list[tuple[Case, Exception]] = []
    counted = 0

    def probe(case: Case) -> None:
        nonlocal counted
        if failures or (before + counted == 0 and len(skipped) >= ENOUGH):
            return  # found; or nothing here for this check, which more of the same won't change
        try:
            attempt(check, component, case, plays)
        except (Refused, NotHere) as error:
            skipped.append(str(error))
            hypothesis.reject()
        except Exception as error:
            failures.append((case, error))
            return
        counted += 1

    settings = hypothesis.settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="hypothesis")
            settings(hypothesis.given(cases())(probe))()
    except hypothesis.errors.Unsatisfiable:
        pass
    return (failures[0] if failures else None), counted


def _shrunk(check: Check, component: Any, case: Case, error: Exception, examples: int) -> Found:
    """The smallest case found that fails in the same way."""
    left = SHRINKING
    smaller = True
    while smaller and left > 0:
        smaller = False
        for simpler in _simpler(case):
            left -= 1
            if left <= 0:
                break
            again = _fails(check, component, simpler)
            if again is not None and type(again) is type(error):
                case, error, smaller = simpler, again, True
                break
    return Found(error, case, examples)


def _fails(check: Check, component: Any, case: Case) -> Exception | None:
    try:
        attempt(check, component, case)
    except (Refused, NotHere):
        return None
    except Exception as error:
        return error
    return None


_PLAINEST = Case()
_GRIDS = ((1, 1), (1, 2), (2, 2), (2, 3))


def _simpler(case: Case) -> Iterator[Case]:
    """Cases with one thing less, the greatest simplifications first."""
    if case.moves:
        yield evolve(case, moves=())
        if len(case.moves) > 1:
            yield from (evolve(case, moves=(m,)) for m in case.moves)
    if case.material != (0,):
        yield evolve(case, material=(0,))
        if len(case.material) > 1:
            yield from (evolve(case, material=(b,)) for b in dict.fromkeys(case.material))
            half = len(case.material) // 2
            yield from (
                evolve(case, material=m) for m in (case.material[:half], case.material[half:])
            )
    yield from (evolve(case, prompts=fewer) for fewer in range(1, case.prompts))
    yield from (evolve(case, n=fewer) for fewer in range(1, case.n))
    for rows, cols in _GRIDS:
        if rows * cols < case.total:
            yield evolve(case, rows=rows, cols=cols, moves=())
    for field in attrs.fields_dict(Case):
        if field in ("rows", "cols", "material", "moves", "prompts", "n"):
            continue
        plain = getattr(_PLAINEST, field)
        if getattr(case, field) != plain:
            yield evolve(case, **{field: plain})


def say(error: BaseException) -> str:
    """An error as a message: contracts speak for themselves, crashes name their type."""
    if isinstance(error, (Broken, ScalingarError, ContractError)):
        return str(error)
    return f"{type(error).__name__}: {error}"


__all__ = ["Found", "Plays", "attempt", "say", "search"]
