"""The benchmark runs and measures what it says. How fast anything is, no test states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("replay_speed.py")


def test_the_replay_benchmark_prints_seconds_and_how_many_were_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--prompts", "20", "-n", "4"]
        + ["--rows", "6", "--cols", "6", "--repeats", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(
        r"scalingar: 20 prompts x 4 candidates x 36 steps, ([\d.]+) ended of 4: ([\d.]+) s",
        done.stdout,
    )
    assert found, done.stdout
    assert 0 < float(found[1]) < 4
