"""`scalingar plugins new`: the project that it writes works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main


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
    assert "17 passed" in ran.stdout


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
