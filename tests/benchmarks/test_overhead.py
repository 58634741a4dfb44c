"""The benchmark runs and measures what it says. How fast anything is, no test states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("overhead.py")


@pytest.mark.parametrize("steps", ["0", "5"])
def test_the_overhead_benchmark_prints_a_ratio_with_its_spread(steps: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--model", "tiny", "-n", "3"]
        + ["--steps", steps, "--repeats", "2", "--threads", "1", "--cpu-time"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pairs = 2 * (int(steps) or 16)
    found = re.search(
        rf"tiny: N = 3, {pairs} pairs of steps: bare [\d.]+ ms, full [\d.]+ ms, "
        r"ratio ([\d.]+) \(quartiles ([\d.]+) to ([\d.]+)\)",
        done.stdout,
    )
    assert found, done.stdout
    ratio, low, high = map(float, found.groups())
    assert 0 < low <= ratio <= high
    assert ("after the last token" in done.stdout) == (steps == "0")
