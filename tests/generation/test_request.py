"""One request: whoever asks for a run, the same values mean the same run."""

from __future__ import annotations

import ast
import inspect
import typing
from pathlib import Path

import attrs
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import scalingar_fw as sar
from scalingar_fw.cli.generate import parse_set
from scalingar_fw.config.identity import identity_of
from scalingar_fw.config.keys import KEYS, NUMBERS
from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.config.serialization import build, describe
from scalingar_fw.config.settings import override, settings_of
from scalingar_fw.decoding.params import Rule
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.experiments.sweep import parse_sweep
from scalingar_fw.generation.plan import prepare
from scalingar_fw.generation.request import Asked, GenerationRequest, laid_over
from scalingar_fw.registry import COMPONENTS, load_registry
from scalingar_fw.testing import ReferenceModel

REGISTRY = load_registry()


def every_number() -> list[tuple[Strategy, str, Rule]]:
    """Every numeric parameter of every registered component and strategy, where it is reached."""
    found = []
    for entry in REGISTRY.of_kind("strategy", *COMPONENTS, "reward"):
        kind, target = entry.kind, entry.load()
        if kind == "strategy":
            whole, prefix = build("strategy", entry.full_name, REGISTRY), ""
        elif kind == "reward":
            whole = Strategy("x", selector=build("selector", "best-reward", REGISTRY))
            whole = override(whole, {"selector.reward": entry.full_name}, REGISTRY)
            prefix = "selector.reward."
        else:
            component = (
                target if not isinstance(target, type) else build(kind, entry.full_name, REGISTRY)
            )
            whole, prefix = Strategy("x", **{kind: component}), f"{kind}."
        found += [
            (whole, key, rule)
            for key, (rule, _) in settings_of(whole).items()
            if key.startswith(prefix) and rule.kind in (int, float)
        ]
    return found


NUMBERS_OF_COMPONENTS = every_number()


def test_every_component_with_numbers_is_looked_at():
    assert len(NUMBERS_OF_COMPONENTS) > 100


def allowed(rule: Rule, whole: int) -> bool:
    try:
        rule.check("x", rule.convert(whole))
    except sar.ScalingarError:
        return False
    return True


@pytest.mark.parametrize(("strategy", "key", "rule"), NUMBERS_OF_COMPONENTS)
def test_a_whole_number_and_the_float_are_one_setting_and_one_identity(strategy, key, rule):
    whole = next((n for n in (1, 0, 2, 3, 8, *(rule.choices or ())) if allowed(rule, n)), None)
    if whole is None:
        return  # an open interval such as (0, 1) holds no whole number
    forms = [int(whole), float(whole), np.float32(whole), np.int64(whole), str(int(whole))]
    try:
        made = [override(strategy, {key: form}, REGISTRY) for form in forms]
    except sar.ScalingarError:
        return  # refused together with what stands beside it, whatever its type
    values = [settings_of(m)[key][1] for m in made]
    assert {type(v) for v in values} == {rule.kind}
    described = [describe(m, REGISTRY, full=True) for m in made]
    assert len({identity_of({"strategy": d}) for d in described}) == 1


@pytest.mark.parametrize("name", sorted(NUMBERS))
@given(whole=st.integers(1, 40))
def test_a_number_of_a_request_is_the_same_from_every_door(name, whole):
    if not allowed(NUMBERS[name], whole):
        whole = 1
    text = yaml.safe_dump({"prompt": "a", name: whole})
    requests = [
        GenerationRequest.of("a", **{name: whole}),
        GenerationRequest.of("a", **{name: float(whole)}),
        GenerationRequest.of("a", **{name: np.int32(whole)}),
        GenerationRequest.of("a", **{name: str(whole)}),
        GenerationRequest.from_data(yaml.safe_load(text)),
        GenerationRequest.from_data({"prompt": "a", name: float(whole)}),
    ]
    assert all(r == requests[0] for r in requests)
    assert {type(getattr(r, name)) for r in requests} == {NUMBERS[name].kind}
    if name in ("guidance", "temperature", "top_k", "top_p"):
        assert parse_sweep({name: whole}) == parse_sweep({name: float(whole)})
        assert type(parse_sweep({name: whole})[name]) is NUMBERS[name].kind


@pytest.mark.parametrize("strategy", ["base", "best-of-n", "smc", "scalingar"])
def test_a_whole_guidance_decodes_as_the_float_does(strategy):
    made = [
        sar.generate("a", model=ReferenceModel(), strategy=strategy, n=2, guidance=scale)
        for scale in (2, 2.0)
    ]
    assert made[0].config.key() == made[1].config.key()
    assert np.array_equal(made[0].pixels, made[1].pixels)


