"""Help that can be read, completion of names and settings, and where a sweep goes by default."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scalingar_fw.cli.documents import document
from scalingar_fw.cli.group import BUILT_IN, SECTIONS
from scalingar_fw.registry import import_path

TOY = Path(__file__).parents[1] / "experiments" / "toy.py"


def complete(*words: str) -> list[str]:
    """What bash is told when the last of the words is being typed, in a process as bash starts."""
    line = ["scalingar", *words]
    env = {
        **os.environ,
        "_SCALINGAR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    program = "from scalingar_fw.cli import main; main(prog_name='scalingar')"
    found = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert not found.stderr, found.stderr
    return [row.split(",", 1)[1] for row in found.stdout.split()]


def test_names_that_are_registered_complete():
    assert complete("generate", "--strategy", "best-of-n-o") == ["best-of-n-oracle"]
    assert "scalingar-termination" in complete("show", "scalingar-t")


def test_settings_complete_by_the_strategy_that_was_typed():
    given = complete("generate", "--strategy", "scalingar", "--set", "termination.quan")
    assert given == ["termination.quantile="]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_this_program(shell, cli):
    result = cli("completion", shell)
    assert result.exit_code == 0 and "_SCALINGAR_COMPLETE" in result.stdout


@pytest.mark.parametrize("name", ["generate", "bench"])
def test_help_shows_each_option_once_in_its_group_and_examples_that_parse(name, cli):
    command = import_path(BUILT_IN[name][0])
    text = cli(name, "--help").stdout
    typed = [o for p in command.params if isinstance(p, click.Option) for o in p.opts[:1]]
    for option in typed:
        assert len(re.findall(rf"^  {re.escape(option)}[ ,]", text, flags=re.MULTILINE)) == 1
    for heading, members in command.groups.items():
        assert f"{heading}:" in text
        assert set(members) <= set(typed), heading
    for example in command.examples:
        assert f"  {example}\n" in text  # whole, so that it can be copied
        assert len(example) < 80


def test_every_built_in_command_has_its_place_in_help():
    placed = [name for names in SECTIONS.values() for name in names]
    assert len(placed) == len(set(placed)) and set(BUILT_IN) <= set(placed)


@pytest.mark.parametrize(
    "arguments",
    [("--strategy", "toy-prun"), ("--set", "terminaton=never"), ("--model", "to"), ("-n", "0")],
)
def test_a_typing_error_is_told_before_anything_loads(arguments, toy):
    result = toy("a circle", *arguments, strategy=None)
    assert result.exit_code == 2
    assert "loading" not in result.stderr


def test_show_suggests_a_few_names_and_no_screen_of_them(cli):
    result = cli("show", "scalngar")
    assert result.exit_code == 2 and "Did you mean 'scalingar'" in result.stderr
    assert len(result.stderr) < 300 and "scalingar list" in result.stderr


def test_a_sweep_without_a_folder_finds_its_own_again(cli):
    small = ("--plugin", TOY, "--executor", "inline", "--model", "toy", "--benchmark", "toy",
             "--limit", 2, "-n", 1)  # fmt: skip
    first = cli("bench", *small, "--strategy", "base")
    assert first.exit_code == 0, first.stderr
    assert "runs/bench-toy-test-toy" in first.stdout
    more = cli("bench", *small, "--strategy", "base", "--strategy", "scalingar")
    assert "1 finished already" in more.stderr
    other = cli("bench", *small, "--strategy", "base", "--guidance", 3)
    assert "0 finished already" in other.stderr
    assert len(list(Path("runs").iterdir())) == 2


def test_a_sweep_of_nothing_is_refused(cli):
    result = cli("bench")
    assert result.exit_code == 2 and "--strategy" in result.stderr


def test_a_json_document_names_its_schema_first_and_has_null_for_what_is_not_known():
    text = document({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": "naïve"}})
    assert json.loads(text) == {"schema": 1, "a": None, "b": [1.5, None], "c": {"d": "naïve"}}
    assert text.startswith('{\n  "schema": 1') and "naïve" in text
    assert json.loads(document({"schema": 3}))["schema"] == 3  # a file's own version stays


def test_every_command_with_json_is_in_the_page_about_it():
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    for name, (path, _) in BUILT_IN.items():
        if any("--json" in p.opts for p in import_path(path).params):
            assert f"`{name}`" in page, name
