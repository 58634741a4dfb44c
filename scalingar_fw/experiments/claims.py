"""Who is at work on which unit, so that workers and drivers on one store share what is to do.

Claims save work and decide nothing: a unit that two workers do all the same is renamed in once.
So a claim that cannot be judged may be wrong without harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.documents import ClaimFile
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.reading import read_record

#: A claim is touched this often while its unit is being done, ...
BEAT_SECONDS = 10.0
#: ... and one that was not touched for this long is nobody's, whatever host it came from.
STALE_SECONDS = 300.0


def _started(pid: int) -> str | None:
    """When a process of this machine began (in the kernel's ticks), so that a later one with the
    same number is not taken for it; None where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _alive(pid: int, started: str | None) -> bool:
    if os.name == "nt":  # os.kill would end it there; the beat decides
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return started is None or _started(pid) in (None, started)


def _now(folder: Path) -> float:
    """The time by the clock that stamps this folder's files: a file server's may differ."""
    probe = folder / f".{secrets.token_hex(4)}.now"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def is_held(layout: Layout, key: str) -> bool:
    """Whether somebody who lives is at work on the unit."""
    path = layout.claims / f"{key}.json"
    try:
        touched = path.lstat().st_mtime
        # A stamp from the future is no fresher than one as far in the past.
        age = abs(_now(layout.claims) - touched)
        holder = read_record(path, ClaimFile)
    except OSError:
        return False
    except ScalingarError:  # half a claim: its writer was killed
        return age < BEAT_SECONDS
    if holder["host"] == socket.gethostname() and not _alive(holder["pid"], holder["started"]):
        return False
    return age < STALE_SECONDS


@contextlib.contextmanager
def claimed(layout: Layout, key: str) -> Iterator[bool]:
    """Claim a unit for the block; False where somebody else holds it."""
    path = layout.claims / f"{key}.json"
    if not _take(layout, key, path):
        yield False
        return
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)  # not touch(): what was taken away is not made again

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        done.set()
        thread.join()
        path.unlink(missing_ok=True)


def _take(layout: Layout, key: str, path: Path) -> bool:
    layout.check_here()
    layout.claims.mkdir(exist_ok=True)
    for _ in range(2):
        try:
            with path.open("x", encoding="utf-8") as handle:
                json.dump(_me(), handle)
            return True
        except FileExistsError:
            if is_held(layout, key):
                return False
            # Whoever renames it has it out of the way; a second one finds nothing.
            aside = path.with_name(f".{key}.{secrets.token_hex(4)}.stale")
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside)
                aside.unlink(missing_ok=True)
    return False


def sweep_up(layout: Layout) -> int:
    """Remove what killed workers left half-written; how many folders."""
    layout.check_here()
    left = [p for p in layout.partial.glob("*") if not is_held(layout, p.name.split(".")[0])]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    for claim in layout.claims.glob("*.json"):
        if not is_held(layout, claim.stem):
            claim.unlink(missing_ok=True)
    for folder in (layout.root, layout.labels, layout.receipts, layout.scores, layout.exports):
        for file in folder.glob(".*.partial"):
            with contextlib.suppress(OSError):
                if abs(_now(layout.root) - file.lstat().st_mtime) > STALE_SECONDS:
                    file.unlink(missing_ok=True)
    return len(left)
