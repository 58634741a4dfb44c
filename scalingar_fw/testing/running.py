"""Runs checks: Hypothesis looks for a case that breaks one, and shrinks it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import field, frozen

from scalingar_fw.decoding.components import Component
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import read_json
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import (
    CATALOGUE,
    Broken,
    Check,
    NotHere,
    capability_of,
    checks_of,
    fresh,
)
from scalingar_fw.testing.play import Refused

#: Where counter-examples are written.
FOLDER = Path(".scalingar/counterexamples")
EXAMPLES = 50
#: Cases in a row that show nothing about a contract, after which it does not apply.
ENOUGH = 15

PASSED, FAILED, SKIPPED, EXPECTED = "passed", "failed", "skipped", "expected-failure"


@frozen
class Outcome:
    """What became of one check; plain data for tables and JSON."""

    id: str
    title: str
    status: str
    message: str = ""
    counter_example: str | None = None
    examples: int = 0

    @property
    def ok(self) -> bool:
        return self.status != FAILED


@frozen
class Bound:
    """A check of one component: call it in a test, or `run()` it for an `Outcome`."""

    check: Check
    component: Any = field(repr=False)
    examples: int = EXAMPLES
    expected: str | None = None
    folder: Path = FOLDER
    label: str = ""

    @property
    def id(self) -> str:
        return f"{self.label}{self.check.id}"

    @property
    def __name__(self) -> str:  # what pytest's `ids=str` and reports show
        return self.id

    def __str__(self) -> str:
        return self.id

    def __call__(self) -> None:
        """Raise `AssertionError` for a broken contract; skip or xfail where that is the result."""
        outcome = self.run()
        if outcome.status == FAILED:
            raise Broken(_sentence(self.check, outcome))
        if outcome.status in (SKIPPED, EXPECTED):
            import pytest

            if outcome.status == SKIPPED:
                # A contract that says nothing about a component is no gap in its tests.
                return
            pytest.xfail(outcome.message)

    def run(self) -> Outcome:
        """Look for a counter-example."""
        found = _search(self)
        path = None
        if found.status == FAILED and found.case is not None and self.expected is None:
            path = self._write(found)
        status, message = found.status, found.message
        if self.expected is not None and status == FAILED:
            status, message = EXPECTED, f"{self.expected} ({message})"
        elif self.expected is not None and status == PASSED:
            status = FAILED
            message = f"declared as an expected failure ({self.expected}), but it passes"
        return Outcome(self.id, self.check.title, status, message, path, found.examples)

    def _write(self, found: _Found) -> str:
        assert found.case is not None
        name = type(self.component).__name__
        path = self.folder / f"{name}-{self.id}.json"
        data = {
            "check": self.check.id,
            "title": self.check.title,
            "component": f"{type(self.component).__module__}:{type(self.component).__qualname__}",
            "settings": repr(self.component),
            "message": found.message,
            "case": found.case.to_data(),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            warnings.warn(f"The counter-example was not written: {error}", stacklevel=3)
            return f"not written ({error})"
        return str(path)


@frozen
class _Found:
    status: str
    message: str = ""
    case: Case | None = None
    examples: int = 0


def _sentence(check: Check, outcome: Outcome) -> str:
    where = f"\nCounter-example: {outcome.counter_example}" if outcome.counter_example else ""
    return f"{outcome.id}: {check.title}\n{outcome.message}\nWhy it matters: {check.why}{where}"


def say(error: BaseException) -> str:
    """An error as a message: contracts speak for themselves, crashes name their type."""
    if isinstance(error, (Broken, ScalingarError)) or type(error).__name__ == "ContractError":
        return str(error)
    return f"{type(error).__name__}: {error}"


def _search(bound: Bound) -> _Found:
    reason = bound.check.applies(bound.component)
    if reason is not None:
        return _Found(SKIPPED, reason)
    import hypothesis
    from hypothesis import HealthCheck, Phase

    from scalingar_fw.testing.generators import cases

    failures: list[tuple[Case, Exception]] = []
    skipped: list[str] = []
    counted = 0

    def probe(case: Case) -> None:
        nonlocal counted
        if counted == 0 and len(skipped) >= ENOUGH:
            return  # nothing here for this check, and more of the same would not change that
        try:
            attempt(bound.check, bound.component, case)
        except (Refused, NotHere) as error:
            skipped.append(str(error))
            hypothesis.reject()
        except Exception as error:
            failures.append((case, error))
            raise
        counted += 1

    settings = hypothesis.settings(
        max_examples=max(1, round(bound.examples * bound.check.share)),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    test = settings(hypothesis.given(cases())(probe))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="hypothesis")
            test()
    except hypothesis.errors.Unsatisfiable:
        pass
    except Exception:
        if not failures:  # a mistake of the kit itself
            raise
    if failures:
        # The last failing case is the shrunk one: Hypothesis ends by repeating it.
        case, error = failures[-1]
        return _Found(FAILED, say(error), case, counted)
    if counted == 0:
        why = next((s for s in reversed(skipped) if s), "no case shows anything about it")
        return _Found(SKIPPED, why)
    return _Found(PASSED, "", None, counted)


def attempt(check: Check, component: Any, case: Case) -> None:
    """One case of one check, under the loop's conditions; raises where it breaks.

    On a copy: a component that remembers earlier cases would fail for what is not in this one.
    """
    with torch.inference_mode():
        check.run(fresh(component), case)


def checks_for(
    component: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    examples: int = EXAMPLES,
    folder: str | Path = FOLDER,
    only: Sequence[str] = (),
    parts: bool = True,
) -> list[Bound]:
    """The checks that apply to a component, ready to be parametrised:

        @pytest.mark.parametrize("check", checks_for(MyEstimator()), ids=str)
        def test_contract(check):
            check()

    Args:
        component: an estimator, guidance schedule, termination policy, sampler, selector, reward
            or strategy (with its parts, unless `parts` is False).
        expected_failures: reasons by check id, for contracts that it breaks by design; added to
            those that its class declares as `expected_failures`. One that passes is a failure.
        examples: how many cases each check tries.
        folder: where counter-examples are written.
        only: check ids; all where empty.
    """
    need_hypothesis()
    load_catalogue()
    capability = capability_of(component)
    if isinstance(component, type):
        raise ScalingarError(
            f"{component.__name__} is a class: give an object, {component.__name__}()."
        )
    if capability is None:
        raise ScalingarError(
            f"{component!r} is nothing that can be checked: give an estimator, guidance schedule, "
            "termination policy, sampler, selector, reward or strategy."
        )
    given = dict(expected_failures or {})
    bound = _bound(component, "", given, examples, folder)
    if capability == "strategy" and parts:
        for name, part in component.parts.items():
            bound += _bound(part, f"{name}.", given, examples, folder)
    known = [b.id for b in bound]
    for name in (*given, *only):
        if name not in known:
            raise unknown_name("check", name, known)
    return [b for b in bound if not only or b.id in only]


def _bound(
    component: Any, label: str, given: Mapping[str, str], examples: int, folder: str | Path
) -> list[Bound]:
    declared: Mapping[str, str] = {}
    if isinstance(component, Component):
        declared = component.expected_failures
    return [
        Bound(
            check=check,
            component=component,
            examples=examples,
            expected=given.get(label + check.id, declared.get(check.id)),
            folder=Path(folder),
            label=label,
        )
        for check in checks_of(component)
    ]


def check_component(component: Any, **options: Any) -> list[Outcome]:
    """Run all checks of a component (options as `checks_for`)."""
    return [bound.run() for bound in checks_for(component, **options)]


def replay(component: Any, path: str | Path) -> Outcome:
    """Try a written counter-example again."""
    load_catalogue()
    try:
        data = read_json(Path(path))
        check, case = CATALOGUE[data["check"]], Case.from_data(data["case"])
    except (ValueError, KeyError, TypeError) as error:
        raise ScalingarError(f"{path} is no counter-example of this kit: {error!r}.") from error
    try:
        attempt(check, component, case)
    except (Refused, NotHere) as error:
        return Outcome(check.id, check.title, SKIPPED, str(error))
    except Exception as error:
        return Outcome(check.id, check.title, FAILED, say(error), str(path), 1)
    return Outcome(check.id, check.title, PASSED, examples=1)


def load_catalogue() -> None:
    """Import every module that registers checks."""
    from scalingar_fw.testing import choosing, devices, drawing, returning, stepping, whole

    assert all((choosing, devices, drawing, returning, stepping, whole))


def need_hypothesis() -> None:
    """A clear message where the extra is missing."""
    try:
        import hypothesis
    except ModuleNotFoundError as error:
        raise ScalingarError(
            "The conformance kit needs Hypothesis: pip install 'scalingar-fw[testing]'."
        ) from error
    assert hypothesis


def as_data(outcome: Outcome) -> dict[str, Any]:
    """An outcome for JSON."""
    return attrs.asdict(outcome)
