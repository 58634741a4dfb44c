"""Parameters: what a rule accepts, and what its message says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.decoding.params import Rule, param, part, rules
from scalingar_fw.errors import ScalingarError, did_you_mean, unknown_name


@frozen
class Inner:
    depth: int = param(2, "levels", ge=1)


@frozen
class Example:
    share: float = param(0.2, "share of live candidates flagged", source="eq. 9", ge=0.0, lt=1.0)
    steps: int = param(32, "steps of probation", ge=0)
    open_: float = param(1.0, "an open interval", gt=0.0, le=2.0)
    free: float = param(0.0, "a shift in nats")
    mode: str = param("additive", "how terms combine", choices=("additive", "multiplicative"))
    on: bool = param(True, "whether it runs")
    label: str = param("x", "a name")
    limit: float | None = param(None, "an upper limit", ge=0.0)
    inner: Inner = part(Inner, "a component of its own")
    undeclared: int = 3
    memo: int = field(init=False, default=0)


def message(**values: Any) -> str:
    with pytest.raises(ScalingarError) as caught:
        Example(**values)
    return str(caught.value)


def test_defaults_obey_their_own_rules() -> None:
    assert Example().share == 0.2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"share": 1.2}, "share=1.2 must lie in [0, 1): share of live candidates flagged."),
        ({"share": 1.0}, "share=1.0 must lie in [0, 1): share of live candidates flagged."),
        ({"share": -0.1}, "share=-0.1 must lie in [0, 1): share of live candidates flagged."),
        ({"open_": 0.0}, "open_=0.0 must lie in (0, 2]: an open interval."),
        ({"open_": 2.5}, "open_=2.5 must lie in (0, 2]: an open interval."),
        ({"steps": -1}, "steps=-1 must lie in [0, inf): steps of probation."),
        ({"steps": 1.5}, "steps=1.5 must be a whole number: steps of probation."),
        ({"steps": True}, "steps=True must be a whole number: steps of probation."),
        ({"share": "0.3"}, "share='0.3' must be a number: share of live candidates flagged."),
        ({"share": None}, "share=None must be a number: share of live candidates flagged."),
        ({"free": math.inf}, "free=inf must be finite: a shift in nats."),
        (
            {"share": math.nan},
            "share=nan must be finite: share of live candidates flagged.",
        ),
        ({"on": 1}, "on=1 must be True or False: whether it runs."),
        ({"label": 3}, "label=3 must be text: a name."),
        ({"limit": -1.0}, "limit=-1.0 must lie in [0, inf): an upper limit."),
        (
            {"mode": "adittive"},
            "mode='adittive' must be one of 'additive', 'multiplicative': how terms combine.",
        ),
    ],
)
def test_a_refusal_names_the_parameter_its_value_its_rule_and_its_meaning(
    values: dict[str, Any], expected: str
) -> None:
    assert message(**values) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"share": 0},  # a whole number is a number
        {"share": 0.999},
        {"open_": 2.0},
        {"limit": None},
        {"limit": 5.0},
        {"free": -3.5},
        {"mode": "multiplicative"},
        {"on": False},
    ],
)
def test_the_edges_of_a_rule_are_accepted(values: dict[str, Any]) -> None:
    Example(**values)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_value_is_accepted_exactly_if_it_lies_in_the_interval(value: float) -> None:
    rule = Rule("a share", ge=0.0, lt=1.0)
    inside = math.isfinite(value) and 0.0 <= value < 1.0
    if inside:
        rule.check("share", value)
    else:
        with pytest.raises(ScalingarError):
            rule.check("share", value)


def test_the_interval_is_written_as_in_mathematics() -> None:
    assert Rule("", ge=0, lt=1).interval() == "[0, 1)"
    assert Rule("", gt=0, le=1).interval() == "(0, 1]"
    assert Rule("", le=1).interval() == "(-inf, 1]"
    assert Rule("", kind=int).interval() == "any int"


def test_rules_lists_the_parameters_in_order_with_their_source() -> None:
    found = rules(Example)
    assert list(found) == [
        "share", "steps", "open_", "free", "mode", "on", "label", "limit", "inner", "undeclared",
    ]  # fmt: skip
    assert found["share"].source == "eq. 9"
    assert found["inner"].doc == "a component of its own"
    assert found["undeclared"].doc == ""
    assert rules(Example()) == found, "an object has the rules of its class"


def test_what_is_no_component_has_no_rules() -> None:
    assert rules(3) == {}


def test_a_part_is_made_anew_for_each_component() -> None:
    assert Example().inner == Inner()
    with pytest.raises(ScalingarError, match="depth=0"):
        Example(inner=Inner(depth=0))


def test_a_near_miss_is_suggested_and_a_far_one_is_not() -> None:
    assert did_you_mean("scalingra", ["scalingar", "base"]) == " Did you mean 'scalingar'?"
    assert did_you_mean("zzz", ["scalingar", "base"]) == ""


def test_an_unknown_name_lists_what_there_is_in_order() -> None:
    error = unknown_name("strategy", "bas", ["scalingar", "base"])
    expected = "Unknown strategy 'bas'. Did you mean 'base'? Available: base, scalingar."
    assert str(error) == expected
    assert str(unknown_name("model", "x", [])) == "Unknown model 'x'. Available: none."
