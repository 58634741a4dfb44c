"""What a driver tells its observers: progress on a terminal, `--json`, and trackers all hear this.

An observer is any object with `notify(event)` and `close()`. It watches: what it does changes no
unit, and one that raises is reported and left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from attrs import asdict, field, frozen

from scalingar_fw.errors import PluginWarning


@frozen
class Planned:
    """Before the first unit. `tokens`: upper bounds (n x T); `seconds`: of the missing units at the
    pace of those in the store, None where there is none yet."""

    kind = "planned"
    units: int
    finished: int
    tokens: int
    missing_tokens: int
    seconds: float | None
    labels: tuple[str, ...]
    frame: Mapping[str, Any] = field(repr=False)


@frozen
class Damaged:
    """A unit was set aside and will be done again."""

    kind = "damaged"
    key: str
    why: str
    moved_to: str


@frozen
class Finished:
    """A unit is in the store: done by a worker of ours, or by another driver's (`ours` False)."""

    kind = "unit"
    key: str
    label: str
    n: int
    seed: int
    items: int
    tokens: int
    seconds: float
    ours: bool
    answers: Mapping[str, tuple[int, float]]  # by task: answers judged, sum of their scores


@frozen
class Failed:
    """A unit was given up; `error` says why."""

    kind = "failed"
    key: str
    label: str
    error: str


@frozen
class Progress:
    """Totals after each unit. `accuracy`: by label, the mean over tasks of the answers so far;
    `seconds_left`: at the pace of this call, None before its first unit."""

    kind = "progress"
    units: int
    finished: int
    tokens: int
    accuracy: Mapping[str, float]
    seconds_left: float | None


@frozen
class Ended:
    """The last event. `stopped`: None where everything is finished, else what stopped the sweep."""

    kind = "ended"
    units: int
    finished: int
    failed: int
    tokens: int
    seconds: float
    accuracy: Mapping[str, float]
    stopped: str | None = None


Event = Planned | Damaged | Finished | Failed | Progress | Ended


def to_data(event: Event) -> dict[str, Any]:
    """An event as plain data, its kind under "event"."""
    return {"event": event.kind, **asdict(event)}


class Observer(Protocol):
    """Who hears of a sweep."""

    def notify(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Observers:
    """Passes events on; an observer that raises is reported once and heard no more."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def notify(self, event: Event) -> None:
        for observer in list(self._observers):
            self._call(observer, event)

    def close(self) -> None:
        for observer in list(self._observers):
            self._call(observer, None)

    def _call(self, observer: Observer, event: Event | None) -> None:
        try:
            observer.close() if event is None else observer.notify(event)
        except Exception as error:
            self._observers.remove(observer)
            name = type(observer).__name__
            warnings.warn(
                f"{name} is left out from here on: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )
