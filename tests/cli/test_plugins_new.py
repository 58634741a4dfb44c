"""`scalingar plugins new`: the project that it writes works as it is."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main
from scalingar_fw.cli.plugins_new import _KINDS
from scalingar_fw.registry import Registry
from scalingar_fw.testing import checks_for


def new(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["plugins", "new", *words])
    return result.exit_code, result.output


def test_the_tests_of_a_generated_project_pass_as_generated(tmp_path: Path) -> None:
    project = tmp_path / "my-margin"
    assert new("my-margin", "--out", str(project))[0] == 0
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "24 passed" in ran.stdout


@pytest.mark.parametrize("kind", list(_KINDS))
def test_a_project_of_each_kind_registers_itself_and_keeps_its_contracts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with few cases: the test above runs one project's own tests."""
    name, project = f"my-{kind}", tmp_path / "project"
    code, said = new(name, "--kind", kind, "--out", str(project))
    assert code == 0, said
    assert not re.search(
        r"\{\{\w+\}\}", "".join(p.read_text() for p in map(Path, said.split()[:5]))
    )
    monkeypatch.syspath_prepend(str(project / "src"))
    package = importlib.import_module(f"my_{kind}")
    registry = Registry()
    registry.register(package, name)
    tests = runpy.run_path(str(project / "tests" / "test_conformance.py"))
    plain = [f for n, f in tests.items() if n.startswith("test_") and n != "test_contract"]
    for test in plain:
        test()
    if kind == "observer":
        made = package
        assert registry.observers == [package]
    else:
        found = registry.get(kind, name)
        made = None if kind in ("benchmark", "model") else found()
    if made is not None:
        folder = tmp_path / "counter-examples"
        for bound in checks_for(made, examples=0, floor=2, folder=folder, parts=False):
            if bound.check.name not in ("fresh-process", "scale"):
                outcome = bound.run()
                assert outcome.status in ("passed", "skipped"), outcome


def test_a_kind_that_nobody_knows_is_refused_with_those_that_are(tmp_path: Path) -> None:
    code, said = new("my-margin", "--kind", "estimator", "--out", str(tmp_path / "x"))
    assert code == 2
    assert "'confidence', 'guidance'" in said


def test_a_generated_plugin_is_installable_and_found_by_its_entry_point(tmp_path: Path) -> None:
    """As pip would lay it out: the package, and a dist-info that holds the entry point."""
    project = tmp_path / "my-margin"
    new("my-margin", "--out", str(project))
    text = (project / "pyproject.toml").read_text()
    line = text.split("[project.entry-points.scalingar_fw]\n")[1].splitlines()[0]
    info = project / "src" / "my_margin-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-margin\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[scalingar_fw]\n{line.replace(chr(34), '')}\n")
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    command = "from scalingar_fw.cli import main; main()"
    for words, said in (
        (["plugins"], "my_margin  (my-margin 0.1.0)"),
        (["show", "my-margin"], "rate = 0.1"),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", command, *words],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert said in ran.stdout


@pytest.mark.parametrize("name", ["Upper", "two words", "json", "scalingar-fw", "class", "1st"])
def test_a_name_that_no_package_can_have_is_refused(name: str, tmp_path: Path) -> None:
    code, said = new(name, "--out", str(tmp_path / "x"))
    assert code == 2
    assert f"name={name!r}" in said
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    code, said = new("my-margin", "--out", str(tmp_path))
    assert code == 2
    assert "exists already" in said
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_the_list_of_plugins_is_still_there() -> None:
    result = CliRunner().invoke(main, ["plugins"])
    assert result.exit_code == 0
    assert "scalingar-fw" in result.output
