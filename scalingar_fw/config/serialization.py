"""Components as plain data and back: names, parameters, nested parts, and dotted settings.

A component's configuration is the object itself, so nothing here knows any component: the fields
of its attrs class and their rules say all there is to say.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from scalingar_fw.config.parts import is_component, part_kind
from scalingar_fw.decoding.components import BASES, Component, check_kind, kind_of
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, shown, unknown_name
from scalingar_fw.reading import load_yaml
from scalingar_fw.registry import COMPONENTS, KINDS, Registry, import_path
from scalingar_fw.trust import beside_the_user, check_module, described, foreign_code

#: The kinds of things that can be a part of something.
_PARTS = KINDS[: KINDS.index("strategy")]


def describe(component: Any, registry: Registry, *, full: bool = False) -> dict[str, Any]:
    """A component or strategy as plain data: `name`, then each parameter, nested parts likewise.

    The name is the short one where it is unique, else the full one (`full=True`: always), else
    `module:Class`. Every value is written, defaults included, so that a later change of a default
    changes no recorded run.
    """
    cls = type(component)
    if not attrs.has(cls):
        if getattr(component, "__dict__", None):
            raise ScalingarError(
                f"{cls.__qualname__} keeps its settings where they cannot be read: make it an "
                "attrs class (@attrs.frozen) with param() fields."
            )
        return {"name": _name(cls, registry, full)}
    known = rules(cls)
    if isinstance(component, Strategy):
        data = {"name": component.name}
        known = {k: rule for k, rule in known.items() if k != "name"}
    elif "name" in known:
        raise ScalingarError(f"{cls.__qualname__}.name: 'name' is the component's; rename it.")
    else:
        data = {"name": _name(cls, registry, full)}
    for field, rule in known.items():
        value = getattr(component, field)
        data[field] = _plain(value, rule, f"{cls.__qualname__}.{field}", registry, full)
    return data


def _plain(value: Any, rule: Rule, where: str, registry: Registry, full: bool) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        # 2 and 2.0, 0.0 and -0.0 are one setting: they must not be two hashes.
        return float(value) + 0.0 if rule.kind is float or isinstance(value, float) else value
    if isinstance(value, (list, tuple)):
        return [_plain(v, rule, where, registry, full) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, rule, where, registry, full) for k, v in value.items()}
    if is_component(value):
        return describe(value, registry, full=full)
    raise ScalingarError(
        f"{where} holds a {type(value).__name__}, which cannot be written as plain data: use "
        "numbers, text, lists or components."
    )


def _name(cls: type, registry: Registry, full: bool) -> str:
    kind = kind_of(cls)
    for candidate in _PARTS if kind is None else (kind,):
        found = registry.name_of(candidate, cls)
        if found is not None:
            short = found.split("/", 1)[1]
            return short if not full and short in registry.names(candidate) else found
    return f"{cls.__module__}:{cls.__qualname__}"


def build(kind: str | None, spec: Any, registry: Registry, base: Any = None) -> Any:
    """The component that `spec` describes.

    Args:
        kind: one of the registry's component kinds or "strategy"; None looks in all of the former.
        spec: a registered name, `"module:Class"`, a mapping as `describe` gives it (fields that it
            leaves out keep their defaults), or a finished component.
        registry: what names mean.
        base: what a mapping without `name` starts from.
    """
    if kind == "strategy":
        return build_strategy(spec, registry)
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Mapping):
        fields = dict(spec)
        name = fields.pop("name", None)
        if name is None and base is None:
            raise ScalingarError(f"A {kind or 'component'} needs a name: {dict(spec)!r}.")
        component = (
            _evolve(base, fields, registry)
            if name is None
            else _make(_target(kind, name, registry), fields, registry, str(name))
        )
    else:
        component = spec
    if kind is not None:
        check_kind(kind, component)
    return component


def build_strategy(spec: Any, registry: Registry) -> Strategy:
    """A strategy from a registered name, a mapping, or itself.

    A mapping starts from the strategy that its `name` means; one that names all parts may have any
    name, as a composition made in Python has.
    """
    if isinstance(spec, Strategy):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise ScalingarError(
            f"strategy={spec!r} must be a name, a mapping or a Strategy, not {type(spec).__name__}."
        )
    fields = dict(spec)
    name = str(fields.pop("name", "custom"))
    if all(part in fields for part in COMPONENTS):
        start = Strategy(name)
    else:
        start = _strategy(name, registry)
    return typing.cast(Strategy, _evolve(start, fields, registry))


def _strategy(name: str, registry: Registry) -> Strategy:
    if ":" in name:
        found = import_named(name, "strategy", registry)
        _check_maker(found, name, "strategy", Strategy)
    else:
        found = registry.get("strategy", name)
    made = found if isinstance(found, Strategy) else found() if callable(found) else found
    if not isinstance(made, Strategy):
        raise ScalingarError(f"strategy {name!r} gave a {type(made).__name__}, not a Strategy.")
    return made


def import_named(path: str, what: str, registry: Registry | None = None) -> Any:
    """The object at `module:attribute`, where a key `what` names it.

    Raises:
        ScalingarError: there is none, or the name came from a file that may not import the module
            (see trust.py).
    """
    plugins = () if registry is None else registry.modules
    check_module(path.partition(":")[0], path, what, plugins)
    try:
        with foreign_code(), beside_the_user(path.partition(":")[0]):
            found = import_path(path, what)
    except ScalingarError:
        raise
    except Exception as error:
        raise ScalingarError(
            f"{what}={path!r} could not be imported: {described(error)}."
        ) from error
    if isinstance(found, type) or inspect.isroutine(found):  # it may be another module's
        check_module(str(getattr(found, "__module__", "")), path, what, plugins)
    return found


def _check_maker(found: Any, path: str, what: str, base: type) -> None:
    """Refuse what is neither a `base`, nor a class of such, nor a function that may make one; a
    function is called only if it asks for nothing and does not say that it gives something else."""
    if isinstance(found, type):
        if issubclass(found, base):
            return
        why = f"the class {found.__qualname__} is none"
    elif not inspect.isfunction(found):
        if isinstance(found, base):
            return
        why = f"it is a {type(found).__name__}"
    else:
        try:
            inspect.signature(found).bind()
            made = typing.get_type_hints(found).get("return", base)
        except TypeError:
            why = "a function that makes one takes no arguments"
        except Exception:  # annotations of somebody else's making
            return
        else:
            if not isinstance(made, type) or issubclass(made, base):
                return
            why = f"the function gives a {made.__name__}"
    raise ScalingarError(f"{what}={path!r} must name a {base.__name__}, but {why}.")


def _target(kind: str | None, name: Any, registry: Registry) -> Any:
    if not isinstance(name, str):
        raise ScalingarError(f"name={name!r} must be text: the name of a {kind or 'component'}.")
    if ":" in name:
        found = import_named(name, kind or "name", registry)
        # Beside components there are parts of them, which are plain attrs classes.
        plain = kind is None and isinstance(found, type) and attrs.has(found)
        if not plain and not (kind is None and is_component(found)):
            _check_maker(found, name, kind or "name", Component if kind is None else BASES[kind])
        return found
    if kind is not None:
        return registry.get(kind, name)
    entries = [e for e in registry.of_kind(*_PARTS) if name in (e.name, e.full_name)]
    if len(entries) == 1:
        return entries[0].load()
    if entries:
        raise ScalingarError(f"{name!r} names several components: say module:Class.")
    raise unknown_name("component", name, [n for k in _PARTS for n in registry.names(k)])


def _make(target: Any, fields: dict[str, Any], registry: Registry, name: str) -> Any:
    """`target` with `fields`: a class is called, a finished component evolved."""
    if not isinstance(target, type):
        return _evolve(target if is_component(target) else target(), fields, registry)
    if not attrs.has(target):
        _known(fields, (), name)
        return target()
    known = rules(target)
    _known(fields, known, name)
    given: dict[str, Any] = {}
    for attribute in attrs.fields(target):
        if attribute.name in fields:
            base = _default(attribute.default)
            value = fields[attribute.name]
            rule = known[attribute.name]
            given[attribute.name] = convert(target, attribute.name, rule, value, base, registry)
        elif attribute.init and attribute.default is attrs.NOTHING:
            raise ScalingarError(f"{name!r} needs a value for {attribute.name!r}.")
    return target(**given)


def _default(default: Any) -> Any:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return None if default.takes_self else default.factory()
    return None if default is attrs.NOTHING else default


def _evolve(component: Any, fields: Mapping[str, Any], registry: Registry) -> Any:
    cls = type(component)
    known = rules(cls)
    _known(fields, known, component.name if isinstance(component, Strategy) else cls.__qualname__)
    changes = {
        k: convert(cls, k, known[k], v, getattr(component, k), registry) for k, v in fields.items()
    }
    return attrs.evolve(component, **changes) if changes else component


def _known(
    fields: Mapping[str, Any], known: Sequence[str] | Mapping[str, Rule], owner: str
) -> None:
    for field in fields:
        if field not in known:
            raise unknown_name(f"setting of {owner!r}", str(field), known)


def convert(cls: Any, field: str, rule: Rule, value: Any, current: Any, registry: Registry) -> Any:
    """A value of plain data (or text) as its field wants it."""
    if rule.kind is object and isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = _yaml(value)
    if isinstance(value, list) and (isinstance(current, tuple) or current is None):
        sample = current[0] if current else None
        return tuple(convert(cls, field, rule, v, sample, registry) for v in value)
    kind = part_kind(cls, field, current)
    named = isinstance(value, Mapping) and "name" in value
    if named or (isinstance(value, (str, Mapping)) and (kind or is_component(current))):
        return build(kind, value, registry, current)
    plain_text = rule.kind is object and isinstance(current, str)
    return scalar(value, rule) if isinstance(value, str) and not plain_text else value


def _yaml(text: str) -> Any:
    return load_yaml(text, shown(text, 60))


_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def scalar(text: str, rule: Rule) -> Any:
    """A YAML scalar, read by the rule: 1e-6 is a number, `on` is text where text is wanted."""
    for choice in rule.choices or ():
        if text == str(choice):
            return choice
    if rule.optional and text.lower() in ("", "~", "null", "none"):
        return None
    if rule.kind is str or rule.choices:
        return text
    if rule.kind is bool:
        return _BOOLS.get(text.lower(), text)
    if rule.kind is object:
        return _yaml(text)
    number: Callable[[str], Any]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text  # refused by the parameter's own rule, in its own words
