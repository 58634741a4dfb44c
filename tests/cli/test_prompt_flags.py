"""`--class` and `--negative`: prompts that are not text alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["generate", *words])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--class", "207"], "takes no class"),
        (["a circle", "--negative", "a square"], "no negative prompt"),
        (["--negative", "a square"], "belongs to a PROMPT"),
        (["a circle", "--class", "cat"], "not a valid integer"),
    ],
)
def test_what_the_model_or_the_command_cannot_take_is_refused(
    words: list[str], says: str, tmp_path: Path
) -> None:
    code, output = run(*words, "--out", str(tmp_path / "out"))
    assert code == 2
    assert says in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_a_file_of_prompts_and_a_class_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a circle\n")
    code, output = run("--class", "1", "--prompts", str(tmp_path / "prompts.txt"))
    assert code == 2 and "not both" in output
