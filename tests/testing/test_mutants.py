"""The kit is itself tested: every broken component is caught by the check meant for it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scalingar_fw.testing import CATALOGUE, checks_for, replay
from scalingar_fw.testing.catalogue import KINDS


def loaded(file: str) -> Any:
    """The module, which another file of tests may have loaded already; components in it are found
    by name."""
    name = f"scalingar_{file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


mutants, beyond = loaded("mutants"), loaded("mutants_beyond")
MUTANTS: list[tuple[Any, str]] = [*mutants.MUTANTS, *beyond.MUTANTS]
#: The number that the guide recommends: what is caught here is caught there.
EXAMPLES = 10


def label(value: Any) -> str:
    return value if isinstance(value, str) else type(value).__name__


# The conformance kit's mutation score, printed at the end of a run, counts this test's verdicts
# (tests/conftest.py).
@pytest.mark.parametrize(("mutant", "check"), MUTANTS, ids=label)
def test_the_check_meant_for_a_mistake_catches_it(mutant: Any, check: str, tmp_path: Path) -> None:
    bound = checks_for(mutant, only=[check], parts=False, folder=tmp_path, examples=EXAMPLES)[0]
    outcome = bound.run()
    assert outcome.status == "failed", f"{check} passed {type(mutant).__name__}"
    assert outcome.counter_example is not None
    written = json.loads(Path(outcome.counter_example).read_text())
    assert written["check"] == check
    assert written["message"] == outcome.message
    assert len(Path(outcome.counter_example).read_text()) < 2000, "small enough to read"
    assert outcome.why and outcome.documented and outcome.place, "all that a reader needs"


def test_there_are_mutants_of_every_kind_and_for_every_check_that_can_fail() -> None:
    checks_for(mutants.Mean())
    names: dict[str, set[str]] = {}
    for check in CATALOGUE.values():
        names.setdefault(check.name, set()).add(check.kind)
    meant = {CATALOGUE[check].name for _, check in MUTANTS}
    assert len(MUTANTS) >= 100
    assert {CATALOGUE[check].kind for _, check in MUTANTS} == set(KINDS)
    # `acts` never fails, and the loop itself keeps the rest from happening.
    assert set(names) - meant == {"acts", "answer", "ledger"}


def all_at_once(component: Any, folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for bound in checks_for(component, examples=EXAMPLES, folder=folder, parts=False):
        if bound.check.name != "fresh-process":  # a process each, for what is not about it here
            outcome = bound.run()
            found.setdefault(outcome.status, []).append(outcome)
    return found


RIGHT = [mutants.Mean(), mutants.Lowest(), *beyond.RIGHT]


@pytest.mark.parametrize("right", RIGHT, ids=label)
def test_what_the_mutants_are_made_of_is_right(right: Any, tmp_path: Path) -> None:
    found = all_at_once(right, tmp_path)
    assert set(found) <= {"passed", "skipped"}, found
    assert list(tmp_path.iterdir()) == [], "no counter-example is written where none was found"


#: A mistake of each kind that used to be told many times.
ONE_CAUSE = (
    (beyond.NotFrozen(), "confidence-runs"),
    (beyond.MissingSignal(), "guidance-runs"),
    (beyond.Column(), "confidence-runs"),
    (mutants.Dropout(), "confidence-global-randomness"),
    (mutants.OnSelf(), "confidence-no-own-memory"),
    (mutants.AcrossPrompts(), "confidence-prompts-apart"),
    (beyond.Undeclared(), "selector-needs"),
)


@pytest.mark.parametrize(("mutant", "check"), ONE_CAUSE, ids=label)
def test_one_cause_is_one_message(mutant: Any, check: str, tmp_path: Path) -> None:
    found = all_at_once(mutant, tmp_path)
    told = {o.id for o in found["failed"]}
    beside = {"confidence-device"} if isinstance(mutant, mutants.AcrossPrompts) else set()
    if isinstance(mutant, mutants.OnSelf):
        beside = {"confidence-round-trip"}
    assert told - beside == {check}
    for echo in found.get("same-cause", []):
        assert echo.cause == check and check in echo.message


def test_a_crash_is_told_with_the_line_that_crashed(tmp_path: Path) -> None:
    [outcome] = all_at_once(beyond.Typo(), tmp_path)["failed"]
    assert "'Signals' object has no attribute 'margn'" in outcome.message
    assert outcome.place.endswith("in read: return signals.margn")
    assert "mutants_beyond.py:" in outcome.place


def test_a_crash_that_comes_late_is_told_once_as_well(tmp_path: Path) -> None:
    """Not in the plain run, but in every check that has more than four rows of a prompt."""
    found = all_at_once(beyond.CrashesWithForks(), tmp_path)
    assert len(found["failed"]) == 1
    assert "in read: raise KeyError" in found["failed"][0].place
    assert len(found["same-cause"]) > 5


def test_a_likely_cause_comes_first(tmp_path: Path) -> None:
    [bound] = checks_for(
        mutants.SecretCohort(), only=["confidence-take-update"], folder=tmp_path, examples=0
    )
    with pytest.raises(AssertionError) as caught:
        bound()
    name, first, *_ = str(caught.value).splitlines()
    assert name == "confidence-take-update"
    assert first.startswith("Likely cause: it reads other candidates")
    assert 'declare scope = "cohort"' in first


def test_a_missing_frozen_is_named(tmp_path: Path) -> None:
    [outcome] = all_at_once(beyond.NotFrozen(), tmp_path)["failed"]
    assert outcome.hint.startswith("a missing @frozen")
    assert "'power'" in outcome.message


def test_a_counter_example_is_shrunk_and_fails_again_when_replayed(tmp_path: Path) -> None:
    component = mutants.Cutoff()
    bound = checks_for(component, only=["termination-keeps-one"], folder=tmp_path)[0]
    path = bound.run().counter_example
    assert path is not None
    case = json.loads(Path(path).read_text())["case"]
    assert (case["prompts"], case["n"], case["moves"]) == (1, 1, []), "one candidate is enough"
    assert replay(component, path).status == "failed"
    assert replay(mutants.Lowest(), path).status == "passed"
