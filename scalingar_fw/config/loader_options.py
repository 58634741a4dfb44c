"""Options of a model's loader (`--option KEY=VALUE`): read, checked and named by its signature.

A registered model is a function `load(*, device, dtype, weights, ...)`; whatever else it takes is
an option. Its annotations say what text is to become, so `ratio=4:3` stays text and
`image_size=512` becomes a number.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scalingar_fw.config.serialization import scalar
from scalingar_fw.decoding.params import Rule
from scalingar_fw.errors import ScalingarError, unknown_name

#: What every loader is given by the framework: they have flags of their own.
OWN_FLAGS = ("device", "dtype", "weights")


def accepted_options(load: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """The options of a loader with their annotations, and whether it takes any others."""
    parameters = inspect.signature(load).parameters
    inner: Any = load
    while isinstance(inner, functools.partial):
        inner = inner.func
    if isinstance(inner, type):
        inner = vars(inner).get("__init__", inner)
    try:
        hints = typing.get_type_hints(inner)
    except (NameError, TypeError, AttributeError):  # annotations of somebody else's making
        hints = {}
    named = {
        key: hints.get(key, Any)
        for key, p in parameters.items()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and key not in OWN_FLAGS
    }
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def resolve_options(
    name: str, load: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """`options` as `load` wants them; text is read by the parameter's annotation.

    Paths become absolute, so that a run's `config.yaml` means the same files from anywhere.

    Raises:
        ScalingarError: an option that the loader does not have, or a value of another type.
    """
    known, others = accepted_options(load)
    resolved: dict[str, Any] = {}
    for key, value in options.items():
        if key in OWN_FLAGS:
            raise ScalingarError(f"option {key!r} of model {name!r} has its own flag: --{key}.")
        if key not in known and not others:
            raise unknown_name(f"option of model {name!r}", key, known)
        hint = known.get(key, Any)
        found = _read(value, hint) if isinstance(value, str) else value
        if not _fits(found, hint):
            raise ScalingarError(
                f"option {key}={value!r} of model {name!r} must be {_shown(hint)}."
            )
        if isinstance(found, str) and Path in _members(hint) and Path(found).exists():
            found = str(Path(found).resolve())
        resolved[key] = found
    return resolved


def _members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the annotation itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _read(text: str, hint: Any) -> Any:
    members = _members(hint)
    if type(None) in members and text.lower() in ("", "~", "null", "none") and str not in members:
        return None
    if str in members or Path in members or any(_literal(m) for m in members):
        return text
    for kind in (bool, int, float):
        if kind in members:
            return scalar(text, Rule("", kind=kind))
    if Any not in members:
        return text
    # No annotation: numbers are numbers; `true` and `false` are, in the end, rarely words.
    return {"true": True, "false": False}.get(text.lower(), scalar(text, Rule("", kind=float)))


def _literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _fits(value: Any, hint: Any) -> bool:
    for member in _members(hint):
        if member is Any:
            return True
        if member is type(None):
            if value is None:
                return True
        elif _literal(member):
            if value in typing.get_args(member):
                return True
        elif member in (int, float):
            numbers = (int, float) if member is float else (int,)
            if isinstance(value, numbers) and not isinstance(value, bool):
                return True
        elif member is Path:
            if isinstance(value, (str, Path)):
                return True
        elif isinstance(member, type):
            if isinstance(value, member):
                return True
        else:  # Any, a callable, a protocol: the loader's own business
            return True
    return False


def _shown(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    said = []
    for member in _members(hint):
        if _literal(member):
            said += [repr(a) for a in typing.get_args(member)]
        elif member is Path:
            said.append("a path")
        elif member is not type(None):
            said.append(words.get(member, getattr(member, "__name__", str(member))))
    return " or ".join(dict.fromkeys(said))
