"""What `module:attribute` may import where the name came from somebody's file, not from the user.

Python passes objects and paths as it likes: whoever writes `generate(strategy="mine:thing")` could
as well import it. On the command line a configuration or a store may be a stranger's, and a module
that it names is imported only if it belongs to a loaded plugin or was named by the user: as a
value of a flag, or with `--allow-import`. Workers of a sweep are told what their driver allows.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from scalingar_fw.errors import ScalingarError, shown

#: `package.module:attribute` as a whole word.
PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
#: Always allowed: the package that a configuration is written for.
OWN = frozenset({"scalingar_fw"})

#: Modules that the user named; None: everything is allowed (Python).
_named: set[str] | None = None


@contextlib.contextmanager
def only_named(modules: Iterable[str] = ()) -> Iterator[None]:
    """In the block, `check_module` refuses what is neither a plugin's nor named by the user.

    It holds for all threads of the process: those of executors import as well.
    """
    global _named
    before = _named
    _named = {*modules, *(before or ())}
    try:
        yield
    finally:
        _named = before


def restrict(modules: Iterable[str]) -> None:
    """`only_named` for the rest of this process's life: a worker's first call."""
    global _named
    _named = set(modules)


def allow(*modules: str) -> None:
    """The user named these; without a restriction there is nothing to add to."""
    if _named is not None:
        _named.update(modules)


def allowed() -> tuple[str, ...] | None:
    """What a worker of this process may import beside plugins; None: anything."""
    return None if _named is None else tuple(sorted(_named))


def modules_in(values: Iterable[Any]) -> set[str]:
    """The modules that words of a command line name: `m:x`, `--model=m:x`, `part.scorer=m:x`."""
    found = (PATH.fullmatch(str(v).rpartition("=")[2].strip()) for v in values)
    return {match[1] for match in found if match is not None}


def was_named(module: str) -> bool:
    """Whether the user named the module or a package around it."""
    return _named is not None and _inside(module, _named)


def check_module(module: str, path: str, what: str, plugins: Collection[str] = ()) -> None:
    """Refuse to import `module` for a name that came from a file.

    Args:
        module: to import; `path` names it.
        path: `module:attribute`, for the message.
        what: the key that holds the path, for the message.
        plugins: packages of the plugins that are loaded.

    Raises:
        ScalingarError: the module is no plugin's and the user did not name it.
    """
    if _named is None or _inside(module, (*OWN, *plugins, *_named)):
        return
    raise ScalingarError(
        f"{what}={shown(path)} comes from a file and would run code of the module {module!r}, "
        "which is no loaded plugin's and was not named on the command line: add "
        f"--allow-import {module} if you trust it."
    )


def check_walk(found: Any, owner: Any, name: str, path: str, what: str) -> None:
    """Refuse a step of `module:a.b` that leads out of the module: into another one that it happens
    to import, or into Python's own attributes."""
    if _named is None:
        return
    if isinstance(found, type(sys)) or name.startswith("__"):
        raise ScalingarError(
            f"{what}={shown(path)} comes from a file and leads out of its module at {name!r}: name "
            "the module that defines the object."
        )


def _inside(module: str, packages: Iterable[str]) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in packages)


@contextlib.contextmanager
def beside_the_user(module: str) -> Iterator[None]:
    """A module that the user named may be a file of the working directory, which is looked at last:
    a `json.py` that lies there takes nobody's place."""
    here = was_named(module) and "" not in sys.path
    if here:
        sys.path.append("")
    try:
        yield
    finally:
        if here and "" in sys.path:
            sys.path.remove("")


class ForeignExit(Exception):
    """A plugin raised what passes through `except Exception`; the text names it."""


def described(error: Exception) -> str:
    """`ValueError: why`, for a message about somebody else's code."""
    if isinstance(error, ForeignExit):
        return str(error)
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def foreign_code() -> Iterator[None]:
    """Run a plugin's top level: what it prints goes to stderr, and nothing that it raises is taken
    for the end of the process.

    Raises:
        ForeignExit: it raised `SystemExit`, `GeneratorExit`, a `KeyboardInterrupt` that nobody
            typed, or another exception that is no `Exception`.
    """
    pressed = threading.Event()
    with contextlib.redirect_stdout(sys.stderr), _noting_ctrl_c(pressed):
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and pressed.is_set():
                raise
            said = f": {error}" if str(error) else ""
            raise ForeignExit(f"{type(error).__name__}{said}") from error


@contextlib.contextmanager
def _noting_ctrl_c(pressed: threading.Event) -> Iterator[None]:
    """Python's own handler of SIGINT, noted; another handler (or another thread) is left alone."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pressed.set()  # nobody can tell: taken for the user's
        yield
        return

    def note(*_: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
