"""One cause, one message: where a failure came from, and which failures are only its echo."""

from __future__ import annotations

import inspect
import linecache
import re
import traceback
from pathlib import Path
from typing import Any

from attrs import define, field

import scalingar_fw
from scalingar_fw.errors import ContractError
from scalingar_fw.testing.catalogue import CAUSES, CONSEQUENCES, Broken, Check

_OWN = Path(scalingar_fw.__file__).parent


def crashed(error: BaseException) -> bool:
    """Whether this is no breach that somebody described, but an error in the component's code."""
    return not isinstance(error, (Broken, ContractError))


def place_of(error: BaseException, component: Any) -> str:
    """`file.py:12`: the line of the component's code at which an error arose, else its class."""
    if crashed(error):
        frames = traceback.extract_tb(error.__traceback__)
        mine = [f for f in frames if _is_users(f.filename)]
        if mine:
            last = mine[-1]
            line = linecache.getline(last.filename, last.lineno or 0).strip()
            return f"{_short(last.filename)}:{last.lineno}, in {last.name}: {line}"
    try:
        cls = type(component)
        return f"{_short(inspect.getsourcefile(cls) or '?')}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    if _OWN in path.parents or "site-packages" in path.parts:
        # Neutral parts and helpers of the core are innocent; what calls them is looked at.
        return False
    return path.is_file() and "lib" not in path.parts[-3:-1] and "hypothesis" not in path.parts


def _short(filename: str) -> str:
    """A path from here where that is shorter."""
    try:
        return str(Path(filename).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


@define
class Session:
    """What the checks of one component (and of its parts) have found so far.

    `plays`: its undisturbed runs (plays.py). `broken`: why it does not run at all, once that is
    known; `told`: whether anybody was told. `above`: sessions of the parts of a strategy.
    """

    plays: dict[Any, Any] = field(factory=dict, repr=False)
    broken: Any = None
    tried: bool = False
    told: bool = False
    failed: dict[str, str] = field(factory=dict)
    keys: dict[str, str] = field(factory=dict)
    above: list[Session] = field(factory=list, repr=False)

    def cause_of(self, check: Check, error: BaseException, said: str) -> str | None:
        """The id of an earlier failure whose echo this one is, or None."""
        key = _key(error, said)
        for session in (self, *self.above):
            if key in session.keys:
                return session.keys[key]
        if crashed(error) or check.name not in CONSEQUENCES:
            return None
        for session in (self, *self.above):
            for name, identity in session.failed.items():
                if name in CAUSES or check.name == "scale":
                    return identity
        return None

    def note(self, check: Check, identity: str, error: BaseException, said: str) -> None:
        """A failure that somebody was told."""
        self.failed.setdefault(check.name, identity)
        self.keys.setdefault(_key(error, said), identity)


def _key(error: BaseException, said: str) -> str:
    """Equal for failures of one cause: the same line of code, or the same sentence about others."""
    if crashed(error):
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
        if frames:
            return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
    return re.sub(r"-?\d+(\.\d+)?(e[-+]\d+)?", "#", said)


__all__ = ["Session", "crashed", "place_of"]
