"""Every input that once failed: the command line answers it in one message, and does nothing else."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).with_name("corpus")


@pytest.fixture
def here(cli: Any, tmp_path: Path) -> Path:
    """The corpus in the working directory: some inputs are about what lies beside them."""
    shutil.copytree(CORPUS, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(result: Any) -> str:
    """The one message of a command that was refused."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and len(errors[0]) < 1000, result.stderr[:2000]
    return errors[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hub_model", ["model='torch.hub:load'", "--allow-import torch.hub"]),
        ("exit_strategy", ["strategy='builtins:exit'", "--allow-import builtins"]),
    ],
)
def test_a_configuration_that_would_run_code_is_refused(
    cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: list[str]
) -> None:
    monkeypatch.chdir(here / "configurations")
    message = refused(cli("generate", "--config", f"{name}.yaml", "--out", "out"))
    assert all(word in message for word in said), message
    assert not list(here.rglob("EXECUTED"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alias_bomb", ["alias_bomb.yaml, line 8", "more than 200000 values"]),
        ("bad_int", ["bad_int.yaml, line 2: seed: 'x' is no int"]),
        ("date_seed", ["date_seed.yaml, line 2: seed: '2026-13-01' is no timestamp"]),
        ("deep", ["deep.yaml, line 1", "nested more than 64 deep"]),
        ("empty_key", ["empty_key.yaml: set", "'' is no name"]),
        ("long_int", ["seed=9999", "..."]),
        ("self_anchor", ["self_anchor.yaml, line 2: *s refers to what it is a part of"]),
    ],
)
def test_a_configuration_that_would_grow_or_break_is_refused_at_once(
    cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: list[str]
) -> None:
    monkeypatch.chdir(here / "configurations")
    begun = time.process_time()
    message = refused(cli("generate", "--config", f"{name}.yaml", "--out", "out"))
    assert all(word in message for word in said), message
    assert len(message) < 400
    assert time.process_time() - begun < 15
    assert not (here / "configurations" / "out").exists()


def test_code_beside_the_user_runs_when_the_user_says_so(
    cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "beside_me.py").write_text(
        "from scalingar_fw import Strategy\nmine = Strategy('mine', default_n=1)\n"
    )
    (here / "mine.yaml").write_text("prompt: a circle\nstrategy: beside_me:mine\n")
    words = ("generate", "--config", "mine.yaml", "--out")
    assert "--allow-import beside_me" in refused(cli(*words, "one"))
    result = cli(*words, "two", "--allow-import", "beside_me")
    assert result.exit_code == 0, result.stderr
    typed = cli("generate", "a circle", "--strategy", "beside_me:mine", "--out", "three")
    assert typed.exit_code == 0, typed.stderr
    assert "no module" in cli("generate", "a", "--allow-import", "../x").stderr


def test_a_store_that_somebody_sent_runs_nothing_when_it_is_gone_on_with(
    cli: Any, here: Path
) -> None:
    store = here / "store"
    store.mkdir()
    (store / "store.json").write_text('{"format": "scalingar-store", "schema": 1}')
    (store / "sweep.yaml").write_text("strategies: ['builtins:exit']\nlimit: 1\nn: [1]\n")
    assert "strategy='builtins:exit'" in refused(cli("bench", "--out", "store"))
    scorer = "{strategy: best-of-n, set: {selector.reward: image}}"
    (store / "sweep.yaml").write_text(
        f"strategies: [{scorer}]\nset: {{selector.reward.scorer: 'os:system'}}\nlimit: 1\nn: [1]\n"
    )
    result = cli("bench", "--out", "store", "--executor", "inline")
    assert result.exit_code in (1, 2)
    assert "--allow-import os" in result.output + result.stderr


def test_a_plugin_that_prints_leaves_json_valid(cli: Any, here: Path) -> None:
    result = cli("list", "strategies", "--json", "--plugin", "plugins/noisy_import.py")
    assert json.loads(result.stdout)
    assert "hello from a plugin" in result.stderr


def test_a_plugin_file_with_nothing_but_an_observer_is_loaded(cli: Any, here: Path) -> None:
    words = ("--strategy", "base", "--out", "out", "--plugin", "plugins/observer_only.py")
    result = cli("generate", "a circle", *words)
    assert result.exit_code == 0, result.stderr
    assert "skipped" not in result.stderr
