"""Folders that are whole or not there: also after their writer was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scalingar_fw import ScalingarError
from scalingar_fw.files import new_folder

WRITER = """
import sys, time
from pathlib import Path
from scalingar_fw.files import new_folder
with new_folder(Path(sys.argv[1])) as place:
    (place / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def halves(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_what_a_killed_writer_left_goes_with_the_next_one_and_a_living_one_s_stays(
    tmp_path: Path,
) -> None:
    target = tmp_path / "o"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        (left,) = halves(tmp_path)
        with new_folder(target) as place:
            (place / "whole").write_text("whole")
        assert left.exists(), "its writer lives"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert halves(tmp_path) == [left]
    with new_folder(target, overwrite=True) as place:
        (place / "whole").write_text("again")
    assert halves(tmp_path) == []
    assert [p.name for p in target.iterdir()] == ["whole"]


def test_only_halves_of_the_same_name_are_swept(tmp_path: Path) -> None:
    kept = [tmp_path / n for n in (".other.01234567.partial", ".o.notes.partial", ".o.01234567")]
    for folder in kept:
        folder.mkdir()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "text").write_text("years of work")
    (tmp_path / ".o.89abcdef.partial").symlink_to(mine)
    with new_folder(tmp_path / "o"):
        pass
    assert all(folder.exists() for folder in kept)
    assert (mine / "text").exists()


def test_a_half_whose_target_cannot_be_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ScalingarError), new_folder(tmp_path / "o"):
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / "somebody's").write_text("")
    assert halves(tmp_path) == []
