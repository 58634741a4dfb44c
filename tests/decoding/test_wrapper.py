"""Wrappers answer every question as the component inside does, unless answering it is their job."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import evolve, frozen

from scalingar_fw import Registry, ScalingarError, Strategy, benchmark, decode
from scalingar_fw.decoding import checked as checking
from scalingar_fw.decoding import components
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


ROOT = Path(__file__).parents[2]
PACKAGES = ["scalingar_fw", "plugins", "strategies", "analysis"]
PROTOCOLS = [
    *(components.ModelAdapter, components.HasSettings, components.MovesByPieces),
    *(components.ReadsWholeSequences, benchmark.Benchmark, benchmark.Controls),
    *(benchmark.HasScorer, benchmark.JudgedElsewhere, benchmark.OfficialFiles),
]
#: What components, adapters and benchmarks may be asked, the optional protocols included.
ASKED = {
    *(name for base in BASES.values() for name in questions(base)),
    *(name for protocol in PROTOCOLS for name in dir(protocol) if not name.startswith("_")),
    *("name", "splits"),
}


def probes(text: str) -> list[tuple[int, str]]:
    """The lines that ask an object, by a name written there, whether or what it has."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            name = node.args[1]
            if node.func.id in ("getattr", "hasattr") and isinstance(name, ast.Constant):
                found.append((node.lineno, str(name.value)))
    return found


def test_nobody_probes_a_part_for_what_its_contract_answers() -> None:
    """What is guessed gets forgotten by the next wrapper; a question with a default does not."""
    assert probes("hasattr(sampler, 'most_rows')") == [(1, "most_rows")]
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in probes(path.read_text(encoding="utf-8"))
        if name in ASKED
    ]
    assert found == []


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


@pytest.mark.parametrize("kind", BASES)
def test_a_plain_class_is_refused_at_registration_with_the_line_to_write(kind: str) -> None:
    line = f"class Stranger(scalingar_fw.{BASES[kind].__name__})"
    registry = Registry()
    for target in (Stranger, Stranger()):
        with pytest.raises(ScalingarError) as error:
            registry.add(kind, "mine", target)
        assert line in str(error.value) and f"{kind} 'mine'" in str(error.value)
    other = "guidance" if kind != "guidance" else "termination"
    with pytest.raises(ScalingarError) as error:
        registry.add(kind, "other", type(marked(other)))
    assert f"it is a {other} component" in str(error.value)


@pytest.mark.parametrize("kind", BASES)
def test_a_target_that_is_text_is_refused_when_it_is_first_used(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing names imports nothing, so nothing can be known of it before."""
    module = ModuleType("a_strangers_module")
    module.Stranger = Stranger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    registry = Registry()
    registry.add(kind, "mine", f"{module.__name__}:Stranger")
    with pytest.raises(ScalingarError) as error:
        registry.get(kind, "mine")
    assert f"class Stranger(scalingar_fw.{BASES[kind].__name__})" in str(error.value)


@pytest.mark.parametrize("kind", BASES)
def test_a_class_an_object_and_a_function_are_registered(kind: str) -> None:
    registry, one = Registry(), marked(kind)
    for name, target in {"a": type(one), "b": one, "c": lambda: one}.items():
        registry.add(kind, name, target)
        assert registry.get(kind, name) is target


@pytest.mark.parametrize("check", [False, True])
def test_a_budget_knows_the_width_of_a_checked_beam_search(check: bool) -> None:
    from scalingar_plugins.samplers.beam import BeamSampler

    beam: Termination[Any] = wrappers.TokenBudget(4.0)
    strategy = Strategy("beam", sampler=BeamSampler(width=2), termination=beam)
    run = checking.checked(strategy) if check else strategy
    result = decode(ReferenceModel(), run, [Prompt("a cat")], n=12)
    assert result.answer().completed
