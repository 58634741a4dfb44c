"""What `scalingar tune` may change: settings of a strategy, each with a range or choices, as YAML.

termination.quantile: [0.05, 0.5]                  # a range, ends included
termination.recovery_share: {low: 0.01, high: 0.2, log: true}
termination.min_survivors: {low: 1, high: 4}       # whole numbers for a whole number
termination.rebound_reference: {choices: [flag, start]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scalingar_fw.config.settings import settings_of
from scalingar_fw.decoding.params import Rule
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import load_yaml, read_text

_KEYS = ("low", "high", "log", "choices")


@frozen
class Dimension:
    """A setting and what it may be: `choices`, or a range from `low` to `high`."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """A value from an Optuna trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, list(self.choices))
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@frozen
class Space:
    """The settings that a study tunes, by key."""

    dimensions: tuple[Dimension, ...]
    data: Mapping[str, Any] = field(repr=False)

    def suggest(self, trial: Any) -> dict[str, Any]:
        return {d.key: d.suggest(trial) for d in self.dimensions}


def read_space(path: Path, strategy: Strategy) -> Space:
    """`parse_space` of a YAML file."""
    return parse_space(load_yaml(read_text(path), str(path)), strategy, str(path))


def parse_space(data: Any, strategy: Strategy, where: str = "the space") -> Space:
    """A space from plain data; every end and choice must be one that its setting takes.

    Raises:
        ScalingarError: an unknown setting, a range that its rule forbids, or no setting at all.
    """
    if not isinstance(data, Mapping) or not data:
        raise ScalingarError(
            f"{where} must map settings to ranges, such as `termination.quantile: [0.1, 0.5]`."
        )
    known = settings_of(strategy)
    dimensions = []
    for key, spec in data.items():
        if key not in known:
            raise unknown_name(f"setting in {where}:", str(key), known)
        dimensions.append(_dimension(str(key), spec, known[key][0], where))
    return Space(tuple(dimensions), dict(data))


def _dimension(key: str, spec: Any, rule: Rule, where: str) -> Dimension:
    name = f"{where}: {key}"
    if isinstance(spec, (list, tuple)) and len(spec) == 2 and all(map(_is_number, spec)):
        spec = {"low": spec[0], "high": spec[1]}
    if not isinstance(spec, Mapping):
        raise ScalingarError(
            f"{name}={spec!r} must be a range [low, high], a mapping with low and high, or "
            "{choices: [...]}."
        )
    for field_name in spec:
        if field_name not in _KEYS:
            raise unknown_name(f"key of {name}", str(field_name), _KEYS)
    if "choices" in spec:
        return _choices(key, spec, rule, name)
    low: Any = spec.get("low")
    high: Any = spec.get("high")
    log = spec.get("log", False)
    if rule.kind not in (int, float) or rule.choices:
        raise ScalingarError(f"{name} is no number: give {{choices: [...]}}.")
    if not _is_number(low) or not _is_number(high) or not low < high:
        raise ScalingarError(f"{name}: low={low!r} must be a number below high={high!r}.")
    if not isinstance(log, bool) or (log and not low > 0):
        raise ScalingarError(f"{name}: log={log!r} must be true or false, and true needs low > 0.")
    rule.check(name, low)
    rule.check(name, high)
    return Dimension(key, float(low), float(high), log, whole=rule.kind is int)


def _choices(key: str, spec: Mapping[str, Any], rule: Rule, name: str) -> Dimension:
    choices = spec["choices"]
    if len(spec) > 1 or not isinstance(choices, (list, tuple)) or len(choices) < 2:
        raise ScalingarError(f"{name}: choices={choices!r} must be a list of at least two, alone.")
    for choice in choices:
        if not isinstance(choice, (bool, int, float, str)) and choice is not None:
            raise ScalingarError(f"{name}: {choice!r} must be a number, text, true, false or null.")
        if rule.kind is not object:  # a part is named by its component, which `override` looks up
            rule.check(name, choice)
    return Dimension(key, choices=tuple(choices))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
