"""What `scalingar check TARGET` means: a registered name, `package.module:Object`, `file.py:Object`,
or `file.py`, whose hooks are an observer."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from scalingar_fw.config.serialization import build
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.registry import Registry, import_path
from scalingar_fw.testing.catalogue import CHOOSING, STEPPING, kind_of_object
from scalingar_fw.trust import allow

KINDS = (*STEPPING, *CHOOSING, "strategy", "model")


def resolve(
    target: str,
    registry: Registry,
    kind: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """The object to check; classes and functions are called without arguments.

    `settings` reach a model's loader (options, `weights`, `device`, `dtype`); those of a component
    are `with_settings`' business.
    """
    if target.endswith(".py"):  # a file of hooks, which is an observer as a whole
        component = _from_file(Path(target), "")
    elif ":" not in target:
        component = _registered(target, registry, kind, settings or {})
    else:
        found = load_object(target)
        loads = _loads(found)
        component = _model(target, found, settings or {}) if loads else _made(target, found)
    # Whoever named it named what it is made of: its own configuration may say so by module path.
    allow(*_modules_of(component))
    return component


def _modules_of(component: Any) -> set[str]:
    """The modules of a component's class and of the classes of its parts, however deep."""
    if not attrs.has(type(component)):  # a setting, whose class nobody named
        return {type(component).__module__} if kind_of_object(component) is not None else set()
    parts = attrs.asdict(component, recurse=False).values()
    return {type(component).__module__}.union(*map(_modules_of, parts))


def _registered(
    target: str, registry: Registry, kind: str | None, settings: Mapping[str, Any]
) -> Any:
    found = [e for e in registry.of_kind(*KINDS) if target in (e.name, e.full_name)]
    if kind is not None:
        found = [e for e in found if e.kind == kind]
    if not found:
        known = {n for k in ((kind,) if kind else KINDS) for n in registry.names(k)}
        raise unknown_name(kind or "component, strategy or model", target, known)
    if len(found) > 1:
        kinds = sorted({e.kind for e in found})
        if len(kinds) == 1:
            names = " or ".join(repr(e.full_name) for e in found)
            raise ScalingarError(f"{target!r} is offered by several plugins: say {names}.")
        raise ScalingarError(
            f"{target!r} is the name of several things: say --kind {' or --kind '.join(kinds)}."
        )
    if found[0].kind == "model":
        return _model(found[0].full_name, found[0].load(), settings)
    if found[0].kind == "strategy":
        return build("strategy", found[0].full_name, registry)
    return _made(target, found[0].load())


def _loads(found: Any) -> bool:
    """Whether this is a model's loader: a function or an adapter class that takes a device."""
    try:
        takes = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return False
    return "device" in takes and kind_of_object(found) is None


def _model(name: str, load: Any, settings: Mapping[str, Any]) -> Any:
    from scalingar_fw.config.loader_options import OWN_FLAGS, resolve_options
    from scalingar_fw.generation.plan import load_adapter

    own = {k: v for k, v in settings.items() if k in OWN_FLAGS}
    others = {k: v for k, v in settings.items() if k not in OWN_FLAGS}
    return load_adapter(
        name,
        load,
        device=own.get("device", "auto"),
        dtype=own.get("dtype", "auto"),
        weights=own.get("weights"),
        options=resolve_options(name, load, others) if callable(load) else others,
    )


def load_object(target: str) -> Any:
    """The object at `package.module:name` or `file.py:name`, as it is; `ScalingarError` says why not."""
    module, _, attribute = target.rpartition(":")
    if module.endswith(".py"):
        return _from_file(Path(module), attribute)
    sys.path.insert(0, "")  # a project that is being written is not installed yet
    try:
        return import_path(target)
    except ScalingarError:
        raise
    except Exception as error:
        raise ScalingarError(
            f"{target!r} could not be imported: {type(error).__name__}: {error}."
        ) from error
    finally:
        sys.path.remove("")


def _from_file(path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise ScalingarError(f"{str(path)!r} does not exist.")
    # Named by its place, so that two files of one name do not meet, and found again by name.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"scalingar_check_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    allow(name)  # the user named the file, so a configuration may name what is in it
    try:
        spec.loader.exec_module(module)
        return getattr(module, attribute) if attribute else module
    except Exception as error:
        raise ScalingarError(
            f"{attribute or path.stem!r} could not be loaded from {path}: {type(error).__name__}: {error}."
        ) from error


def _made(target: str, found: Any) -> Any:
    if isinstance(found, type) or (callable(found) and kind_of_object(found) is None):
        try:
            return found()
        except TypeError as error:
            raise ScalingarError(
                f"{target!r} could not be made without arguments ({error}): check an object of it."
            ) from error
    return found


def with_settings(component: Any, settings: Mapping[str, Any], registry: Registry) -> Any:
    """`component` with dotted settings changed, as `--set` gives them."""
    if not settings:
        return component
    if isinstance(component, Strategy):
        return override(component, settings, registry)
    fields: dict[str, Any] = {}
    for key in sorted(settings, key=lambda k: k.count(".")):
        *path, last = key.split(".")
        inner = fields
        for name in path:
            below = inner.get(name, {})
            inner[name] = dict(below) if isinstance(below, Mapping) else {"name": below}
            inner = inner[name]
        inner[last] = settings[key]
    return build(str(kind_of_object(component)), fields, registry, component)
