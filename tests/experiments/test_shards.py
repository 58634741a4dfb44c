"""Parts of a sweep for machines that share a folder: disjoint, complete, and the same store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalingar_fw import ScalingarError
from scalingar_fw.benchmark import make_benchmark
from scalingar_fw.experiments import Shard
from scalingar_fw.experiments.condition import trouble
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.worker import Facts

TOY = Path(__file__).with_name("toy.py")
FACTS = Facts(
    model="toy",
    model_hash="f" * 64,
    device="cpu",
    dtype="float32",
    total=16,
    branches=2,
    sampling={"guidance": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
    flops={},
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 5), count=st.integers(1, 9))
def test_shards_share_no_item_and_together_are_everything(
    bench: Any, batch: int, count: int
) -> None:
    sweep = bench.sweep(limit=None, batch=batch, seeds="0-1")
    benchmark = make_benchmark(bench.registry, sweep.benchmark, sweep.benchmark_options)
    whole = [unit.key for unit in sweep.units(FACTS, benchmark)]
    parts = [sweep.units(FACTS, benchmark, Shard(k, count)) for k in range(1, count + 1)]
    assert sorted(unit.key for part in parts for unit in part) == sorted(whole)
    for part in parts:
        by_label: dict[str, set[str]] = {}
        for unit in part:
            items = {str(item) for item in unit.config["items"]}
            by_label.setdefault(unit.label, set()).update(items)
        assert len({frozenset(items) for items in by_label.values()}) <= 1, "all can be compared"


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "1/0", "-1/4", "a/b", "1/4/2", ""])
def test_what_is_no_part_of_a_whole_is_refused(text: str) -> None:
    with pytest.raises(ScalingarError, match="must be a part of a whole"):
        Shard.parse(text)


def content(out: Path) -> dict[str, bytes]:
    units = out / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


def test_shards_fill_one_store_with_the_bytes_of_one_run(
    bench: Any, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "s"
    first, _ = bench.run(out, shard=Shard(1, 2))
    second, _ = bench.run(out, shard=Shard(2, 2))
    assert 0 < first.units and first.units + second.units == 4
    assert content(out) == undisturbed
    whole, heard = bench.run(out)
    assert heard.of("unit") == [] and whole.finished == whole.units == 4


def test_a_shard_beyond_the_last_block_has_nothing_to_do(bench: Any, tmp_path: Path) -> None:
    ended, _ = bench.run(tmp_path / "s", shard=Shard(9, 9))
    assert (ended.units, ended.failed) == (0, 0)


def test_processes_on_one_folder_lose_nothing_when_one_is_killed(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out, config = tmp_path / "s", tmp_path / "sweep.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": "toy",
                "benchmark": "toy",
                "strategies": ["base", "scalingar"],
                "n": 2,
                "limit": 6,
                "batch": 3,
            }
        )
    )

    def start(shard: str, pause: float) -> subprocess.Popen[str]:
        words = ["bench", "--plugin", str(TOY), "--config", str(config), "--out", str(out)]
        words += ["--shard", shard, "--executor", "inline"]
        return subprocess.Popen(
            [sys.executable, "-m", "scalingar_fw", *words],
            env={**os.environ, "TOY_PAUSE": str(pause), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(process: subprocess.Popen[str]) -> None:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said

    steady, doomed = start("1/2", 0.1), start("2/2", 0.5)
    end = time.monotonic() + 300
    while not Layout(out).keys() and time.monotonic() < end:
        time.sleep(0.05)
    doomed.kill()
    doomed.communicate()
    finish(steady)
    kept = {key: Layout(out).receipt(key).read_bytes() for key in Layout(out).keys()}
    assert all(trouble(Layout(out), key) is None for key in kept)
    finish(start("2/2", 0.0))
    assert content(out) == undisturbed
    for key, receipt in kept.items():
        assert Layout(out).receipt(key).read_bytes() == receipt, "a finished unit was done again"
