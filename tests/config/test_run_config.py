"""Components as plain data and back; a run's configuration and its hash."""

from __future__ import annotations

import math

import attrs
import pytest
import yaml
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_fw import Prompt, RunConfig, Sampling, ScalingarError, Strategy, param, part
from scalingar_fw.config.keys import KEYS, parse_settings, read_settings, to_prompt
from scalingar_fw.config.serialization import build, describe
from scalingar_fw.config.settings import override, settings_of
from scalingar_fw.decoding.components import ConfidenceEstimator, Selector, Termination
from scalingar_fw.decoding.params import Rule
from scalingar_fw.decoding.strategy import (
    FinalConfidence,
    Multinomial,
    NeverTerminate,
    NoConfidence,
)
from scalingar_fw.reading import load_yaml
from scalingar_fw.registry import KINDS, Registry, load_registry


@frozen
class Inner(ConfidenceEstimator):
    rate: float = param(0.5, "how fast it forgets", source="eq. 5", gt=0.0, le=1.0)
    count: int = param(3, "how many", ge=0)
    mode: str = param("soft", "which way", choices=("soft", "hard"))
    limit: float | None = param(None, "the cap", ge=0.0)
    on: bool = param(True, "whether")


@frozen
class Outer(ConfidenceEstimator):
    inner: ConfidenceEstimator = part(Inner, "what is inside")
    first: float = param(1.0, "one weight", ge=0.0)
    second: float = param(0.0, "the other weight", ge=0.0)

    def __attrs_post_init__(self):
        if self.first + self.second == 0:
            raise ScalingarError("first and second must not both be 0.")


@frozen
class Wrapper(Termination):
    policy: Termination
    others: tuple[Termination, ...] = ()
    label: str = "on"

    def update(self, state, confidence, step):
        return self.policy.update(state, confidence, step)


class Foreign:
    """A selector that inherits nothing and is no attrs class."""

    def select(self, pool):
        return 0


@pytest.fixture(scope="module")
def registry():
    made = Registry()

    class Plugin:
        @staticmethod
        def scalingar_register(registry):
            for kind, name, target in (
                ("confidence", "inner", Inner),
                ("confidence", "outer", Outer),
                ("confidence", "none", NoConfidence),
                ("termination", "never", NeverTerminate),
                ("termination", "wrapper", Wrapper),
                ("sampler", "multinomial", Multinomial),
                ("selector", "final", FinalConfidence),
                ("selector", "preset", FinalConfidence(signal="intrinsic")),
                ("strategy", "plain", Strategy("plain")),
                ("strategy", "made", lambda: Strategy("made", confidence=Outer(), default_n=5)),
                ("strategy", "broken", lambda: 7),
            ):
                registry.add(kind, name, target)

    made.register(Plugin, "pkg")
    return made


def refused(function, *words):
    with pytest.raises(ScalingarError) as caught:
        function()
    for word in words:
        assert word in str(caught.value), str(caught.value)


# -- components as data -----------------------------------------------------------------------


def test_a_component_is_its_name_and_every_parameter_nested(registry):
    assert describe(Outer(Inner(rate=1)), registry) == {
        "name": "outer",
        "inner": {
            "name": "inner",
            "rate": 1.0,
            "count": 3,
            "mode": "soft",
            "limit": None,
            "on": True,
        },
        "first": 1.0,
        "second": 0.0,
    }


def test_names_are_full_on_request_and_module_paths_where_nothing_is_registered(registry):
    assert describe(Inner(), registry, full=True)["name"] == "pkg/inner"
    assert describe(Foreign(), registry) == {"name": f"{__name__}:Foreign"}
    ambiguous = Registry(dict(registry.entries))
    ambiguous.add("confidence", "inner", "some.where:Else")
    assert describe(Inner(), ambiguous)["name"] == "pkg/inner"


