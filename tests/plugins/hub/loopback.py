"""A hub on the loopback address that speaks what huggingface_hub asks: listings, heads, ranges.

Only the parts of the protocol that a fetch uses, from folders on disk; large files count as LFS
(listed with sha256), the others as git blobs. Faults are switched on by attributes.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import define, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@define
class Repository:
    """`folder`: its files. `commit`: what `main` is."""

    folder: Path
    commit: str = COMMIT
    licence: str | None = "mit"
    gated: bool = False

    def names(self) -> list[str]:
        found = (p for p in self.folder.rglob("*") if p.is_file())
        return sorted(p.relative_to(self.folder).as_posix() for p in found)


@define
class Hub:
    """What the server serves, the faults it has, and what it was asked."""

    repositories: dict[str, Repository] = field(factory=dict)
    url: str = ""
    #: A file's body ends after this many bytes, by name, as often as the second number says.
    cut: dict[str, tuple[int, int]] = field(factory=dict)
    #: A file's body is another one of the same length.
    corrupt: set[str] = field(factory=set)
    #: (method, path, Range header) of every request.
    requests: list[tuple[str, str, str | None]] = field(factory=list)

    def downloads(self) -> list[tuple[str, str | None]]:
        """Name and range of every file's body that was asked for."""
        return [
            (p.rpartition("/")[2], r)
            for m, p, r in self.requests
            if m == "GET" and "/resolve/" in p
        ]


def digest_of(data: bytes) -> tuple[str, bool]:
    """The listed digest, and whether the file is large (LFS)."""
    if len(data) > 4096:
        return hashlib.sha256(data).hexdigest(), True
    head = f"blob {len(data)}\0".encode()
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest(), False


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range")))
            parts = path.strip("/").split("/")
            listing = parts[:2] == ["api", "models"]
            if listing:
                parts = parts[2:]
            repository = hub.repositories.get("/".join(parts[:2]))
            if repository is None:
                return self.refuse(404 if listing else 401, "RepoNotFound")
            if listing:
                revision = parts[3] if parts[2:3] == ["revision"] else "main"
                if revision not in ("main", repository.commit):
                    return self.refuse(404, "RevisionNotFound")
                return self.list(repository)
            if repository.gated:
                return self.refuse(403, "GatedRepo")
            if parts[3] not in ("main", repository.commit):
                return self.refuse(404, "RevisionNotFound")
            name = "/".join(parts[4:])
            if name not in repository.names():
                return self.refuse(404, "EntryNotFound")
            return self.file(repository, name, body)

        def list(self, repository: Repository) -> None:
            siblings = []
            for name in repository.names():
                data = (repository.folder / name).read_bytes()
                digest, large = digest_of(data)
                entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
                if large:
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
                else:
                    entry["blobId"] = digest
                siblings.append(entry)
            card = {} if repository.licence is None else {"license": repository.licence}
            text = json.dumps(
                {
                    "id": "any",
                    "sha": repository.commit,
                    "siblings": siblings,
                    "gated": "manual" if repository.gated else False,
                    "cardData": card,
                    "tags": [],
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def file(self, repository: Repository, name: str, body: bool) -> None:
            data = (repository.folder / name).read_bytes()
            digest, _ = digest_of(data)
            if name in hub.corrupt:
                data = bytes(255 - b for b in data)
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("X-Repo-Commit", repository.commit)
            self.send_header("ETag", f'"{digest}"')
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if not body:
                return
            stop, times = hub.cut.get(name, (len(data), 0))
            if times and body and stop > start:
                hub.cut[name] = (stop, times - 1)
                self.wfile.write(data[start:stop])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(data[start:])

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of 127.0.0.1 while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
