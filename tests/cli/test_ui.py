"""`scalingar ui` at its door: whom it lets in, and what it says where it cannot start."""

from __future__ import annotations

import socket
import sys

import pytest

from scalingar_analysis.playground.server import is_loopback


@pytest.fixture
def ui(cli, monkeypatch):
    """`ui("--host", "0.0.0.0")`: the result; every plugin is loaded."""
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    # What it tells Gradio through the environment stays in the test.
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return lambda *words: cli("ui", "--no-browser", *words)


def refused(result, *says):
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    for text in says:
        assert text in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_address_that_others_reach_needs_a_password(ui, host):
    refused(ui("--host", host), f"--host {host}", "--password-file FILE", "ssh -L")


@pytest.mark.parametrize(
    "text", ["", "short\n", "   seven77  \n", "\nsecond line counts for nothing"]
)
def test_a_short_password_is_none(ui, tmp_path, text):
    (tmp_path / "p").write_text(text)
    refused(ui("--host", "0.0.0.0", "--password-file", "p"), "p holds a password of", "at least 8")


def test_a_port_that_is_taken_is_named(ui):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(ui("--port", port), f"--port {port}", "choose another --port")


def test_a_model_that_is_not_there_is_said_before_the_page_opens(ui):
    refused(ui("--model", "shapez", "--port", 0), "Did you mean 'shapes'?")


def test_without_the_extra_it_says_what_to_install(ui, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    refused(ui("--port", 0), "pip install 'scalingar-fw[ui]'")


def test_its_help_needs_no_extra(ui, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = ui("--help")
    assert result.exit_code == 0 and "--password-file" in result.stdout


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example.org", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_s_own_address_is_loopback(host, here):
    assert is_loopback(host) is here
