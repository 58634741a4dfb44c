"""Dotted settings of a strategy, such as `termination.quantile`: listed, and changed by name."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import Factory, define

from scalingar_fw.config.parts import is_component, part_kind
from scalingar_fw.config.serialization import convert
from scalingar_fw.decoding.components import check_kind
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, shown, unknown_name
from scalingar_fw.registry import Registry


def settings_of(component: Any, prefix: str = "") -> dict[str, tuple[Rule, Any]]:
    """Every setting below a component, by dotted key: its rule and its value, parts included."""
    out: dict[str, tuple[Rule, Any]] = {}
    for field, rule in rules(component).items():
        if isinstance(component, Strategy) and field == "name":
            continue
        value = getattr(component, field)
        out[prefix + field] = (rule, value)
        if is_component(value):
            out |= settings_of(value, f"{prefix}{field}.")
    return out


def override(strategy: Strategy, settings: Mapping[str, Any], registry: Registry) -> Strategy:
    """`strategy` with dotted settings changed, as `--set` gives them.

    A value may be text (read as a YAML scalar) or already a Python value; for a part it names the
    component that replaces it. A part is replaced before its own settings are applied, and the
    settings of one component change together, in whatever order they come: two weights may swap
    although no state in between would be allowed.
    """
    tree = _Node()
    for key, value in settings.items():
        node = tree
        for field in key.split("."):
            node = node.below.setdefault(field, _Node())
        node.key, node.value = key, value
    return typing.cast(Strategy, _apply(strategy, tree, registry, strategy, ""))


@define
class _Node:
    """What is asked of a field: a value (if `key` is set) and changes below it."""

    key: str = ""
    value: Any = None
    below: dict[str, _Node] = Factory(dict)

    def first_key(self) -> str:
        return self.key or next(iter(self.below.values())).first_key()


def _apply(component: Any, node: _Node, registry: Registry, root: Strategy, prefix: str) -> Any:
    cls = type(component)
    known = rules(cls) if is_component(component) else {}
    changes = {}
    unknown = None
    for field, wanted in node.below.items():
        if field not in known or (component is root and field == "name"):
            unknown = unknown or wanted
            continue
        value = getattr(component, field)
        if wanted.key:
            kind = part_kind(cls, field, value)
            value = convert(cls, field, known[field], wanted.value, value, registry)
            if kind is not None:
                check_kind(kind, value)
        changes[field] = _apply(value, wanted, registry, root, f"{prefix}{field}.")
    if unknown is not None:
        # Of the parts as this very call has replaced them: those of the old ones are gone.
        near = settings_of(component, prefix)
        for field, value in changes.items():
            if is_component(value):
                old = [key for key in near if key.startswith(f"{prefix}{field}.")]
                near = {k: v for k, v in near.items() if k not in old}
                near |= settings_of(value, f"{prefix}{field}.")
        raise unknown_name("setting", unknown.first_key(), near or settings_of(root))
    for field, rule in known.items():
        if rule.instead_of in changes and changes.get(field, getattr(component, field)) is not None:
            asked = node.below[rule.instead_of].first_key()
            raise ScalingarError(
                f"{asked} reaches nothing while {prefix}{field}="
                f"{shown(changes.get(field, getattr(component, field)))} stands in its place: set "
                f"one of them (and {prefix}{field}=null, to switch to the other)."
            )
    return attrs.evolve(component, **changes) if changes else component
