"""`kill -9` of a worker or a driver, and two drivers at once: nothing finished is lost, nothing is
counted twice. Real processes, so each of these tests takes some seconds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from scalingar_fw.experiments.condition import trouble
from scalingar_fw.experiments.executors.local import LocalExecutor
from scalingar_fw.experiments.layout import Layout

TOY = Path(__file__).with_name("toy.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def content(root):
    units = Layout(root).root / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


def test_killed_workers_lose_only_what_they_were_at(bench, tmp_path, undisturbed, monkeypatch):
    monkeypatch.setenv("TOY_PAUSE", "0.05")
    executor = LocalExecutor(2)
    kills = []

    class Killer:
        """Ends a worker at a random moment after each of the first two units."""

        def __init__(self):
            self._random = random.Random(7)

        def notify(self, event):
            if event.kind == "unit" and len(kills) < 2:
                time.sleep(self._random.uniform(0, 0.1))
                worker = self._random.choice(executor._running)
                os.kill(worker.process.pid, signal.SIGKILL)
                kills.append(worker.process.pid)

        def close(self): ...

    from scalingar_fw.experiments.driver import run_sweep

    ended = run_sweep(
        bench.sweep(),
        tmp_path / "s",
        executor=executor,
        registry=bench.registry,
        plugins=[TOY],
        observers=[Killer()],
    )
    assert len(kills) == 2
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert content(tmp_path / "s") == undisturbed


def test_a_worker_that_ends_in_the_middle_of_a_unit_is_replaced(
    bench, tmp_path, undisturbed, monkeypatch
):
    monkeypatch.setenv("TOY_POISON", "yes")
    monkeypatch.setenv("TOY_POISONED", str(tmp_path / "mark"))
    ended, heard = bench.run(tmp_path / "s", "local")
    assert (tmp_path / "mark").exists(), "no worker ended"
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert heard.of("failed") == []
    assert content(tmp_path / "s") == undisturbed


class Driver:
    """`scalingar bench` in a process of its own."""

    def __init__(self, folder: Path, out: Path, pause: float) -> None:
        config = folder / "sweep.yaml"
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
        self.out = out
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "scalingar_fw", "bench", "--plugin", str(TOY)),
                *("--config", str(config), "--out", str(out), "--json"),
            ],
            env={**os.environ, "TOY_PAUSE": str(pause), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def receipts(self) -> int:
        return len(Layout(self.out).keys())

    def wait_for(self, receipts: int) -> None:
        end = time.monotonic() + 300
        while self.receipts() < receipts and self.process.poll() is None:
            assert time.monotonic() < end, "no progress"
            time.sleep(0.01)

    def events(self) -> list[dict]:
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]


def test_a_killed_driver_s_sweep_is_gone_on_with(bench, tmp_path, undisturbed):
    out = tmp_path / "s"
    layout = Layout(out)
    moments = random.Random(3)
    for finished in (1, 2):
        driver = Driver(tmp_path, out, pause=0.4)
        driver.wait_for(finished)
        time.sleep(moments.uniform(0, 0.4))
        driver.process.kill()
        driver.process.communicate()
        kept = {key: layout.receipt(key).read_bytes() for key in layout.keys()}
        assert len(kept) >= finished
        assert all(trouble(layout, key) is None for key in kept)
    ended, heard = bench.run(out)  # the killed one's worker may still be finishing its unit
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert heard.of("damaged") == []
    for key, receipt in kept.items():
        assert layout.receipt(key).read_bytes() == receipt, "a finished unit was done again"
    assert content(out) == undisturbed


def test_two_drivers_at_once_share_the_work(tmp_path, undisturbed):
    out = tmp_path / "s"
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    drivers = [Driver(folder, out, pause=0.3) for folder in folders]
    heard = [driver.events() for driver in drivers]
    ours = [e["key"] for events in heard for e in events if e["event"] == "unit" and e["ours"]]
    assert sorted(ours) == sorted(set(ours)) == Layout(out).keys()
    for events in heard:
        assert events[-1]["event"] == "ended" and events[-1]["finished"] == events[-1]["units"] == 4
    assert content(out) == undisturbed
    assert list(Layout(out).claims.iterdir()) == []
