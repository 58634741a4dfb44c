"""Parameters of components: declared once, validated at the door, listed by `scalingar show`.

A component is a frozen attrs class whose fields are made by `param` (a value with a rule and a
source) or `part` (another component). Its configuration *is* the object: there are no separate
configuration classes, so no field can fail to reach what it configures.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from scalingar_fw.errors import ScalingarError, shown

PARAM = "scalingar_param"


@attrs.frozen
class Rule:
    """What a parameter accepts, as data: the validator, `show` and the docs read the same."""

    doc: str
    source: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] | None = None
    kind: type = float
    optional: bool = False
    instead_of: str = ""

    def interval(self) -> str:
        """The accepted values as text: `[0, 1)`, `one of 'a', 'b'`, or `any float`."""
        if self.choices is not None:
            return "one of " + ", ".join(repr(c) for c in self.choices)
        if all(bound is None for bound in (self.ge, self.gt, self.le, self.lt)):
            return f"any {self.kind.__name__}"
        low, high = "(-inf", "inf)"
        if self.ge is not None:
            low = f"[{self.ge:g}"
        elif self.gt is not None:
            low = f"({self.gt:g}"
        if self.le is not None:
            high = f"{self.le:g}]"
        elif self.lt is not None:
            high = f"{self.lt:g})"
        return f"{low}, {high}"

    def convert(self, value: Any) -> Any:
        """A number as the rule's kind holds it; what is no such number is left for `check`.

        2 and 2.0 are one setting, so they must not be two objects: what reaches torch (where an
        integer scale makes an integer tensor) and what a run's identity is taken of is the kind's
        own type. NumPy's scalars become Python's, -0.0 becomes 0.0, and a whole float is a whole
        number.
        """
        if isinstance(value, (bool, str)) or not isinstance(value, numbers.Real):
            return value
        if self.kind is int:
            whole = isinstance(value, numbers.Integral) or float(value).is_integer()
            return int(value) if whole else value  # type: ignore[call-overload]
        if self.kind is float:
            return _to_float(value)
        return value

    def check(self, name: str, value: Any) -> None:
        """Raise `ScalingarError` unless `value` obeys the rule."""
        if value is None and self.optional:
            return
        if self.choices is not None:
            if value not in self.choices:
                raise ScalingarError(
                    f"{name}={shown(value)} must be {self.interval()}: {self.doc}."
                )
            return
        if self.kind is bool or isinstance(value, bool):
            if not isinstance(value, bool) or self.kind is not bool:
                what = {bool: "True or False", int: "a whole number", str: "text"}
                raise ScalingarError(
                    f"{name}={shown(value)} must be {what.get(self.kind, 'a number')}: {self.doc}."
                )
            return
        if self.kind is str:
            if not isinstance(value, str):
                raise ScalingarError(f"{name}={shown(value)} must be text: {self.doc}.")
            return
        if not isinstance(value, int if self.kind is int else (int, float)):
            whole = "a whole number" if self.kind is int else "a number"
            raise ScalingarError(f"{name}={shown(value)} must be {whole}: {self.doc}.")
        finite = isinstance(value, int) or math.isfinite(value)
        inside = (
            finite
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )
        if not inside:
            rule = f"lie in {self.interval()}" if finite else "be finite"
            raise ScalingarError(f"{name}={shown(value)} must {rule}: {self.doc}.")


def _to_float(value: numbers.Real) -> float:
    try:
        return float(value) + 0.0
    except OverflowError:  # an integer of hundreds of digits: `check` refuses what is not finite
        return math.inf


def _validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    attribute.metadata[PARAM].check(attribute.name, value)


def param(
    default: Any,
    doc: str,
    *,
    source: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] | None = None,
    kind: type | None = None,
    optional: bool = False,
    instead_of: str = "",
) -> Any:
    """A documented, validated attrs field.

    Args:
        default: the default; its type is the parameter's, unless `kind` says otherwise.
        doc: one clause saying what it is, with its unit; it ends every error message.
        source: the equation or table it comes from, or "paper does not specify".
        ge, gt, le, lt: bounds; every number must also be finite.
        choices: the accepted values, in place of bounds.
        kind: int, float, bool or str. Numbers are converted to it: 2 and 2.0 are one setting.
        optional: whether None is accepted.
        instead_of: another parameter of the component, which reaches nothing while this one is not
            None: asking for both is refused.
    """
    rule = Rule(
        doc=doc,
        source=source,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        choices=None if choices is None else tuple(choices),
        kind=kind or (type(default) if default is not None else float),
        optional=optional or default is None,
        instead_of=instead_of,
    )
    return attrs.field(
        default=default, converter=rule.convert, validator=_validate, metadata={PARAM: rule}
    )


def part(factory: Callable[[], Any], doc: str) -> Any:
    """A field that holds another component, `factory()` by default."""
    return attrs.field(factory=factory, metadata={PARAM: Rule(doc=doc, kind=object)})


def rules(component: Any) -> dict[str, Rule]:
    """The rules of a component (class or object), by field name, in declaration order."""
    cls = component if isinstance(component, type) else type(component)
    if not attrs.has(cls):
        return {}
    return {
        a.name: a.metadata.get(PARAM, Rule(doc="", kind=object))
        for a in attrs.fields(cls)
        if a.init
    }
