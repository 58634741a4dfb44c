"""Runs the checks of a component, and says what became of each."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve, field, frozen

from scalingar_fw.decoding.components import Component
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import read_json
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import (
    CATALOGUE,
    Broken,
    Check,
    NotHere,
    checks_of,
    current_name,
    kind_of_object,
)
from scalingar_fw.testing.causes import Session, place_of
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.searching import Found, attempt, say, search

#: Where counter-examples are written.
FOLDER = Path(".scalingar/counterexamples")
EXAMPLES = 50

PASSED, FAILED, SKIPPED, EXPECTED = "passed", "failed", "skipped", "expected-failure"
#: Failed as well, for a reason that another check tells.
ECHO = "same-cause"


@frozen
class Outcome:
    """What became of one check; plain data for tables and JSON.

    `message`: step, candidate, what came and what was expected. `hint`: the likely cause and its
    remedy. `why`: the contract's reason. `place`: file and line of the component. `documented`:
    where the documentation says it. `cause`: the id of the failure that this one is an echo of.
    """

    id: str
    title: str
    status: str
    message: str = ""
    counter_example: str | None = None
    examples: int = 0
    hint: str = ""
    why: str = ""
    place: str = ""
    documented: str = ""
    cause: str | None = None

    @property
    def ok(self) -> bool:
        return self.status != FAILED

    @property
    def untried(self) -> bool:
        """Whether it was skipped because nothing runs at all."""
        return self.status == SKIPPED and self.cause is not None

    def sentences(self) -> list[str]:
        """A failure in the order in which one reads it: the likely cause first."""
        lines = [f"Likely cause: {self.hint}"] if self.hint else []
        lines.append(self.message)
        if self.place:
            lines.append(f"At {self.place}")
        lines.append(f"The contract: {self.title} {self.why}".rstrip())
        if self.documented:
            lines.append(f"See {self.documented}")
        if self.counter_example:
            lines.append(f"Counter-example: {self.counter_example}")
        return lines


@frozen
class Bound:
    """A check of one component: call it in a test, or `run()` it for an `Outcome`.

    `floor`: how many cases of the battery it tries before it looks for others (None: all).
    """

    check: Check
    component: Any = field(repr=False)
    examples: int = EXAMPLES
    expected: str | None = None
    folder: Path = FOLDER
    label: str = ""
    floor: int | None = None
    session: Session = field(factory=Session, repr=False)

    @property
    def id(self) -> str:
        return f"{self.label}{self.check.id}"

    @property
    def __name__(self) -> str:  # what pytest's `ids=str` and reports show
        return self.id

    def __str__(self) -> str:
        return self.id

    def __call__(self) -> None:
        """Raise `AssertionError` for a broken contract; xfail for one that is broken by design, or
        for the reason that another check tells."""
        outcome = self.run()
        if outcome.status == FAILED:
            raise Broken("\n".join([outcome.id, *outcome.sentences()]))
        if outcome.status in (EXPECTED, ECHO):
            import pytest

            pytest.xfail(outcome.message)
        # A contract that says nothing about a component is no gap in its tests.

    def run(self) -> Outcome:
        """Look for a counter-example, unless it is known that nothing runs at all."""
        smoke = self._smoke()
        if smoke is not None:
            return smoke
        found = search(self.check, self.component, self.examples, self.floor, self.session.plays)
        return self._outcome(found)

    def _smoke(self) -> Outcome | None:
        """The plain run's failure, told by whichever check comes first; None where it runs."""
        session, check = self.session, CATALOGUE[f"{self.check.kind}-runs"]
        if not session.tried:
            session.tried = True
            session.broken = search(check, self.component, 0, None, session.plays)
        if self.check is not check and session.broken.error is None:
            return None
        if session.broken.error is not None and session.told:
            message = f"not tried: {self.label}{check.id} says why it does not run"
            cause = f"{self.label}{check.id}"
            return Outcome(self.id, self.check.title, SKIPPED, message, cause=cause)
        session.told = True
        expected = self.expected if self.check is check else None
        smoke = evolve(self, check=check, expected=expected)
        return smoke._outcome(session.broken, identity=self.id)

    def _outcome(self, found: Found, identity: str | None = None) -> Outcome:
        check, title = self.check, self.check.title
        identity = self.id if identity is None else identity
        if found.error is None:
            status = SKIPPED if found.skipped else PASSED
            if self.expected is not None and status == PASSED:
                said = f"declared as an expected failure ({self.expected}), but it passes"
                return Outcome(identity, title, FAILED, said, examples=found.examples)
            return Outcome(identity, title, status, found.skipped, examples=found.examples)
        said = say(found.error)
        if self.expected is not None:
            message = f"{self.expected} ({said})"
            return Outcome(identity, title, EXPECTED, message, examples=found.examples)
        cause = self.session.cause_of(check, found.error, said)
        if cause is not None and cause != identity:
            message = f"fails as well, probably for the same reason as {cause}"
            return Outcome(identity, title, ECHO, message, examples=found.examples, cause=cause)
        self.session.note(check, identity, found.error, said)
        return Outcome(
            identity,
            title,
            FAILED,
            said,
            self._write(found, said),
            found.examples,
            hint=getattr(found.error, "hint", ""),
            why=check.why,
            place=place_of(found.error, self.component),
            documented=check.documented,
        )

    def _write(self, found: Found, message: str) -> str:
        assert found.case is not None
        name = type(self.component).__name__
        path = self.folder / f"{name}-{self.id}.json"
        data = {
            "check": self.check.id,
            "title": self.check.title,
            "component": f"{type(self.component).__module__}:{type(self.component).__qualname__}",
            "settings": repr(self.component),
            "message": message,
            "case": found.case.to_data(),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            warnings.warn(f"The counter-example was not written: {error}", stacklevel=3)
            return f"not written ({error})"
        return str(path)


def checks_for(
    component: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    examples: int = EXAMPLES,
    folder: str | Path = FOLDER,
    only: Sequence[str] = (),
    parts: bool = True,
    floor: int | None = None,
) -> list[Bound]:
    """The checks that apply to a component, ready to be parametrised:

        @pytest.mark.parametrize("check", checks_for(MyConfidence()), ids=str)
        def test_contract(check):
            check()

    Args:
        component: a confidence estimator, guidance schedule, termination policy, sampler, selector,
            reward, strategy (with its parts, unless `parts` is False) or observer.
        expected_failures: reasons by check id, for contracts that it breaks by design; added to
            those that its class declares as `expected_failures`. One that passes is a failure.
        examples: how many cases each check looks for, beyond the battery that each always tries.
        folder: where counter-examples are written.
        only: check ids; all where empty.
        floor: how many cases of the battery are tried (None: all), for suites that check many
            variants of one component.
    """
    need_hypothesis()
    load_catalogue()
    kind = kind_of_object(component)
    if isinstance(component, type):
        raise ScalingarError(
            f"{component.__name__} is a class: give an object, {component.__name__}()."
        )
    if kind is None:
        raise ScalingarError(
            f"{component!r} is nothing that can be checked: give a confidence estimator, guidance "
            "schedule, termination policy, sampler, selector, reward, strategy or observer."
        )
    given = {current_name(name): why for name, why in (expected_failures or {}).items()}
    options: dict[str, Any] = {"examples": examples, "folder": Path(folder), "floor": floor}
    below: list[Bound] = []
    if kind == "strategy" and parts:  # parts first: what breaks one of them breaks the whole
        for name, part in component.parts.items():
            below += _bound(part, f"{name}.", given, Session(), options)
    above = list({id(b.session): b.session for b in below}.values())
    bound = below + _bound(component, "", given, Session(above=above), options)
    known = [b.id for b in bound]
    wanted = [current_name(name) for name in only]
    for name in (*given, *wanted):
        if name not in known:
            raise unknown_name("check", name, known)
    return [b for b in bound if not wanted or b.id in wanted]


def _bound(
    component: Any, label: str, given: Mapping[str, str], session: Session, options: dict[str, Any]
) -> list[Bound]:
    declared: Mapping[str, str] = {}
    if isinstance(component, Component):
        declared = {current_name(k): why for k, why in component.expected_failures.items()}
    return [
        Bound(
            check=check,
            component=component,
            expected=given.get(label + check.id, declared.get(check.id)),
            label=label,
            session=session,
            **options,
        )
        for check in checks_of(component)
        # A process for each neutral part of a strategy would cost more than all other checks.
        if not (label and check.name == "fresh-process" and _is_ours(component))
    ]


def _is_ours(component: Any) -> bool:
    return type(component).__module__.startswith("scalingar_fw.")


def check_component(component: Any, **options: Any) -> list[Outcome]:
    """Run all checks of a component (options as `checks_for`)."""
    return [bound.run() for bound in checks_for(component, **options)]


def replay(component: Any, path: str | Path) -> Outcome:
    """Try a written counter-example again."""
    load_catalogue()
    try:
        data = read_json(Path(path))
        check, case = CATALOGUE[current_name(data["check"])], Case.from_data(data["case"])
    except (ValueError, KeyError, TypeError) as error:
        raise ScalingarError(f"{path} is no counter-example of this kit: {error!r}.") from error
    try:
        attempt(check, component, case)
    except (Refused, NotHere) as error:
        return Outcome(check.id, check.title, SKIPPED, str(error))
    except Exception as error:
        return Outcome(
            check.id,
            check.title,
            FAILED,
            say(error),
            str(path),
            1,
            hint=getattr(error, "hint", ""),
            why=check.why,
            place=place_of(error, component),
            documented=check.documented,
        )
    return Outcome(check.id, check.title, PASSED, examples=1)


def load_catalogue() -> None:
    """Import every module that registers checks."""
    from scalingar_fw.testing import (
        choosing,
        devices,
        drawing,
        fresh,
        returning,
        scale,
        stepping,
        watching,
        whole,
    )

    assert all((choosing, devices, drawing, fresh, returning, scale, stepping, watching, whole))


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
