"""Listings, `show`, `plugins`, and the group itself: fast, complete, and robust to bad plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import scalingar_fw
from scalingar_fw.cli.group import BUILT_IN
from scalingar_fw.registry import KINDS, import_path, load_registry

TOY = Path(__file__).with_name("toy_plugin.py")

FAST = """
import sys
from scalingar_fw.cli import main
for arguments in {commands!r}:
    try:
        main(arguments, prog_name="scalingar")
    except SystemExit as end:
        assert end.code in (0, None), (arguments, end.code)
heavy = [m for m in ("torch", "numpy", "rich", "matplotlib", "pyarrow", "yaml", "PIL") if m in sys.modules]
assert not heavy, heavy
print("LIGHT")
"""


def test_help_version_and_listings_import_nothing_heavy():
    commands = [["--help"], ["-h"], ["--version"], ["generate", "--help"], ["show", "--help"],
                ["plugins"], ["plugins", "--json"], ["list", "--help"],
                *(["list", kind] for kind in ("models", "strategies", "components", "benchmarks")),
                ["list", "models", "--json"]]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", FAST.format(commands=commands)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip().endswith("LIGHT")


def test_the_module_and_the_version_answer():
    run = subprocess.run(
        [sys.executable, "-m", "scalingar_fw", "--version"], capture_output=True, text=True
    )
    assert run.stdout == f"scalingar {scalingar_fw.__version__}\n"


def test_help_names_every_command_and_its_line(cli):
    result = cli("--help")
    for name, (path, line) in BUILT_IN.items():
        assert f"{name} " in result.stdout and line in result.stdout
        assert isinstance(import_path(path), click.Command)


@pytest.mark.parametrize("kind", ["models", "strategies", "components", "benchmarks"])
def test_a_listing_names_everything_registered_with_its_line(kind, cli):
    registry = load_registry()
    kinds = {"models": ["model"], "strategies": ["strategy"], "benchmarks": ["benchmark"]}.get(
        kind, KINDS[: KINDS.index("strategy")]
    )
    text = cli("list", kind).stdout
    rows = json.loads(cli("list", kind, "--json").stdout)
    entries = registry.of_kind(*kinds)
    assert len(text.splitlines()) == len(rows) == len(entries)
    for entry, row, line in zip(entries, rows, text.splitlines(), strict=True):
        assert row["full_name"] == entry.full_name and row["kind"] == entry.kind
        assert row["name"] in line and entry.summary in line


def test_show_lists_a_strategys_settings_as_set_wants_them(cli):
    text = cli("show", "toy-prune", "--plugin", TOY).stdout
    assert "strategy toy-prune" in text and "toy_plugin/toy-prune" in text
    assert "termination = drop-worst    a component" in text
    assert "termination.every = 4    whole, [1, inf)" in text
    assert "EMA rate of the margin; eq. 0" in text
    assert "default_n = 8" in text


def test_show_describes_components_and_models(cli):
    text = cli("show", "margin", "--plugin", TOY).stdout
    assert "confidence margin" in text and "rate = 0.5    (0, 1]" in text
    text = cli("show", "toy", "--plugin", TOY).stdout
    assert "model toy" in text and "Logits by hashing" in text and "weights" in text
    assert "It has no settings." in cli("show", "multinomial").stdout
    both = cli("show", "shapes").stdout
    assert "model shapes" in both and "benchmark shapes" in both


def test_show_works_for_everything_that_is_registered(cli):
    registry = load_registry()
    for kind in ("strategy", *KINDS[: KINDS.index("strategy")]):
        for entry in registry.of_kind(kind):
            result = cli("show", entry.full_name)
            assert result.exit_code == 0, (entry.full_name, result.output)
            assert entry.full_name in result.stdout


def test_an_unknown_name_or_command_gets_a_suggestion(cli):
    for arguments, nearest in (
        (("show", "quantil"), "'quantile'"),
        (("lst", "models"), "'list'"),
        (("generat",), "'generate'"),
    ):
        result = cli(*arguments)
        assert result.exit_code == 2 and f"Did you mean {nearest}?" in result.stderr
    assert cli("list", "modles").exit_code == 2


# -- plugins ----------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def make(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


COMMAND = """
def scalingar_register(registry):
    registry.add("command", "hello", "no_such_module:hello", "Say hello.")
    registry.add("command", "generate", "no_such_module:hello", "Takes a name that is taken.")
    registry.add("command", "wrong", len, "No command at all.")
