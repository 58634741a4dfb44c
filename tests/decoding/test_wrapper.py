"""Wrappers answer every question as the component inside does, unless answering it is their job."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from attrs import evolve, frozen

from scalingar_fw import ScalingarError, Strategy, decode
from scalingar_fw.decoding import checked as checking
from scalingar_fw.decoding.components import BASES, Component, Selector, Termination
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.wrapper import Wrapper, questions
from scalingar_fw.experiments.metering import Meter
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.termination import wrappers


def marked(kind: str) -> Any:
    """A component of a kind that answers each question with its name (and its arguments)."""
    base = BASES[kind]
    answers: dict[str, Any] = {}
    for name in questions(base):
        if callable(getattr(base, name)):
            answers[name] = lambda self, *args, _name=name, **kw: (_name, args, kw)
        else:
            answers[name] = property(lambda self, _name=name: f"the {_name}")
    return type(f"Marked{kind.title()}", (base,), answers)()


CHECKED = {
    "confidence": (checking.CheckedConfidence, {"init", "update", "commit"}),
    "guidance": (checking.CheckedGuidance, {"init", "update"}),
    "termination": (checking.CheckedTermination, {"init", "update"}),
    "sampler": (checking.CheckedSampler, {"init", "propose"}),
    "selector": (checking.CheckedSelector, {"select"}),
}
OWN = {"scope", "init", "update", "promises"}
POLICIES = [
    wrappers.Warmup,
    wrappers.EverySteps,
    wrappers.RecoveryWindow,
    wrappers.Patience,
    wrappers.MinSurvivors,
    wrappers.TokenBudget,
]
CASES: list[tuple[Any, Any, set[str]]] = [
    *((cls(marked(kind)), marked(kind), own) for kind, (cls, own) in CHECKED.items()),
    (Meter(marked("selector"), 1.0), marked("selector"), {"select"}),
    *((cls(policy=marked("termination")), marked("termination"), OWN) for cls in POLICIES),
]


@pytest.mark.parametrize(
    ("outer", "alike", "own"), CASES, ids=lambda v: type(v).__name__ if hasattr(v, "kind") else ""
)
def test_every_public_question_reaches_the_component_inside(
    outer: Any, alike: Any, own: set[str]
) -> None:
    base = BASES[outer.kind]
    assert isinstance(outer, base)
    for name in questions(base):
        if name in own:
            assert name in vars(type(outer)), f"{name} should be its own"
        elif callable(getattr(base, name)):
            assert getattr(outer, name)("a", b=2) == (name, ("a",), {"b": 2})
        else:
            assert getattr(outer, name) == f"the {name}"


def test_every_wrapper_of_the_package_is_among_the_cases() -> None:
    def heirs(cls: type) -> list[type]:
        return [h for sub in cls.__subclasses__() for h in (sub, *heirs(sub))]

    import scalingar_fw.testing.play  # whose wrappers only watch

    made = [h for h in heirs(Wrapper) if issubclass(h, Component)]
    # attrs makes a class with slots beside each one that it is given; the name means the new one.
    ours = {h for h in made if getattr(sys.modules[h.__module__], h.__name__, None) is h}
    ours = {h for h in ours if h.__module__.startswith("scalingar")}
    watched = {h for h in ours if h.__module__ == scalingar_fw.testing.play.__name__}
    named = {h.__qualname__ for h in ours - watched}
    assert named == {type(outer).__qualname__ for outer, _, _ in CASES}
    for cls in watched:
        inner = marked(cls.kind)  # type: ignore[attr-defined]
        outer: Any = cls(inner, lambda *args: args)
        for name in questions(BASES[inner.kind]):
            if name not in vars(cls) and not callable(getattr(type(inner), name)):
                assert getattr(outer, name) == f"the {name}"


def test_a_question_that_is_new_to_a_kind_is_forwarded_without_further_ado() -> None:
    @frozen
    class Plain(Wrapper, Selector):
        inner: Selector

    assert Plain(marked("selector")).requires == "the requires"
    assert Plain(marked("selector")).select("pool") == ("select", ("pool",), {})  # type: ignore[arg-type]


def test_a_wrapper_around_a_wrapper_reaches_the_innermost() -> None:
    inner = marked("termination")
    outer = checking.CheckedTermination(wrappers.Patience(policy=wrappers.Warmup(policy=inner)))
    assert outer.expected_failures == "the expected_failures"


class Stranger:
    """Has the methods of a policy, and says of nothing what it is."""

    def init(self, context: Any) -> None:
        return None

    def update(self, state: None, confidence: Any, step: Any) -> Any:
        raise AssertionError("never asked")


def test_a_plain_object_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(ScalingarError) as error:
        Strategy("mine", termination=Stranger())  # type: ignore[arg-type]
    assert "class Stranger(scalingar_fw.Termination)" in str(error.value)
    with pytest.raises(ScalingarError) as error:
        evolve(Strategy("mine"), selector=Stranger)
    assert "class Stranger(scalingar_fw.Selector)" in str(error.value)
    with pytest.raises(ScalingarError) as error:
        Strategy("mine", guidance=marked("termination"))
    assert "it is a termination component" in str(error.value)


@pytest.mark.parametrize("check", [False, True])
def test_a_budget_knows_the_width_of_a_checked_beam_search(check: bool) -> None:
    from scalingar_plugins.samplers.beam import BeamSampler

    beam: Termination[Any] = wrappers.TokenBudget(4.0)
    strategy = Strategy("beam", sampler=BeamSampler(width=2), termination=beam)
    run = checking.checked(strategy) if check else strategy
    result = decode(ReferenceModel(), run, [Prompt("a cat")], n=12)
    assert result.answer().completed
