"""What kind of component something is: by inheritance, or by its methods where it is foreign."""

from __future__ import annotations

import typing
from typing import Any

import attrs

from scalingar_fw.decoding import components
from scalingar_fw.errors import ScalingarError

#: What each kind of component is: its base class, and the methods that a foreign one must have.
BASES: dict[str, tuple[type, tuple[str, ...]]] = {
    "confidence": (components.ConfidenceEstimator, ("init", "update", "commit")),
    "guidance": (components.Guidance, ("init", "update", "bounds")),
    "termination": (components.Termination, ("init", "update")),
    "sampler": (components.Sampler, ("init", "propose")),
    "selector": (components.Selector, ("select",)),
    "reward": (components.Reward, ("score",)),
}


def is_component(value: Any) -> bool:
    """Whether a value is a component: of ours by inheritance, or foreign with the same methods."""
    if isinstance(value, type):
        return False
    return attrs.has(type(value)) or kind_of(type(value)) is not None


def kind_of(cls: Any) -> str | None:
    """The kind of component that a class implements, or None."""
    if not isinstance(cls, type):
        return None
    for kind, (base, _) in BASES.items():
        if issubclass(cls, base):
            return kind
    for kind, (_, methods) in BASES.items():
        if all(hasattr(cls, m) for m in methods):
            return kind
    return None


def part_kind(cls: Any, field: str, current: Any) -> str | None:
    """The kind of component that a field holds: by its annotation, else by what is there."""
    try:
        annotated = typing.get_type_hints(cls).get(field)
    except Exception:  # names imported for type checkers only
        annotated = None
    return _kind_in(annotated) or (kind_of(type(current)) if is_component(current) else None)


def _kind_in(annotation: Any) -> str | None:
    """The kind of a class, or of what `X | None` and `tuple[X, ...]` hold."""
    found = (_kind_in(argument) for argument in typing.get_args(annotation))
    return kind_of(annotation) or next((kind for kind in found if kind), None)


def check_kind(kind: str | None, component: Any) -> None:
    """Raise `ScalingarError` unless `component` is one of `kind` (None: anything will do)."""
    if kind is None:
        return
    heirs = [k for k, (base, _) in BASES.items() if isinstance(component, base)]
    missing = [m for m in BASES[kind][1] if not callable(getattr(component, m, None))]
    why = None
    if isinstance(component, type):
        why = "pass an object, not a class"
    elif heirs and kind not in heirs:
        why = f"it is a {heirs[0]} component"
    elif missing:
        why = f"it lacks {', '.join(missing)}"
    if why is not None:
        raise ScalingarError(f"{component!r} is no {kind} component: {why}.")
