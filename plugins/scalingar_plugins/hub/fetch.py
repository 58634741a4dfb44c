"""Fetch a model's weights into the hub's own cache: resumed, checked by digest, never executed.

huggingface_hub names files, follows redirects and draws the bar, and its cache is where they end
up. Two things are ours: since its downloads of one process are not continued by the next, the part
that has arrived lies beside the cache's blobs under the file's own digest; and nothing is put in
place before it hashes to what the hub listed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from scalingar_fw.errors import ScalingarError
from scalingar_fw.files import REPOSITORY
from scalingar_plugins.hub.listing import (
    Listing,
    RemoteFile,
    endpoint,
    explained,
    is_offline,
    list_remote,
    need_hub,
    offline,
)
from scalingar_plugins.hub.receipts import MAIN, Receipt, find, keep
from scalingar_plugins.hub.sources import FOLDER, SOURCES, Source


def _tell(line: str) -> None:
    click.echo(line, err=True)


def show_size(count: int) -> str:
    """Bytes as the hub's pages show them: decimal units, 4.15 GB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 100 else f"{value:.0f} {units[0]}"


def parse_reference(text: str) -> tuple[str, str | None]:
    """`org/name@revision` as its two halves; the revision is None where none is named."""
    found = REPOSITORY.fullmatch(text)
    if found is None:
        raise ScalingarError(
            f"{text!r} is neither a file or folder here nor a repository (organisation/name or "
            "organisation/name@revision)."
        )
    return found[1], found[2]


def folder_for(name: str, weights: Path | str | None, tell: Callable[[str], None] = _tell) -> Path:
    """The local folder (or file) of a model's weights, fetched where it is not here.

    Args:
        name: the model's registered name.
        weights: a path, `org/name[@revision]`, or None for the model's own repository.
        tell: receives the line about size and licence before a fetch.

    Raises:
        ScalingarError: neither here nor to be had.
    """
    own = SOURCES.get(name)
    if weights is not None and Path(weights).exists():
        return Path(weights)
    if weights is not None:
        repository, revision = parse_reference(str(weights))
        own = (own or Source(repository, FOLDER, ("config.json",), "")).at(repository, revision)
    if own is None:
        raise ScalingarError(
            f"Model {name!r} has no repository of its own: --weights DIR or --weights org/name. "
            f"See `scalingar models info {name}`."
        )
    return fetch(own, tell).folder


def in_cache(folder: Path) -> bool:
    """Whether a folder lies in the hub's cache; False where huggingface_hub is not installed."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return False
    return Path(constants.HF_HUB_CACHE).resolve() in folder.resolve().parents


def fetch(source: Source, tell: Callable[[str], None] = _tell) -> Receipt:
    """The files of `source` on this machine; what is here already is neither asked for nor read.

    Raises:
        ScalingarError: offline, unreachable, gated, unknown, no room, or another content than
            listed; what has arrived stays and is continued by the next try.
    """
    here = find(source)
    if here is not None:
        return here
    if is_offline():
        raise offline(source)
    listing = list_remote(source)
    wanted = source.wanted(listing.names)
    lacking = source.lacking(wanted)
    if lacking:
        raise ScalingarError(
            f"{source.repository!r} has no file {' or '.join(lacking)}: it is not what this model "
            f"reads. It holds: {', '.join(listing.names[:12]) or 'nothing'}."
        )
    files = [file for file in listing.files if file.name in wanted]
    for file in files:
        _as_stated(source, file)
    cache = Path(need_hub().constants.HF_HUB_CACHE)
    missing = [f for f in files if not _complete(cache, source, f).is_file()]
    size = sum(f.size or 0 for f in missing)
    if missing:
        unpinned = "" if source.revision else ", of main"
        tell(
            f"Fetching {len(missing)} files, {show_size(size)}, of {source.repository} at commit "
            f"{listing.commit[:12]}{unpinned}; licence: {_licence(source, listing)}."
        )
        _need_room(cache, source, missing)
    folder = None
    for file in files:
        folder = _fetch_file(cache, source, listing, file)
    assert folder is not None  # required patterns matched at least one file
    receipt = Receipt(
        repository=source.repository,
        commit=listing.commit,
        asked=(source.revision or MAIN,),
        licence=_licence(source, listing),
        folder=folder,
        sizes={f.name: (folder / f.name).stat().st_size for f in files},
        digests={f.name: f"sha256:{f.sha256}" if f.sha256 else f"git:{f.git}" for f in files},
    )
    keep(receipt)
    return receipt


def _licence(source: Source, listing: Listing) -> str:
    listed = listing.licence
    if listed is None or source.licence.lower() == listed.lower():
        return source.licence
    return f"{source.licence} (the repository's tag: {listed})" if source.licence else listed


def _as_stated(source: Source, file: RemoteFile) -> None:
    """Our table's size and digest bind: a repository whose history was rewritten is refused."""
    for what, stated, listed in (
        ("size", source.bytes.get(file.name), file.size),
        ("sha256", source.sha256.get(file.name), file.sha256),
    ):
        if stated is not None and listed is not None and stated != listed:
            raise ScalingarError(
                f"{source.repository!r}: the hub lists {file.name!r} with {what} {listed}, but "
                f"{stated} is expected. Nothing was fetched. If you trust the repository as it is, "
                f"name it: --weights {source.repository}@{source.revision or MAIN}."
            )


