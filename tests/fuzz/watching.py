"""Where a process writes: heard through Python's audit events, and refused on demand.

Arrow writes files from C++, where nobody hears it: it is given folders that Python made before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Events that change files: which of their arguments are paths, and which is a folder's number.
_CHANGES: dict[str, tuple[tuple[int, ...], int | None]] = {
    "os.mkdir": ((0,), 2),
    "os.remove": ((0,), 1),
    "os.rmdir": ((0,), 1),
    "os.rename": ((0, 1), 2),
    "os.link": ((0, 1), 2),
    "os.symlink": ((1,), 2),
    "os.truncate": ((0,), None),
    "os.utime": ((0,), 3),
    "os.chmod": ((0,), 2),
    "os.chown": ((0,), 3),
}
_listeners: list[Any] = []


def _changed(event: str, arguments: tuple[Any, ...]) -> list[Path]:
    if event == "open":
        path, _, flags = arguments
        paths = [path] if isinstance(flags, int) and flags & _WRITING else []
        base = None
    elif event in _CHANGES:
        places, number = _CHANGES[event]
        paths = [arguments[i] for i in places]
        base = None if number is None else arguments[number]
    else:
        return []
    out = []
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            text = os.fsdecode(path)
            if isinstance(base, int) and base >= 0 and not os.path.isabs(text):
                with contextlib.suppress(OSError):
                    text = os.path.join(os.readlink(f"/proc/self/fd/{base}"), text)
            out.append(Path(os.path.abspath(text)))
    return out


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _listeners:
        for path in _changed(event, arguments):
            for listener in list(_listeners):
                listener(event, path)


_hooked = False


@contextlib.contextmanager
def listening(listener: Any) -> Iterator[None]:
    """In the block, `listener(event, path)` hears of every change of a file; what it raises is what
    the change raises."""
    global _hooked
    if not _hooked:  # a hook cannot be taken away
        sys.addaudithook(_hear)
        _hooked = True
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def inside(path: Path, *folders: Path) -> bool:
    return any(folder == path or folder in path.parents for folder in folders)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """In the block, `folder` is on a disk that cannot be written."""
    folder = folder.resolve()

    def refuse(event: str, path: Path) -> None:
        if inside(path, folder) and not (event == "os.mkdir" and path.exists()):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with listening(refuse):
        yield


@contextlib.contextmanager
def written_outside(*folders: Path) -> Iterator[list[Path]]:
    """What was written in the block outside of the folders."""
    folders = tuple(folder.resolve() for folder in folders)
    found: list[Path] = []

    def note(_: str, path: Path) -> None:
        if not inside(path, *folders) and path != Path(os.devnull):
            found.append(path)

    with listening(note):
        yield found
