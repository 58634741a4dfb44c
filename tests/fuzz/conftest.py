"""The command line as the other tests call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """`cli("list", "models")`: the result, from an empty working directory, without plots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies")
    monkeypatch.delenv("SCALINGAR_PLUGINS", raising=False)
    import inspect

    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)  # type: ignore[arg-type]

    def call(*arguments: object) -> Any:
        return runner.invoke(main, [str(a) for a in arguments], prog_name="scalingar")

    return call
