"""What a component shares with the rest of the process: settings of libraries, and the clock."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attrs import frozen


@frozen
class _Setting:
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _flag(owner: Any, name: str) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


#: Settings that hold for a whole process, by the words that change them.
_SETTINGS: Mapping[str, _Setting] = {
    "torch.set_default_dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
    "torch.set_num_threads": _Setting(torch.get_num_threads, torch.set_num_threads),
    "torch.set_grad_enabled": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.use_deterministic_algorithms": _Setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "torch.set_float32_matmul_precision": _Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "torch.backends.cudnn.benchmark": _flag(torch.backends.cudnn, "benchmark"),
    "torch.backends.cudnn.deterministic": _flag(torch.backends.cudnn, "deterministic"),
    "np.seterr": _Setting(np.geterr, lambda value: np.seterr(**value)),
    "np.set_printoptions": _Setting(
        np.get_printoptions, lambda value: np.set_printoptions(**value)
    ),
}


def settings_now() -> dict[str, Any]:
    """Every setting's value, for `changed_settings`."""
    return {name: setting.read() for name, setting in _SETTINGS.items()}


def changed_settings(before: Mapping[str, Any]) -> str | None:
    """The first setting that is not what it was, which is then put right; None where none is."""
    changed = [name for name, setting in _SETTINGS.items() if setting.read() != before[name]]
    for name in changed:
        _SETTINGS[name].write(before[name])
    return changed[0] if changed else None


#: Everything in `time` that says how late it is.
_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")


class _Leaping:
    """A clock that leaps: an hour forward, a second back, and so on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return 2.0e9 + 3600.0 * self.calls - 3601.0 * (self.calls % 3)


@contextlib.contextmanager
def leaping_clock(*modules: str) -> Iterator[None]:
    """Every clock leaps in the block: those of `time` and `datetime`, and what `modules` imported
    from there by name."""
    now = _Leaping()

    class Leapt(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Leapt:
            return cls.fromtimestamp(now(), tz)

        @classmethod
        def utcnow(cls) -> Leapt:
            return cls.fromtimestamp(now(), datetime.timezone.utc).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Leapt:
            return cls.fromtimestamp(now())

    instead: dict[int, Any] = {id(datetime.datetime): Leapt}
    for name in _CLOCKS:
        instead[id(getattr(time, name))] = now
        instead[id(getattr(time, f"{name}_ns"))] = lambda: int(now() * 1e9)
    places = [time, datetime, *(sys.modules[m] for m in modules if m in sys.modules)]
    changes = [(p, k, v) for p in places for k, v in list(vars(p).items()) if id(v) in instead]
    try:
        for place, name, original in changes:
            setattr(place, name, instead[id(original)])
        yield
    finally:
        for place, name, original in changes:
            setattr(place, name, original)


__all__ = ["changed_settings", "leaping_clock", "settings_now"]
