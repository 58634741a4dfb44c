"""Dotted settings of a strategy, such as `termination.quantile`: listed, and changed by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from scalingar_fw.composition import convert
from scalingar_fw.errors import unknown_name
from scalingar_fw.kinds import check_kind, is_component, part_kind
from scalingar_fw.params import Rule, rules
from scalingar_fw.registry import Registry
from scalingar_fw.strategy import Strategy


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
    component that replaces it. A part is replaced before its own settings are applied, in
    whatever order they come.
    """
    for key in sorted(settings, key=lambda k: k.count(".")):
        strategy = _set(strategy, key.split("."), settings[key], registry, key, strategy)
    return strategy


def _set(
    component: Any, path: list[str], value: Any, registry: Registry, key: str, root: Strategy
) -> Any:
    head, *rest = path
    known = {} if isinstance(component, type) else rules(component)
    if head not in known or (component is root and head == "name"):
        below = key.rsplit(".", len(path))[0] + "." if len(path) < len(key.split(".")) else ""
        available = settings_of(root)
        near = [k for k in available if k.startswith(below)]
        raise unknown_name("setting", key, near or available)
    current = getattr(component, head)
    if rest:
        new = _set(current, rest, value, registry, key, root)
    else:
        new = convert(type(component), head, known[head], value, current, registry)
        kind = part_kind(type(component), head, current)
        if kind is not None:
            check_kind(kind, new)
    return attrs.evolve(component, **{head: new})
