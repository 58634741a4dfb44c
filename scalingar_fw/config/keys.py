"""The arguments of a generation one by one: what each may be, and what it becomes.

Every way in (Python, flags, YAML, a sweep) sends a value through `read_argument`, so a value that
one of them takes means the same in all, and one that is refused is refused in the same words. The
keys of a configuration file are the arguments' names, but for two: `prompt` and `prompts` are both
the prompts, and `set` (as in `--set`) is `settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scalingar_fw.config.serialization import scalar
from scalingar_fw.decoding.memory_budget import parse_bytes
from scalingar_fw.decoding.noise import Prompt, check_seed
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, shown, unknown_name
from scalingar_fw.reading import can_be_written, load_yaml, read_text

#: The numbers, each with its rule.
NUMBERS = {
    "n": Rule("candidates per prompt", ge=1, kind=int),
    "seed": Rule("keys all randomness", ge=0, kind=int),
    "batch": Rule("prompts decoded together", ge=1, kind=int),
    "passes": Rule("parts in which a prompt's candidates are decoded", ge=1, kind=int),
    **rules(Sampling),
}
#: Arguments that text names, with the Python objects that may stand in its place.
_TEXTS: dict[str, tuple[type, ...]] = {
    "weights": (Path,),
    "model_hash": (),
    "device": (torch.device,),
    "dtype": (torch.dtype,),
}
#: Every key that a configuration file may hold.
KEYS = ("prompt", "prompts", "model", *_TEXTS, "options", "strategy", "set", *NUMBERS, "max_memory")
_MAPPINGS = {
    "settings": "must map settings to values, such as termination.quantile: 0.2",
    "options": "must map a loader's options to values",
}


def read_argument(argument: str, value: Any, name: str | None = None) -> Any:
    """A value of an argument of `generate`, converted to the form in which it is kept.

    Args:
        argument: which one; those that `generate` does not have are the caller's mistake.
        value: from Python, from YAML, or the text of a flag.
        name: what messages call it, where that is not `argument`.

    Raises:
        ScalingarError: the value breaks the argument's rule.
    """
    name = argument if name is None else name
    if argument == "prompts":
        return to_prompts(value, name)
    if argument in NUMBERS:
        return read_number(argument, value, name)
    if argument in _MAPPINGS:
        if not isinstance(value, Mapping):
            raise ScalingarError(f"{name} {_MAPPINGS[argument]}, not {shown(value)}.")
        for key in value:
            if not isinstance(key, str) or not key.strip():
                raise ScalingarError(f"{name} {_MAPPINGS[argument]}: {shown(key)} is no name.")
            if not can_be_written(f"{key}{value[key]}"):
                raise ScalingarError(f"{name}: {shown(key)} is not text in UTF-8.")
        return dict(value)
    if argument == "max_memory":
        return parse_bytes(value, name)
    if argument == "model":  # an adapter is looked at when it is loaded
        if value is None or isinstance(value, (bool, int, float, Sequence, Mapping)):
            return _text(value, name)
        return value
    if argument == "strategy":
        if not isinstance(value, (str, Mapping, Strategy)):
            raise ScalingarError(
                f"{name}={shown(value)} must be a name, a mapping or a Strategy, not "
                f"{type(value).__name__}."
            )
        return value
    return value if isinstance(value, _TEXTS[argument]) else _text(value, name)


def read_number(argument: str, value: Any, name: str | None = None) -> Any:
    """A number of `NUMBERS` from a number or its text: `guidance=2` is `guidance=2.0`."""
    name, rule = name or argument, NUMBERS[argument]
    number = rule.convert(scalar(value, rule) if isinstance(value, str) else value)
    rule.check(name, number)
    return check_seed(number) if argument == "seed" else number


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ScalingarError(f"{name}={shown(value)} must be text.")
    if not can_be_written(value):
        raise ScalingarError(f"{name}={shown(value)} is not text in UTF-8, so no file can hold it.")
    return value


def to_prompts(value: Any, name: str = "prompts") -> tuple[Prompt, ...]:
    """The prompts of a call: from one, in any form that `to_prompt` reads, or from a list."""
    if isinstance(value, (str, Prompt, Mapping)):
        return (to_prompt(value, name),)
    if not isinstance(value, Sequence) or not value:
        raise ScalingarError(
            f"{name}={shown(value)} must be text, or a list with at least one prompt."
        )
    return tuple(to_prompt(v, name) for v in value)


def to_prompt(value: Any, where: str = "prompt") -> Prompt:
    """A prompt from text, from a mapping `{text, class_id, negative}`, or itself."""
    if isinstance(value, str):
        value = Prompt(value)
    if isinstance(value, Prompt):
        if not can_be_written(f"{value.text}{value.negative}"):
            raise ScalingarError(
                f"{where}: {shown(value.text)} is not text in UTF-8, so no file can hold it."
            )
        return value
    if isinstance(value, Mapping):
        known = ("text", "class_id", "negative")
        for key in value:
            if key not in known:
                raise unknown_name(f"key of {where}", str(key), known)
        text, class_id = value.get("text", ""), value.get("class_id")
        negative = value.get("negative")
        whole = class_id is None or (isinstance(class_id, int) and not isinstance(class_id, bool))
        if isinstance(text, str) and whole and (negative is None or isinstance(negative, str)):
            return to_prompt(Prompt(text, class_id, negative), where)
    raise ScalingarError(
        f"{where}: {shown(value)} is no prompt: give text, or text, class_id, negative."
    )


def parse_settings(data: Any, where: str) -> dict[str, Any]:
    """Arguments of `generate` from a configuration file's content; what is null is left out.

    Raises:
        ScalingarError: the content is no mapping, or a key of it is unknown or holds a value that
            its rule forbids; the message begins with `where`.
    """
    if not isinstance(data, Mapping):
        raise ScalingarError(f"{where} must hold keys and values, such as `n: 8`.")
    given = {k: v for k, v in data.items() if v is not None}
    for key in given:
        if key not in KEYS:
            raise unknown_name(f"key in {where}:", str(key), KEYS)
    if "prompt" in given and "prompts" in given:
        raise ScalingarError(f"{where}: give prompt or prompts, not both.")
    out: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{where}: {key}"
        if key == "prompt":
            out["prompts"] = (to_prompt(value, name),)
        elif key == "prompts" and isinstance(value, (str, Mapping)):
            raise ScalingarError(f"{name} must be a list with at least one entry.")
        else:
            argument = "settings" if key == "set" else key
            out[argument] = read_argument(argument, value, name)
    return out


def read_settings(path: Path) -> dict[str, Any]:
    """`parse_settings` of a YAML file."""
    return parse_settings(load_yaml(read_text(path), str(path)), str(path))


__all__ = [
    "KEYS",
    "NUMBERS",
    "parse_settings",
    "read_argument",
    "read_number",
    "read_settings",
    "to_prompt",
    "to_prompts",
]
