"""Whoever reads a result in a script of three lines gets exit status 0, on any number of threads:
libraries with threads of their own have ended processes on their way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
SCRIPTS = {
    "a trace": "from scalingar_fw import read_trace\nprint(read_trace('run').steps().num_rows)",
    "a store": (
        "from scalingar_fw.experiments import open_store\nstore = open_store('bench_steps')\n"
        "print(store.candidates().num_rows, store.steps().num_rows)"
    ),
    "a run": "from scalingar_analysis import open_run\nprint(len(open_run('runs').table()))",
}


@pytest.mark.parametrize("threads", [None, "1", "4"], ids=["default", "one", "four"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_reads_ends_well(
    script: str, threads: str | None, request: pytest.FixtureRequest
) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    if threads is not None:
        environment |= dict.fromkeys(names, threads)
    for _ in range(max(1, request.config.getoption("--fuzz-inputs") // 2000)):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPTS[script]],
            cwd=FIXTURES,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.returncode, done.stderr[-1000:])
        assert done.stdout.strip()
