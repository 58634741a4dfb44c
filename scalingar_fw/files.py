"""Folders that are written whole or not at all, names that are safe in paths, and hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import read_record

#: A folder that holds one of these was written by us; its "files" entry lists what is ours.
MARKERS = ("run.json", "manifest.json")
#: `organisation/name` or `organisation/name@revision`: weights on a hub, by name.
REPOSITORY = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?")


def slug(text: str, limit: int = 40) -> str:
    """`text` as a part of a path: lower-case ASCII words joined by `-`; "prompt" if none is left.

    Different texts may share a slug: pair it with an index or a hash.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_text.lower())
    short = "-".join(words)[: limit + 1]
    if len(short) > limit:  # cut at a word's end
        short = short.rsplit("-", 1)[0] if "-" in short else short[:limit]
    return short or "prompt"


def absolute_weights(weights: str | Path) -> str:
    """A path as it is from anywhere; a repository's name, where there is no such path, as it is."""
    named = not Path(weights).exists() and REPOSITORY.fullmatch(str(weights))
    return str(weights) if named else str(Path(weights).resolve())


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as handle:
        digest = hashlib.sha256()
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Indented JSON with a final newline; the same data gives the same bytes."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def check_target(target: Path, overwrite: bool = False) -> None:
    """Refuse a target that is no folder, or that holds something (without `overwrite`)."""
    if target.exists() and not target.is_dir():
        raise ScalingarError(f"{target} exists and is not a folder: choose another --out.")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise ScalingarError(
            f"{target} exists and is not empty: choose another --out, or add --overwrite."
        )


@contextlib.contextmanager
def new_folder(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling of `target` to write into; it becomes `target` when the block ends well.

    It is made at once, so a place that cannot be written fails before any work. Whatever happens
    in the block (Ctrl-C, a full disk), `target` is then as it was and the sibling is gone; one of a
    process that was killed goes when somebody writes there again.
    """
    target = target.resolve()
    check_target(target, overwrite)
    _sweep_up(target)
    made = [p for p in target.parents if not p.exists()]
    sibling = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    held: int | None = None
    try:
        try:
            sibling.mkdir(parents=True)
        except OSError as error:
            raise ScalingarError(
                f"{target.parent} cannot be written ({error.strerror}): choose another --out."
            ) from error
        held = _hold(sibling)
        yield sibling
        check_target(target, overwrite)  # somebody may have come in between
        if target.exists() and any(target.iterdir()):
            _move_over(sibling, target)
        else:
            if target.exists():
                target.rmdir()
            sibling.rename(target)
    except BaseException:
        shutil.rmtree(sibling, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: somebody else's by now
                parent.rmdir()
        raise
    finally:
        if held is not None:
            os.close(held)


def _hold(folder: Path) -> int | None:
    """A lock on `folder` that lasts until it is closed, or its process is gone; None where the
    system has none of the kind, and then nobody sweeps either."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep_up(target: Path) -> None:
    """Remove half-written siblings of `target` whose writers were killed."""
    half = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.partial")
    try:
        left = [p for p in target.parent.iterdir() if half.fullmatch(p.name)]
    except OSError:
        return
    for folder in left:
        if folder.is_dir() and not folder.is_symlink() and (held := _hold(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


class _Listing(TypedDict):
    files: list[str]


def _ours(folder: Path) -> set[str]:
    """Names in `folder` that an earlier run wrote there; anything else belongs to the user."""
    for marker in MARKERS:
        try:
            return {marker, *read_record(folder / marker, _Listing)["files"]}
        except ScalingarError:
            continue
    return set()


def _move_over(source: Path, target: Path) -> None:
    """Put `source`'s entries in place of an earlier run's; keep what is not ours.

    Renames only, so a full disk cannot stop it half-way; undone if it is interrupted.
    """
    names = [p.name for p in source.iterdir()]
    replaced = sorted(({*names} | _ours(target)) & {p.name for p in target.iterdir()})
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.replaced")
    aside.mkdir()
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in (
            *((target / n, aside / n) for n in replaced),
            *((source / n, target / n) for n in names),
        ):
            done.append((old, new))
            old.rename(new)
    except BaseException:
        for old, new in reversed(done):
            if new.exists() and not old.exists():
                new.rename(old)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
    source.rmdir()