def test_numbers_that_no_float_can_hold_are_refused_in_one_sentence():
    for value in (10**400, float("inf"), float("nan")):
        with pytest.raises(sar.ScalingarError, match="finite"):
            GenerationRequest.of("a", guidance=value)
    with pytest.raises(sar.ScalingarError, match="seed"):
        GenerationRequest.of("a", seed=10**400)
    with pytest.raises(sar.ScalingarError, match="seed=1.5"):
        GenerationRequest.of("a", seed=1.5)


def test_a_set_flag_a_mapping_and_python_give_one_identity():
    asked = {"model": ReferenceModel(), "strategy": "scalingar", "n": 2}
    forms = [{"termination.quantile": 0.5, "termination.recovery_share": 0}, None]
    forms[1] = parse_set(("termination.quantile=0.5", "termination.recovery_share=0"))
    forms.append({"termination.quantile": np.float64(0.5), "termination.recovery_share": 0.0})
    keys = {
        prepare(GenerationRequest.of("a", settings=f, **asked), REGISTRY).config.key()
        for f in forms
    }
    assert len(keys) == 1


def test_a_runs_configuration_is_a_request_for_the_same_run(tmp_path):
    request = GenerationRequest.of(["a circle", "a ring"], strategy="base", n=2, guidance=2, seed=3)
    config = prepare(request, REGISTRY).config
    again = GenerationRequest.from_data(yaml.safe_load(config.to_yaml()))
    assert prepare(again, REGISTRY).config == config
    assert RunConfig.from_yaml(config.to_yaml()) == config


def test_a_request_is_written_down_once():
    fields = {a.name for a in attrs.fields(GenerationRequest)}
    assert set(typing.get_type_hints(Asked)) == fields - {"prompts"}
    renamed = {"prompt": "prompts", "set": "settings"}
    assert {renamed.get(k, k) for k in KEYS} == fields
    shown = set(inspect.signature(sar.generate).parameters)
    assert shown == fields - {"prompts"} | {"prompt", "observers", "registry", "check"}


def test_what_generate_does_not_take_is_named_with_what_it_takes():
    with pytest.raises(TypeError, match="'gudance'.*Did you mean 'guidance'"):
        sar.generate("a", gudance=2)


def test_flags_lie_over_a_file_and_drop_what_followed_from_it():
    below = {"model": "m", "weights": "w", "options": {"a": 1}, "model_hash": "h", "batch": 4,
             "settings": {"x": 1, "y": 2}}  # fmt: skip
    assert laid_over(below, {"model": "n", "n": None}) == {
        "model": "n", "batch": 4, "settings": {"x": 1, "y": 2},
    }  # fmt: skip
    assert laid_over(below, {"options": {"b": 2}})["options"] == {"a": 1, "b": 2}
    assert "model_hash" not in laid_over(below, {"options": {"b": 2}})
    assert "batch" not in laid_over(below, {"max_memory": "1GiB"})
    assert laid_over(below, {"settings": {"y": 3}})["settings"] == {"x": 1, "y": 3}


def test_a_budget_and_passes_exclude_each_other_wherever_they_come_from():
    for make in (
        lambda: GenerationRequest.of("a", max_memory="1GiB", passes=2),
        lambda: GenerationRequest.from_data({"prompt": "a", "max_memory": 1 << 30, "passes": 2}),
    ):
        with pytest.raises(sar.ScalingarError, match="max_memory or passes"):
            make()


# -- who imports whom ---------------------------------------------------------------------------

ROOT = Path(sar.__file__).parent


def imports() -> dict[str, set[str]]:
    """Each module of the core with the modules that it imports anywhere in its text."""
    names = {
        "scalingar_fw." + ".".join(p.relative_to(ROOT).with_suffix("").parts): p
        for p in ROOT.rglob("*.py")
        if "templates" not in p.parts
    }
    out: dict[str, set[str]] = {}
    for name, path in names.items():
        out[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{a.name}" for a in node.names} & names.keys()
                out[name] |= inner or {node.module} & names.keys()
            elif isinstance(node, ast.Import):
                out[name] |= {a.name for a in node.names} & names.keys()
    return out


def test_nothing_in_config_and_generation_imports_back():
    graph = imports()
    assert len(graph) > 60
    inside = {m for m in graph if m.split(".")[1] in ("config", "generation")}

    def reached(module: str, seen: set[str]) -> set[str]:
        for other in graph[module] & inside - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    assert [m for m in inside if m in reached(m, set())] == []
    forbidden = {
        "config": ("generation", "experiments", "cli"),
        "generation": ("experiments", "cli"),
    }
    back = [
        (m, o) for m in inside for o in graph[m] if o.split(".")[1] in forbidden[m.split(".")[1]]
    ]
    assert back == []
