"""What was fetched: one small JSON file for each repository and commit.

The hub's cache holds the files but does not say which of a repository's files a model needed, nor
what they should hash to. A receipt does, so that a start with complete weights asks nobody.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from attrs import evolve, field, frozen

from scalingar_fw.errors import ScalingarError
from scalingar_fw.files import write_json
from scalingar_fw.reading import read_record
from scalingar_plugins.hub.listing import need_hub
from scalingar_plugins.hub.sources import Source

MAIN = "main"


@frozen
class Receipt:
    """A fetched part of a repository.

    Args:
        repository: `organisation/name`.
        commit: 40 hexadecimal digits.
        asked: the revisions that led here (`main` where none was named), newest last.
        licence: as the source states it.
        folder: the snapshot in the hub's cache.
        sizes: bytes by file name.
        digests: `sha256:...` or `git:...` by file name, as the hub listed them.
    """

    repository: str
    commit: str
    asked: tuple[str, ...]
    licence: str
    folder: Path
    sizes: Mapping[str, int] = field(factory=dict)
    digests: Mapping[str, str] = field(factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())

    def absent(self) -> list[str]:
        """Files that are gone or of another size than when they were fetched."""
        return [name for name, size in self.sizes.items() if _size(self.folder / name) != size]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


class _Stored(TypedDict):
    """A receipt on disk."""

    repository: str
    commit: str
    asked: list[str]
    licence: str
    folder: str
    sizes: dict[str, int]
    digests: dict[str, str]


def receipts_folder() -> Path:
    """`$XDG_CACHE_HOME/scalingar/weights`, or `~/.cache/scalingar/weights`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "scalingar" / "weights"


def _path(repository: str, commit: str) -> Path:
    return receipts_folder() / f"{repository.replace('/', '--')}@{commit}.json"


def all_receipts() -> Iterator[Receipt]:
    """Every readable receipt, sorted by repository; an unreadable one counts as none."""
    for path in sorted(receipts_folder().glob("*@*.json")):
        try:
            raw = read_record(path, _Stored)
            yield Receipt(
                repository=raw["repository"],
                commit=raw["commit"],
                asked=tuple(raw["asked"]),
                licence=raw["licence"],
                folder=Path(raw["folder"]),
                sizes=raw["sizes"],
                digests=raw["digests"],
            )
        except ScalingarError:
            continue


def find(source: Source) -> Receipt | None:
    """The receipt whose files are all that `source` needs, on this machine and of their size."""
    asked = source.revision or MAIN
    cache = Path(need_hub().constants.HF_HUB_CACHE)
    for receipt in all_receipts():
        if receipt.repository != source.repository or cache not in receipt.folder.parents:
            continue
        if asked not in (*receipt.asked, receipt.commit):
            continue
        if not source.lacking(list(receipt.sizes)) and not receipt.absent():
            return receipt
    return None


def keep(receipt: Receipt) -> None:
    """Write a receipt; files of an earlier one for the same commit stay on it."""
    for before in all_receipts():
        same = (before.repository, before.commit) == (receipt.repository, receipt.commit)
        if before.folder == receipt.folder and same:
            receipt = evolve(
                receipt,
                asked=tuple(dict.fromkeys((*before.asked, *receipt.asked))),
                sizes={**before.sizes, **receipt.sizes},
                digests={**before.digests, **receipt.digests},
            )
        elif before.repository == receipt.repository and set(before.asked) & set(receipt.asked):
            # A name such as `main` leads to one commit: the one that was fetched last.
            rest = tuple(a for a in before.asked if a not in receipt.asked)
            _write(evolve(before, asked=rest))
    _write(receipt)


def _write(receipt: Receipt) -> None:
    path = _path(receipt.repository, receipt.commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_json(
        partial,
        {
            "repository": receipt.repository,
            "commit": receipt.commit,
            "asked": list(receipt.asked),
            "licence": receipt.licence,
            "folder": str(receipt.folder),
            "sizes": dict(receipt.sizes),
            "digests": dict(receipt.digests),
        },
    )
    partial.replace(path)
