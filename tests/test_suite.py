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


#: Where a folder of tests is not called like the folder that it tests, and why.
MIRRORED = {
    "registry": "modules of the core that lie in no folder",
    "fuzz": "hostile files, whatever reads them",
    "docs": "README and docs/",
    "packaging": "the distribution",
    "parity": "equality with official code, over several adapters",
    "golden": "whole runs, over all packages",
    "fixtures": "files of earlier versions",
    "benchmarks": "scripts that measure",
}
SOURCES = {
    "plugins": HERE.parent / "plugins" / "scalingar_plugins",
    "strategies": HERE.parent / "strategies" / "scalingar_strategies",
    "analysis": HERE.parent / "analysis" / "scalingar_analysis",
}


def folders_with_tests() -> list[Path]:
    return sorted({path.parent.relative_to(HERE) for path in HERE.rglob("test_*.py")} - {Path()})


@pytest.mark.parametrize("folder", folders_with_tests(), ids=str)
def test_a_folder_of_tests_is_called_like_the_folder_that_it_tests(folder: Path) -> None:
    top, *inside = folder.parts
    if top in MIRRORED:
        assert not inside, f"tests/{folder}: {top} has no folders"
        return
    source = SOURCES.get(top, HERE.parent / "scalingar_fw" / top).joinpath(*inside)
    assert any(source.glob("*.py")), f"tests/{folder} mirrors {source}, which holds no module"


#: Packages without a folder of tests, and where their tests are.
ELSEWHERE = {
    "plugins/models/llamagen": "plugins/models/test_llamagen.py",
    "plugins/selectors": "plugins/rewards/test_rewards.py",
    "analysis/commands": "cli",
    "experiments/executors": "experiments/test_executors.py",
}


def packages() -> list[str]:
    roots = {HERE.parent / "scalingar_fw": Path(), **{p: Path(n) for n, p in SOURCES.items()}}
    found = set()
    for root, name in roots.items():
        for module in root.rglob("*.py"):
            if module.parent != root and module.name != "__init__.py":
                found.add((name / module.parent.relative_to(root)).as_posix())
    return sorted(found)


def test_every_folder_of_the_source_has_its_tests() -> None:
    tested = {folder.as_posix() for folder in folders_with_tests()}
    assert {name for name in packages() if name not in tested} == set(ELSEWHERE)
    assert all((HERE / place).exists() for place in ELSEWHERE.values())
    assert all((HERE / name).exists() for name in MIRRORED), "a name without a folder"
