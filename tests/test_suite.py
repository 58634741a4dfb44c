"""The suite itself: one thread a process, skips that a parallel run remembers, folders that mirror
the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_a_process_of_the_suite_computes_in_one_thread() -> None:
    import torch

    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"


TESTS = {
    "test_some.py": """
import os
import pytest

def test_passes(): pass

@pytest.mark.skipif("READY" not in os.environ, reason="not ready")
def test_waits(): pass

@pytest.mark.gpu
def test_on_an_accelerator(): pytest.skip("no accelerator")
""",
    "test_whole.py": """
import os
import pytest

if "READY" not in os.environ:
    pytest.skip("none is ready", allow_module_level=True)

def test_waits_with_its_file(): pass
""",
}


@pytest.mark.parametrize("processes", [[], ["-n1"]], ids=["one process", "a worker"])
def test_what_was_skipped_is_what_runs_next_and_may_not_skip_again(
    tmp_path: Path, processes: list[str]
) -> None:
    if processes:
        pytest.importorskip("xdist", reason="needs pytest-xdist, of the extra testing")
        processes = ["-p", "xdist.plugin", *processes]
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text(encoding="utf-8"))

    def run(*words: str, **environment: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path)]
        ours = {k: v for k, v in os.environ.items() if k != "READY"}
        ours["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # their imports take longer than the tests
        done = subprocess.run(
            [*command, *processes, *words],
            cwd=tmp_path,
            env=ours | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    code, said = run("--no-skips")
    assert code != 0, said
    assert "none is ready\n(--no-skips" in said, said
    code, said = run()
    assert code == 0 and "1 passed, 3 skipped" in said, said
    code, said = run("--skipped-before", "--no-skips", READY="1")
    assert code == 0 and "2 passed" in said, said
