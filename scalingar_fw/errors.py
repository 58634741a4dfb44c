"""Errors that a user can act on: one sentence with the name, the value, the rule and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScalingarError(ValueError):
    """Bad input. The command line prints the message alone and exits with code 2."""


class ContractError(RuntimeError):
    """A plugin or adapter broke its protocol; the message names it and what was expected."""


class PluginWarning(UserWarning):
    """A plugin failed and was skipped; the run goes on without it."""


class ResultWarning(UserWarning):
    """A run does what was asked, which may not be what was meant; the message says what to do."""


def shown(value: object, limit: int = 200) -> str:
    """A value for a message: its repr, cut where it would drown the sentence around it."""
    try:
        text = repr(value)
    except Exception:  # an integer beyond Python's limit of digits, or somebody's broken __repr__
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}..."


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest of `available`, or nothing where none is close."""
    close = difflib.get_close_matches(name, list(available), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_name(what: str, name: str, available: Iterable[str]) -> ScalingarError:
    """The error for a name that nothing is registered under."""
    names = sorted(available)
    listed = ", ".join(names) if names else "none"
    return ScalingarError(
        f"Unknown {what} {name!r}.{did_you_mean(name, names)} Available: {listed}."
    )
