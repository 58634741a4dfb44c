"""Which fields of a component hold other components, and of what kind."""

from __future__ import annotations

import typing
from typing import Any

import attrs

from scalingar_fw.decoding.components import Component, kind_of


def is_component(value: Any) -> bool:
    """Whether a value has settings of its own: a component, or an attrs object beside it (a
    strategy, a normaliser)."""
    return not isinstance(value, type) and (isinstance(value, Component) or attrs.has(type(value)))


def part_kind(cls: Any, field: str, current: Any) -> str | None:
    """The kind of component that a field holds: by its annotation, else by what is there."""
    try:
        annotated = typing.get_type_hints(cls).get(field)
    except Exception:  # names imported for type checkers only
        annotated = None
    return _kind_in(annotated) or kind_of(type(current))


def _kind_in(annotation: Any) -> str | None:
    """The kind of a class, of `Termination[Any]`, and of what `X | None` and `tuple[X, ...]` hold."""
    found = kind_of(annotation) or kind_of(typing.get_origin(annotation))
    return found or next((k for a in typing.get_args(annotation) if (k := _kind_in(a))), None)


__all__ = ["is_component", "part_kind"]