@pytest.mark.parametrize(
    "component",
    [
        Inner(0.25, 4, "hard", 2.0, False),
        Outer(Inner(limit=1.0), 0.0, 2.0),
        Wrapper(NeverTerminate(), (Wrapper(NeverTerminate()), NeverTerminate()), "1"),
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_description_builds_the_same_component(component, registry):
    kind = "confidence" if isinstance(component, ConfidenceEstimator) else "termination"
    data = describe(component, registry)
    assert build(kind, yaml.safe_load(yaml.safe_dump(data)), registry) == component
    assert build(None, data, registry) == component


def test_a_component_can_be_named_by_module_and_class(registry):
    assert (
        build("confidence", "scalingar_fw.decoding.strategy:NoConfidence", registry)
        == NoConfidence()
    )
    assert build("selector", "preset", registry).signal == "intrinsic"
    spec = {"name": "scalingar_fw.decoding.strategy:FinalConfidence", "signal": "drift"}
    assert build("selector", spec, registry) == FinalConfidence("drift")


def test_what_cannot_be_built_says_why(registry):
    refused(lambda: build("confidence", "inmer", registry), "Did you mean 'inner'?")
    refused(lambda: build("confidence", {"name": "inner", "rat": 1}, registry), "'rate'", "count")
    refused(lambda: build("confidence", {"name": "inner", "rate": 2.0}, registry), "(0, 1]")
    refused(lambda: build("confidence", {"rate": 2.0}, registry), "name")
    refused(lambda: build("confidence", "no.such.module:X", registry), "no.such.module")
    refused(lambda: build("confidence", "multinomial", registry), "Unknown confidence")
    refused(lambda: build("termination", "wrapper", registry), "'policy'")
    refused(lambda: build("termination", f"{__name__}:Inner", registry), "must name a Termination")
    refused(lambda: build("selector", Foreign, registry), "class Foreign(scalingar_fw.Selector)")


def test_settings_that_cannot_be_read_are_refused(registry):
    class Careless(Selector):
        def __init__(self):
            self.secret = 1

    @frozen
    class Callable_(Selector):
        call: object = len

    @frozen
    class Named(Selector):
        name: str = "x"

    refused(lambda: describe(Careless(), registry), "attrs")
    refused(lambda: describe(Callable_(), registry), "call", "plain data")
    refused(lambda: describe(Named(), registry), "'name'")


# -- strategies -------------------------------------------------------------------------------


def test_a_strategy_comes_from_a_name_a_factory_a_mapping_or_itself(registry):
    made = build("strategy", "made", registry)
    assert made.default_n == 5 and made.confidence == Outer()
    assert build("strategy", made, registry) is made
    changed = build("strategy", {"name": "made", "confidence": {"first": 2}}, registry)
    assert changed.confidence.first == 2 and changed.default_n == 5
    refused(lambda: build("strategy", "maid", registry), "Did you mean 'made'?")
    refused(lambda: build("strategy", "broken", registry), "not a Strategy")
    refused(lambda: build("strategy", 7, registry), "must be a name")


def test_a_composition_made_in_python_keeps_its_own_name(registry):
    mine = Strategy("my very own", confidence=Inner(), selector=FinalConfidence())
    assert build("strategy", describe(mine, registry), registry) == mine
    refused(lambda: build("strategy", {"name": "my own", "default_n": 2}, registry), "my own")


def test_every_registered_strategy_and_component_survives_the_round_trip():
    installed = load_registry()
    for entry in installed.of_kind("strategy"):
        made = build("strategy", entry.full_name, installed)
        data = yaml.safe_load(yaml.safe_dump(describe(made, installed, full=True)))
        assert build("strategy", data, installed) == made, entry.name
    for kind in KINDS[: KINDS.index("strategy")]:
        for entry in installed.of_kind(kind):
            made = build(kind, entry.full_name, installed)
            assert build(kind, describe(made, installed), installed) == made, entry.name


def classes(component: object) -> dict[str, type]:
    """Every class in a composition by its name."""
    found = {type(component).__name__: type(component)}
    if attrs.has(type(component)):
        for value in attrs.astuple(component, recurse=False):
            for one in value if isinstance(value, tuple) else (value,):
                found |= classes(one)
    return found


def test_a_composition_prints_as_an_expression_that_makes_it_and_is_hashable():
    installed = load_registry()
    for kind in KINDS[: KINDS.index("strategy") + 1]:
        for entry in installed.of_kind(kind):
            made = build(kind, entry.full_name, installed)
            again = eval(repr(made), classes(made))
            assert again == made and hash(again) == hash(made), entry.name


# -- dotted settings --------------------------------------------------------------------------

BASE = Strategy("base", confidence=Outer(), termination=Wrapper(NeverTerminate()))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("confidence.inner.rate", "0.25", 0.25),
        ("confidence.inner.rate", "1e-6", 1e-6),
        ("confidence.inner.rate", 0.125, 0.125),
        ("confidence.inner.count", "7", 7),
        ("confidence.inner.mode", "hard", "hard"),
        ("confidence.inner.limit", "null", None),
        ("confidence.inner.limit", "3", 3),
        ("confidence.inner.on", "off", False),
        ("termination.label", "no", "no"),
        ("termination", "never", NeverTerminate()),
        ("termination.policy", "{name: wrapper, policy: never}", Wrapper(NeverTerminate())),
        ("confidence", f"{__name__}:Inner", None),
        ("default_n", "3", 3),
    ],
)
def test_text_is_read_as_its_parameter_wants_it(key, text, value, registry):
    changed = override(BASE, {key: text}, registry)
    found = settings_of(changed)[key][1]
    assert found == value or (isinstance(found, Inner) and value is None)


