"""Every parameter of every component: the int, the float and the text are one setting, and none is
taken that reaches nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import pytest

from scalingar_fw import ScalingarError
from scalingar_fw.config.identity import digest_of
from scalingar_fw.config.serialization import build, describe
from scalingar_fw.config.settings import override, settings_of
from scalingar_fw.decoding.components import kind_of
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.registry import COMPONENTS, Registry, load_registry


@functools.cache
def registry() -> Registry:
    return load_registry([])


def numeric(component: Any) -> Iterator[tuple[str, Rule]]:
    for name, rule in rules(component).items():
        if rule.kind in (int, float) and rule.choices is None:
            yield name, rule


def classes() -> list[type]:
    found = {}
    for kind in COMPONENTS:
        for name in registry().names(kind):
            made = registry().get(kind, name)
            cls = made if isinstance(made, type) else type(made)
            if attrs.has(cls):
                found[cls.__qualname__] = cls
    return list(found.values())


def whole_numbers(cls: type, field: str, rule: Rule) -> list[int]:
    """Whole numbers that the component takes for the field, few."""
    out = []
    for number in (0, 1, 2, 3, 64):
        try:
            rule.check(field, number)
            cls(**{field: number})
        except ScalingarError:
            continue
        out.append(number)
    return out


CASES = [
    pytest.param(cls, field, rule, id=f"{cls.__name__}.{field}")
    for cls in [*classes(), Sampling]
    for field, rule in numeric(cls)
]


@pytest.mark.parametrize(("cls", "field", "rule"), CASES)
def test_a_whole_number_in_any_form_is_one_setting_with_one_identity(
    cls: Any, field: str, rule: Rule
) -> None:
    numbers = whole_numbers(cls, field, rule)
    for number in numbers:
        forms = [number, float(number), np.float32(number), np.int64(number), np.float64(number)]
        made = [cls(**{field: form}) for form in forms]
        kinds = {type(getattr(one, field)) for one in made}
        assert kinds == {rule.kind}, kinds
        assert len(set(made)) == 1
        if cls is not Sampling:
            described = [describe(one, registry(), full=True) for one in made]
            assert len({json.dumps(d, sort_keys=True) for d in described}) == 1
            again = build(kind_of(cls), {**described[0], field: str(number)}, registry())
            assert again == made[0], "its text, as a flag gives it"
            assert digest_of(describe(again, registry(), full=True)) == digest_of(described[0])
    if rule.kind is int:
        with pytest.raises(ScalingarError, match=f"{field}=0.5"):
            cls(**{field: 0.5})


def test_a_component_without_a_number_is_the_exception() -> None:
    assert len(CASES) > 60
    tried = [case for case in CASES if whole_numbers(*case.values)]
    assert len(tried) > 0.8 * len(CASES)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), True, "x", None, [1], 10**400])
@pytest.mark.parametrize(("cls", "field", "rule"), CASES)
def test_what_is_no_number_is_refused_by_name(cls: Any, field: str, rule: Rule, bad: Any) -> None:
    if bad is None and rule.optional:
        return
    if bad == 10**400 and rule.kind is int and rule.le is None and rule.lt is None:
        return  # a whole number of any size
    with pytest.raises(ScalingarError, match=f"{field}="):
        cls(**{field: bad})


def strategies() -> list[str]:
    return sorted(registry().names("strategy"))


@pytest.mark.parametrize("name", strategies())
def test_a_setting_that_another_one_stands_in_for_is_refused(name: str) -> None:
    strategy: Strategy = build("strategy", name, registry())
    for key, (rule, value) in settings_of(strategy).items():
        if rule.instead_of and value is not None:
            other = f"{key.rpartition('.')[0]}.{rule.instead_of}"
            for number in (0, 32, 64):
                with pytest.raises(ScalingarError, match=f"{other} reaches nothing while {key}"):
                    override(strategy, {other: number}, registry())
            both = override(strategy, {other: 64, key: None}, registry())
            assert settings_of(both)[other][1] == 64


def test_the_probation_of_the_preset_is_a_share_and_says_so() -> None:
    from scalingar_plugins.termination.quantile import QuantileTermination

    with pytest.raises(ScalingarError, match="termination.recovery_window reaches nothing"):
        override(
            build("strategy", "scalingar", registry()),
            {"termination.recovery_window": "32"},
            registry(),
        )
    with pytest.raises(ScalingarError, match="recovery_window=64 reaches nothing"):
        QuantileTermination(recovery_share=0.1, recovery_window=64)