def _need_room(cache: Path, source: Source, missing: Sequence[RemoteFile]) -> None:
    still = sum((f.size or 0) - _arrived(_partial(cache, source, f)) for f in missing)
    place = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if still > free:
        raise ScalingarError(
            f"{source.repository!r} needs {show_size(still)} more, and the disk of {cache} has "
            f"{show_size(free)} free: make room, or set $HF_HUB_CACHE to another disk."
        )


def _blobs(cache: Path, source: Source) -> Path:
    return cache / f"models--{source.repository.replace('/', '--')}" / "blobs"


def _complete(cache: Path, source: Source, file: RemoteFile) -> Path:
    """Where the hub's cache keeps a file: under its digest."""
    return _blobs(cache, source) / (file.sha256 or file.git or "unlisted")


def _partial(cache: Path, source: Source, file: RemoteFile) -> Path:
    whole = _complete(cache, source, file)
    return whole.with_name(f"{whole.name}.scalingar-partial")


def _arrived(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fetch_file(cache: Path, source: Source, listing: Listing, file: RemoteFile) -> Path:
    """One file into the cache; returns the snapshot's folder."""
    hub = need_hub()
    with explained(source):
        if not _complete(cache, source, file).is_file():
            _download(hub, cache, source, listing, file)
        # The blob is there: this only gives it its name in the snapshot.
        pointer = hub.hf_hub_download(
            source.repository,
            file.name,
            revision=listing.commit,
            cache_dir=cache,
            endpoint=endpoint(),
        )
    depth = len(Path(file.name).parts)
    return Path(pointer).parents[depth - 1]


def _download(hub: Any, cache: Path, source: Source, listing: Listing, file: RemoteFile) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url = hub.hf_hub_url(source.repository, file.name, revision=listing.commit, endpoint=endpoint())
    found = hub.get_hf_file_metadata(url, endpoint=endpoint())
    headers = build_hf_headers()
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is the hub's, not the file server's
    whole, part = _complete(cache, source, file), _partial(cache, source, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(part.with_suffix(".scalingar-lock")):
        if whole.is_file():  # another process was faster
            return
        if file.size is not None and _arrived(part) > file.size:
            part.unlink()
        with part.open("ab") as stream:
            http_get(
                found.location,
                stream,
                resume_size=stream.tell(),
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.name,
            )
        if not matches(part, file):
            part.unlink()
            raise ScalingarError(
                f"{file.name!r} of {source.repository!r} arrived with another content than the hub "
                "lists (its digest differs) and was discarded: run the command again; if it "
                "happens again, a proxy or mirror is changing files."
            )
        part.replace(whole)


def matches(path: Path, file: RemoteFile) -> bool:
    """Whether a file's content hashes to what the hub lists (True where it lists nothing)."""
    if file.sha256 is None and file.git is None:
        return True
    digest = hashlib.sha256() if file.sha256 is not None else hashlib.sha1(usedforsecurity=False)
    if file.sha256 is None:
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == (file.sha256 or file.git)