def test_a_part_is_replaced_before_its_own_settings_in_any_order(registry):
    for keys in (("confidence.rate", "confidence"), ("confidence", "confidence.rate")):
        values = {"confidence": "inner", "confidence.rate": "0.75"}
        changed = override(BASE, {k: values[k] for k in keys}, registry)
        assert changed.confidence == Inner(rate=0.75)


def test_settings_of_one_component_change_together(registry):
    swapped = override(BASE, {"confidence.first": 0, "confidence.second": 1}, registry)
    assert (swapped.confidence.first, swapped.confidence.second) == (0, 1)
    refused(lambda: override(BASE, {"confidence.first": 0}, registry), "both be 0")


def test_an_unknown_key_is_an_error_with_the_nearest_one(registry):
    near = "Did you mean 'confidence.inner.rate'?"
    refused(lambda: override(BASE, {"confidence.inner.rte": 1}, registry), near, "inner.count")
    refused(lambda: override(BASE, {"confidense.inner.rate": 1}, registry), near)
    refused(lambda: override(BASE, {"default_n.x": 1}, registry), "default_n")
    refused(lambda: override(BASE, {"name": "x"}, registry), "'name'")


def test_after_a_replacement_the_new_parts_settings_are_the_ones_that_are_named(registry):
    for key in ("confidence.rte", "confidense.rate"):
        with pytest.raises(ScalingarError) as caught:
            override(BASE, {"confidence": "inner", key: 1}, registry)
        text = str(caught.value)
        assert "confidence.rate" in text and "confidence.inner" not in text, text


def test_a_value_out_of_range_is_refused_in_the_parameters_own_words(registry):
    rule = "must lie in (0, 1]: how fast it forgets."
    refused(lambda: override(BASE, {"confidence.inner.rate": "2"}, registry), "rate=2", rule)
    refused(lambda: override(BASE, {"confidence.inner.rate": "nan"}, registry), "finite")
    refused(lambda: override(BASE, {"confidence.inner.count": "1.5"}, registry), "whole number")
    refused(lambda: override(BASE, {"confidence.inner.mode": "x"}, registry), "'soft', 'hard'")
    refused(lambda: override(BASE, {"confidence.inner.rate": "fast"}, registry), "a number")
    refused(lambda: override(BASE, {"confidence.inner": "never"}, registry), "Unknown confidence")


# -- the run's configuration ------------------------------------------------------------------


def config(strategy=BASE, registry=None, **changes):
    values = {
        "model": "pkg/toy",
        "strategy": describe(strategy, registry, full=True),
        "prompts": (Prompt("a circle"),),
        "n": 4,
        "seed": 1,
        "sampling": Sampling(guidance=1.5),
        "device": "cpu",
        "dtype": "float32",
        "batch": 1,
        "weights": "/some/where",
        "model_hash": "abc",
    }
    return RunConfig(**(values | changes))


PROMPTS = st.lists(
    st.builds(
        Prompt,
        st.text(max_size=20).filter(lambda t: t.isprintable()),
        st.none() | st.integers(0, 999),
        st.none() | st.text("abc é", max_size=5),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
CHANGES = {
    "model": st.sampled_from(["pkg/other", "x:y"]),
    "model_hash": st.text("abcdef", min_size=1, max_size=8),
    "prompts": PROMPTS,
    "n": st.integers(1, 64),
    "seed": st.integers(0, 2**64 - 1),
    "sampling": st.builds(
        Sampling,
        st.floats(-20, 20),
        st.floats(0, 5),
        st.integers(0, 5000),
        st.floats(0.01, 1.0),
    ),
    "device": st.sampled_from(["cuda", "cuda:1", "mps"]),
    "dtype": st.sampled_from(["bfloat16", "float16"]),
    "passes": st.integers(1, 4),  # of 4 candidates: they share forward batches, which round
}


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(sorted(CHANGES)))
def test_each_field_that_can_change_a_result_changes_the_key(registry, data, field):
    before = config(registry=registry)
    after = evolve(before, **{field: data.draw(CHANGES[field])})
    assert (after.key() == before.key()) == (getattr(after, field) == getattr(before, field))


def test_fields_that_cannot_change_a_result_leave_the_key_alone(registry):
    before = config(registry=registry, device="cuda:0")
    same = [
        evolve(before, weights="/else/where"),  # the weights' hash is in
        evolve(before, device="cuda:1"),  # which of several GPUs
        evolve(before, device="cuda"),
        evolve(before, batch=9),  # one prompt is one batch
        evolve(before, options={"t5": "/else/where"}),  # what they change is in the hash
        evolve(before, sampling=Sampling(guidance=1.5, temperature=1)),  # 1 is 1.0
        config(evolve(BASE, name="other", default_n=3), registry, device="cuda:0"),  # labels
        config(evolve(BASE, confidence=Outer(first=1)), registry, device="cuda:0"),
    ]
    assert {c.key() for c in same} == {before.key()}
    one = evolve(before, n=1)
    assert evolve(one, passes=3).key() == one.key()  # one candidate is one pass
    covered = {"weights", "options", "device", "batch", "sampling", "strategy"} | CHANGES.keys()
    assert covered == {a.name for a in attrs.fields(RunConfig)}, "a new field needs a decision"


def test_how_prompts_share_batches_changes_the_key_since_it_changes_rounding(registry):
    two = (Prompt("a"), Prompt("b"))
    keys = {config(registry=registry, prompts=two, batch=b).key() for b in (1, 2)}
    assert len(keys) == 2
    assert config(registry=registry, model_hash=None).key() not in keys


def test_without_a_hash_of_the_weights_the_loaders_options_are_in_the_key(registry):
    keys = {
        config(registry=registry, model_hash=None, options=options).key()
        for options in ({}, {"image_size": 256}, {"image_size": 512})
    }
    assert len(keys) == 3


def test_a_runs_configuration_survives_yaml_with_options_and_passes(registry):
    before = config(registry=registry, options={"ratio": "4:3", "official": True}, passes=3)
    assert RunConfig.from_yaml(before.to_yaml()) == before


def other_value(rule: Rule, value: object) -> object:
    """Another value that the rule accepts."""
    if rule.choices is not None:
        return next(c for c in rule.choices if c != value)
    if rule.kind is bool:
        return not value
    if rule.kind is str:
        return f"{value}x"
    candidates = [0, 1, 2, 0.5, 0.25, 3, 7, 0.9, 16, 1e-3]
    for candidate in candidates:
        if candidate == value or (rule.kind is int and not isinstance(candidate, int)):
            continue
        try:
            rule.check("x", candidate)
        except ScalingarError:
            continue
        return candidate
    raise AssertionError(f"no other value for {rule}")


def test_every_setting_of_every_strategy_changes_the_key_and_is_reachable():
    installed = load_registry()
    for entry in installed.of_kind("strategy"):
        made = build("strategy", entry.full_name, installed)
        before = config(made, installed)
        for key, (rule, value) in settings_of(made).items():
            if rule.kind is object or key == "default_n":
                continue
            new = other_value(rule, value)
            try:
                changed = override(made, {key: str(new)}, installed)
            except ScalingarError as error:
                # Rules between parameters may forbid this one alone; then it is heard at least.
                assert key.rsplit(".", 1)[-1] in str(error), (entry.name, key, error)
                continue
            assert config(changed, installed).key() != before.key(), (entry.name, key)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_configuration_survives_yaml(registry, data):
    changes = {k: data.draw(v) for k, v in CHANGES.items()}
    before = config(registry=registry, **changes)
    after = RunConfig.from_yaml(before.to_yaml())
    assert after == before and after.key() == before.key()


def test_yaml_names_the_command_and_is_plain(registry):
    text = config(registry=registry, weights=None).to_yaml()
    assert text.startswith("# To get this run again: scalingar generate --config config.yaml\n")
    data = yaml.safe_load(text)
    assert data["prompt"] == "a circle" and data["guidance"] == 1.5 and "weights" not in data
    assert set(data) <= set(KEYS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed: 1", ["Unknown key", "'seed'"]),
        ("seed: -1", ["seed=-1"]),
        ("seed: one", ["seed='one'", "whole number"]),
        ("n: 0", ["n=0"]),
        ("n: 2.5", ["n=2.5"]),
        ("guidance: .inf", ["guidance", "finite"]),
        ("temperature: -1", ["temperature", "[0, inf)"]),
        ("prompt: a\nprompts: [b]", ["not both"]),
        ("prompts: a", ["list"]),
        ("prompts: []", ["at least one"]),
        ("prompts: [1]", ["no prompt"]),
        ("prompts: [{text: a, colour: red}]", ["colour"]),
        ("strategy: 3", ["strategy=3"]),
        ("set: [a]", ["set"]),
        ("options: t5=DIR", ["options must map"]),
        ("max_memory: plenty", ["max_memory='plenty'", "8GiB"]),
        ("passes: 0", ["passes=0"]),
        ("model: 3", ["model=3"]),
        ("n: 1\nn: 2", ["line 2", "twice"]),
        ("n: [", ["line"]),
        ("- a", ["keys and values"]),
        ("", ["keys and values"]),
        ("!!python/object:os.system {}", ["x.yaml"]),
    ],
)
def test_a_bad_file_is_refused_by_name(text, words, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    refused(lambda: read_settings(path), "x.yaml", *words)


def test_a_file_may_hold_any_of_the_flags(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("prompt: a\nset: {termination: never}\nguidance: 1e-1\nn: null\nseed: '7'\n")
    assert read_settings(path) == {
        "prompts": (Prompt("a"),),
        "settings": {"termination": "never"},
        "guidance": 0.1,
        "seed": 7,
    }
    path.write_bytes(b"prompt: \xff")
    refused(lambda: read_settings(path), "UTF-8")


def test_prompts_are_text_or_mappings():
    assert to_prompt({"text": "a", "class_id": 3}) == Prompt("a", 3)
    assert to_prompt(Prompt("a")) == Prompt("a")
    refused(lambda: to_prompt({"class_id": True}), "no prompt")
    refused(lambda: to_prompt(3), "no prompt")
    assert parse_settings({"prompts": ["a", {"text": "b"}]}, "x")["prompts"][1] == Prompt("b")


def test_a_trace_of_configuration_must_be_complete():
    refused(lambda: RunConfig.from_data({"model": "x"}), "prompts")
    whole = {"prompt": "a", "model": "x", "strategy": "base", "n": 1, "seed": 0}
    refused(lambda: RunConfig.from_data(whole | {"max_memory": "1g"}), "'max_memory'", "resolves")
    refused(lambda: RunConfig.from_data(whole | {"set": {"a": 1}}), "'set'")
    assert math.isnan(load_yaml(".nan", "x"))
