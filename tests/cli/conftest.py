"""How the tests call the command line: in this process, with a toy model from a plugin file."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main

TOY = Path(__file__).with_name("toy_plugin.py")


@pytest.fixture(scope="session")
def toy_plugin() -> Path:
    """The plugin file with the model `toy` and the strategy `toy-prune`."""
    return TOY


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """`cli("list", "models")`: the result, from an empty working directory, without plots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies")
    monkeypatch.delenv("SCALINGAR_PLUGINS", raising=False)
    # Up to click 8.1 the streams are mixed unless told not to be.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)

    def call(*arguments: object):
        return runner.invoke(main, [str(a) for a in arguments], prog_name="scalingar")

    return call


@pytest.fixture
def toy(cli):
    """`toy("a circle", "-n", 3)`: `generate` with the toy model and strategy."""

    def call(*arguments: object, strategy: str | None = "toy-prune"):
        named = () if strategy is None else ("--strategy", strategy)
        return cli("generate", "--plugin", TOY, "--model", "toy", *named, *arguments)

    return call
