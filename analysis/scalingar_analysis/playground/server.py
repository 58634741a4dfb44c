"""Who may ask for the page, and what the page may ask for.

By default the page answers on the loopback address alone, and only under that name, so that no
other page in the same browser can reach it by pointing a name of its own here. Beyond the loopback
address it wants a password. What it serves forbids browsers to load anything from anybody else.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalingar_analysis.playground.page import build, import_gradio, style, theme
from scalingar_analysis.playground.session import Session
from scalingar_fw import ScalingarError
from scalingar_fw.reading import read_text

#: Everything is served by this process. Gradio's own pages run inline scripts and compile templates.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# Gradio applies style sheets to what is inside its frame; this one is about the frame.
_FRAME = (
    "<style>@media (max-width: 720px) { .main.fillable { padding: 0.75rem !important; } }</style>"
)
_GONE = (
    "<!doctype html><meta charset=utf-8><title>No report</title><p>This report is gone: the "
    "playground keeps those of the last few runs until it ends. Generate again."
)
# Plots share matplotlib's settings, so two reports are not drawn at once.
_drawing = threading.Lock()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, password: str | None) -> None:
    """Refuse to be open to a network without a password.

    Raises:
        ScalingarError: `host` is not the loopback address and there is no password.
    """
    if password is None and not is_loopback(host):
        raise ScalingarError(
            f"--host {host} lets other machines in, and whoever reaches the page can use this one: "
            "give --password-file FILE, or leave --host out and forward the port "
            "(ssh -L 7860:127.0.0.1:7860 THIS-MACHINE)."
        )


def read_password(file: Path | None) -> str | None:
    """The password in a file's first line.

    Raises:
        ScalingarError: it is shorter than 8 characters.
    """
    if file is None:
        return None
    password = (read_text(file).splitlines() or [""])[0].strip()
    if len(password) < 8:
        raise ScalingarError(
            f"{file} holds a password of {len(password)} characters on its first line: write at "
            "least 8."
        )
    return password


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        ScalingarError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ScalingarError(
            f"--host {host} --port {port} cannot be listened on ({error.strerror or error}): "
            "choose another --port, or 0 for any free one."
        ) from error
    return found


def make_app(session: Session, host: str, password: str | None) -> Any:
    """The web application: the page at `/`, reports at `/report/KEY`."""
    gr = import_gradio()
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def report(key: str) -> Any:
        text = report_of(session, key)
        return HTMLResponse(_GONE, 404) if text is None else HTMLResponse(text)

    # A key is 96 random bits that only the page which made the run was told: no login of its own.
    app.add_api_route("/report/{key}", report)
    app.add_middleware(OnlyFromHere)
    if is_loopback(host):
        names = ["localhost", "127.0.0.1", "[::1]", "::1", host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    blocks = build(session)
    blocks.queue(default_concurrency_limit=1, max_size=16, api_open=False)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="",
        auth=None if password is None else _checks(password),
        auth_message="Any name, and the password that this playground was started with.",
        show_error=True,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        max_file_size="1kb",
        enable_monitoring=False,
        mcp_server=False,
        theme=theme(),
        css=style(),
        head=_FRAME,
    )


def _checks(password: str) -> Callable[[str, str], bool]:
    def known(_: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), password.encode())

    return known


def report_of(session: Session, key: str) -> str | None:
    """The report of the runs that were kept under a key; None where there are none."""
    from scalingar_analysis.report.page import page
    from scalingar_analysis.runs.run import as_run

    runs = session.runs(key)
    if runs is None:
        return None
    with _drawing:
        return page(as_run(list(runs)))


class OnlyFromHere:
    """Adds to every answer what browsers may load for it: nothing of anybody else."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def serve(app: Any, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until Ctrl-C; `ready` is called once the page can be asked for."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]  # an extra, of unknown type
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    Server(config).run(sockets=[listening])


__all__ = [
    "check_address",
    "is_loopback",
    "listen",
    "make_app",
    "read_password",
    "report_of",
    "serve",
]
