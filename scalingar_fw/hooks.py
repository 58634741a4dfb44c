"""Hooks of one run: made by the caller and passed in, so there is no global plugin manager."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pluggy

from scalingar_fw import hookspecs
from scalingar_fw.errors import PluginWarning, ScalingarError, did_you_mean
from scalingar_fw.hookspecs import PROJECT

EVENTS = ("on_decode_start", "on_token", "on_candidate_end", "on_decode_end", "on_image")


class _Manager(pluggy.PluginManager):
    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        options = super().parse_hookimpl_opts(plugin, name)
        # A forgotten @hookimpl is the classic silent failure: an event's name is enough here.
        if options is None and name in EVENTS and callable(getattr(plugin, name)):
            return {}
        return options


def observer_name(observer: object) -> str:
    """How messages call an observer: its module's or class's name."""
    return getattr(observer, "__name__", type(observer).__name__)


def make_hooks(observers: Iterable[object] = ()) -> pluggy.HookRelay:
    """A pluggy hook relay for `observers` (objects or modules with event methods).

    An observer that raises is reported once, as a `PluginWarning`, and left out of the rest of the
    run. Raises `ScalingarError` for a method that names no event or takes unknown arguments.
    """
    manager = _Manager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for observer in observers:
        name = observer_name(observer)
        for attribute in dir(observer):
            if attribute.startswith("on_") and attribute not in EVENTS:
                raise ScalingarError(
                    f"Observer {name!r} has a method {attribute!r}, which is no event."
                    f"{did_you_mean(attribute, EVENTS)} Events: {', '.join(EVENTS)}."
                )
        try:
            manager.register(observer)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise ScalingarError(f"Observer {name!r} does not fit its hook: {error}") from error
    broken: set[int] = set()
    for event in EVENTS:
        for implementation in getattr(manager.hook, event).get_hookimpls():
            if not (implementation.wrapper or implementation.hookwrapper):
                implementation.function = _guard(
                    implementation.function, implementation.plugin, event, broken
                )
    return manager.hook


def _guard(
    function: Callable[..., Any], observer: object, event: str, broken: set[int]
) -> Callable[..., None]:
    def call(*args: Any) -> None:
        if id(observer) in broken:
            return
        try:
            function(*args)
        except Exception as error:
            broken.add(id(observer))
            warnings.warn(
                f"Observer {observer_name(observer)!r} failed in {event} and hears no more of "
                f"this run: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )

    return call
