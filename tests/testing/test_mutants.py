"""The kit is itself tested: every broken component is caught by the check meant for it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scalingar_fw.testing import check_component, checks_for, replay

SPEC = importlib.util.spec_from_file_location(
    "scalingar_mutants", Path(__file__).with_name("mutants.py")
)
assert SPEC is not None and SPEC.loader is not None
mutants: Any = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = mutants  # so that components can be found by name
SPEC.loader.exec_module(mutants)


def label(value: Any) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("mutant", "check"), mutants.MUTANTS, ids=label)
def test_the_check_meant_for_a_mistake_catches_it(mutant: Any, check: str, tmp_path: Path) -> None:
    bound = checks_for(mutant, only=[check], parts=False, folder=tmp_path)[0]
    outcome = bound.run()
    assert outcome.status == "failed", f"{check} passed {type(mutant).__name__}"
    assert outcome.counter_example is not None
    written = json.loads(Path(outcome.counter_example).read_text())
    assert written["check"] == check
    assert written["message"] == outcome.message
    assert len(Path(outcome.counter_example).read_text()) < 2000, "small enough to read"


def test_there_are_mutants_of_every_capability_and_for_every_check_that_can_fail() -> None:
    caught = {check for _, check in mutants.MUTANTS}
    assert len(mutants.MUTANTS) >= 20
    assert {c.split("-")[0] for c in caught} == {
        "confidence",
        "guidance",
        "termination",
        "sampler",
        "selector",
        "reward",
        "strategy",
    }


@pytest.mark.parametrize("right", [mutants.Mean(), mutants.Lowest()], ids=label)
def test_what_the_mutants_are_made_of_is_right(right: Any, tmp_path: Path) -> None:
    outcomes = check_component(right, examples=15, folder=tmp_path)
    assert [o for o in outcomes if not o.ok] == []
    assert list(tmp_path.iterdir()) == [], "no counter-example is written where none was found"


def test_a_counter_example_is_shrunk_and_fails_again_when_replayed(tmp_path: Path) -> None:
    component = mutants.Cutoff()
    bound = checks_for(component, only=["termination-keeps-one"], folder=tmp_path)[0]
    path = bound.run().counter_example
    assert path is not None
    case = json.loads(Path(path).read_text())["case"]
    assert (case["prompts"], case["n"], case["moves"]) == (1, 1, []), "one candidate is enough"
    assert replay(component, path).status == "failed"
    assert replay(mutants.Lowest(), path).status == "passed"