"""
WORKING = """
import click

@click.command()
@click.argument("name")
def hi(name):
    click.echo(f"hi {name}")

def scalingar_register(registry):
    registry.add("command", "hi", hi, "Greet.")
"""


def test_plugins_lists_distribution_version_and_what_each_registers(cli):
    text = cli("plugins", "--plugin", TOY).stdout
    assert f"strategies  (scalingar-fw {scalingar_fw.__version__})" in text
    assert f"{TOY}  (toy_plugin file)" in text
    assert "strategy     toy-prune, toy-idle" in text
    rows = {
        r["distribution"]: r for r in json.loads(cli("plugins", "--json", "--plugin", TOY).stdout)
    }
    assert {"kind": "model", "name": "toy_plugin/toy"} in rows["toy_plugin"]["registered"]


def test_a_broken_plugin_is_one_line_and_stops_nothing(cli, write):
    broken = write("broken.py", "import no_such_thing\n")
    result = cli("list", "strategies", "--plugin", broken, "--plugin", TOY)
    assert result.exit_code == 0 and "toy-prune" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: Plugin") and "no_such_thing" in line
    listed = cli("plugins", "--plugin", broken)
    assert listed.exit_code == 0 and "failed: ModuleNotFoundError" in listed.stdout


def test_a_plugins_command_is_in_help_without_being_imported(cli, write):
    path = write("commands.py", COMMAND)
    text = cli("--plugin", path, "--help").stdout
    assert "hello" in text and "Say hello." in text
    assert "commands/generate" in text  # the built-in keeps its name
    assert "Make a picture" in cli("--plugin", path, "generate", "--help").stdout
    missing = cli("--plugin", path, "hello")
    assert missing.exit_code == 2 and "could not be loaded" in missing.stderr
    assert "Traceback" not in missing.stderr
    wrong = cli("--plugin", path, "wrong")
    assert wrong.exit_code == 2 and "not a click command" in wrong.stderr


def test_a_plugins_command_runs(cli, write, monkeypatch):
    path = write("greet.py", WORKING)
    assert cli("--plugin", path, "hi", "you").stdout == "hi you\n"
    monkeypatch.setenv("SCALINGAR_PLUGINS", os.pathsep.join([str(path), str(TOY)]))
    assert cli("hi", "you").stdout == "hi you\n"
    assert (
        "toy-prune" in cli("list", "strategies", "--plugin", TOY).stdout
    )  # named twice, loaded once


def test_a_file_that_is_not_there_is_an_error_where_it_is_named_and_a_warning_elsewhere(
    cli, monkeypatch
):
    named = cli("list", "models", "--plugin", "nowhere.py")
    assert named.exit_code == 2 and "nowhere.py" in named.stderr
    monkeypatch.setenv("SCALINGAR_PLUGINS", "nowhere.py")
    listed = cli("list", "models")
    assert listed.exit_code == 0 and "Warning: Plugin 'nowhere.py' is skipped" in listed.stderr


def test_a_selection_of_plugins_can_be_loaded_or_none(cli, monkeypatch):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "none")
    assert cli("list", "models").stdout.strip() == ""
    assert "No plugins are loaded" in cli("plugins").stderr
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "strategy")
    result = cli("list", "models")
    assert result.exit_code == 2 and "Did you mean 'strategies'?" in result.stderr
    assert cli("--help").exit_code == 2  # it lists plugins' commands
