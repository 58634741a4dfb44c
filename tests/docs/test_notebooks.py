"""The notebooks run from top to bottom, and show what a run gave."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = HERE / "notebooks.py"
NOTEBOOKS = sorted((HERE.parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [p.stem for p in NOTEBOOKS] == ["read_a_run", "your_own_signal"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    """Seconds of decoding: it is the reader's first try."""
    if path.stem == "your_own_signal":
        pytest.importorskip("optuna", reason="Optuna is not installed: the extra tune")
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--check", str(path)],
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_as_it_was_executed(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    tools = runpy.run_path(str(SCRIPT))
    cells = tools["code_cells"](notebook)
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert any(o for c in cells for o in c["outputs"])
    text = path.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in text
    assert "/tmp" not in text and str(Path.home()) not in text, "a path of somebody's machine"


def test_a_cell_shows_what_it_prints_and_its_last_value() -> None:
    tools = runpy.run_path(str(SCRIPT))
    printed, value = tools["run_cell"]("x = 2\nprint(x)\nx + 1", {})
    assert (printed, value) == ("2\n", 3)
    assert tools["run_cell"]("y = 1", {}) == ("", None)
    [stream, result] = tools["outputs"]("2\n", 3, 1)
    assert stream["text"] == ["2\n"]
    assert result["data"] == {"text/plain": ["3"]}
