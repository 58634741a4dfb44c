"""What `scalingar check TARGET` means: a registered name, `package.module:Object` or `file.py:Object`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalingar_fw.composition import build
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.registry import Registry, import_path
from scalingar_fw.settings import override
from scalingar_fw.strategy import Strategy
from scalingar_fw.testing.catalogue import capability_of

KINDS = (
    "confidence",
    "guidance",
    "termination",
    "sampler",
    "selector",
    "reward",
    "strategy",
    "model",
)


def resolve(target: str, registry: Registry, kind: str | None = None) -> Any:
    """The object to check; classes and functions are called without arguments."""
    if ":" in target:
        return _made(target, load_object(target))
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
        from scalingar_fw.preparing import load_model

        return load_model(found[0].full_name, registry)[1]
    if found[0].kind == "strategy":
        return build("strategy", found[0].full_name, registry)
    return _made(target, found[0].load())


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
    try:
        spec.loader.exec_module(module)
        return getattr(module, attribute)
    except Exception as error:
        raise ScalingarError(
            f"{attribute!r} could not be loaded from {path}: {type(error).__name__}: {error}."
        ) from error


def _made(target: str, found: Any) -> Any:
    if isinstance(found, type) or (callable(found) and capability_of(found) is None):
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
    capability = str(capability_of(component))
    kind = "confidence" if capability == "estimator" else capability
    return build(kind, fields, registry, component)
