"""What the hub says about a repository, and its refusals in words that name the way out."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.hub.sources import Source

#: Packages whose exceptions mean that nobody answered; which one depends on the hub's version.
_TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def need_hub() -> Any:
    """The huggingface_hub package, or a `ScalingarError` that says how to get it."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ScalingarError(
            "Weights are fetched through huggingface_hub: pip install 'scalingar-fw[hub]', or "
            "download the files yourself and name their folder with --weights DIR."
        ) from error
    return huggingface_hub


def endpoint() -> str:
    """The hub's address: `$HF_ENDPOINT`, or the public one."""
    return str(need_hub().constants.ENDPOINT)


def is_offline() -> bool:
    """Whether `$HF_HUB_OFFLINE` forbids asking."""
    return bool(need_hub().constants.HF_HUB_OFFLINE)


@frozen
class RemoteFile:
    """A file as the hub lists it.

    `sha256` is listed for large files, `git` (git's own digest of a blob) for small ones.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    git: str | None = None


@frozen
class Listing:
    """A repository at one commit; `licence` is its card's tag, None without one."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str | None = None
    gated: bool = False

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]


def list_remote(source: Source) -> Listing:
    """Ask the hub what a repository holds at the source's revision (`main` where None).

    Raises:
        ScalingarError: offline, unreachable, unknown, or gated; each with what to do.
    """
    hub = need_hub()
    with explained(source):
        info = hub.HfApi(endpoint=endpoint()).model_info(
            source.repository, revision=source.revision, files_metadata=True
        )
    files = []
    for sibling in info.siblings or ():
        lfs = sibling.lfs
        files.append(
            RemoteFile(
                sibling.rfilename,
                sibling.size,
                sha256=None if lfs is None else str(lfs.sha256),
                git=sibling.blob_id if lfs is None else None,
            )
        )
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
        raise ScalingarError(
            f"{endpoint()} named no commit for {source.repository!r}: is $HF_ENDPOINT a hub?"
        )
    card = info.card_data
    licence = None if card is None else card.get("license")
    return Listing(
        source.repository,
        str(info.sha),
        tuple(sorted(files, key=lambda f: f.name)),
        licence=None if licence is None else str(licence),
        gated=bool(info.gated),
    )


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """The hub's exceptions as one message each: what happened, and the way out."""
    hub = need_hub()
    errors, named = hub.errors, repr(source.repository)
    page = f"{endpoint()}/{source.repository}"
    by_hand = "or download its files yourself and name their folder with --weights DIR"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise offline(source) from error
    except errors.GatedRepoError as error:
        raise ScalingarError(
            f"{named} is gated: its authors want their terms accepted first. Open {page} in a "
            "browser, accept them, then log in here with `hf auth login` (or set $HF_TOKEN) and "
            "run the command again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ScalingarError(
            f"{named} has no revision {source.revision!r}: look at {page}/commits/main, and name "
            f"another with --weights {source.repository}@REVISION."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ScalingarError(
            f"{endpoint()} has no repository {named}, or it is private (and there is no local "
            "file or folder of that name). Check the spelling; for a private one log in with "
            f"`hf auth login` or set $HF_TOKEN; {by_hand}."
        ) from error
    except errors.EntryNotFoundError as error:
        raise ScalingarError(
            f"{named} lists a file that it then does not have: try again, {by_hand}."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise ScalingarError(
            f"{endpoint()} answered {status} for {named}: try again later, {by_hand}."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ScalingarError(
                f"The disk of {hub.constants.HF_HUB_CACHE} is full. What has arrived of {named} is "
                "kept: make room, or set $HF_HUB_CACHE to another disk, and run the command again."
            ) from error
        raise ScalingarError(
            f"{named} did not arrive whole ({_first_line(error)}). What has arrived is kept: run "
            "the command again and it goes on from there."
        ) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _TRANSPORT:
            raise
        raise ScalingarError(
            f"{endpoint()} could not be reached for {named} ({_first_line(error)}). Check the "
            "network and $HF_ENDPOINT; what has arrived is kept and the next try goes on from "
            f"there; {by_hand}."
        ) from error


def offline(source: Source) -> ScalingarError:
    """What to say where a fetch is needed and forbidden."""
    return ScalingarError(
        f"The weights of {source.repository!r} are not on this machine, and $HF_HUB_OFFLINE "
        "forbids fetching them: unset it, or fetch them elsewhere and name their folder with "
        "--weights DIR (or share the cache with $HF_HUB_CACHE)."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
