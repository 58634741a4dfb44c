"""Who does a unit changes no byte of it: other processes, a Ray cluster, Slurm's job arrays."""

from __future__ import annotations

import gc
import importlib
import secrets
import sys
from pathlib import Path

import pytest

from scalingar_fw import ScalingarError
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.executors import make_executor
from scalingar_fw.experiments.layout import Layout


def content(root):
    units = Layout(root).root / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


def executors_of(out):
    return {unit.receipt["executor"] for unit in open_store(out).units()}


def test_processes_give_what_this_process_gives(bench, tmp_path, undisturbed):
    """Starts two processes that import torch: some seconds."""
    ended, _ = bench.run(tmp_path / "s", "local", workers=2)
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert content(tmp_path / "s") == undisturbed
    assert executors_of(tmp_path / "s") == {"local"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "token").write_text(secrets.token_hex(32))  # else one is made in the home folder
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    for attempt in range(3):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:  # Ray gives its node 30 s: a busy machine is no error of ours
            ray.shutdown()
            if attempt == 2 or "timed out during startup" not in str(error):
                raise
    yield ray
    ray.shutdown()
    gc.collect()  # Ray leaves processes to the garbage collector, which warns: here, not later


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("of_a_library")
def test_actors_of_a_ray_cluster_give_what_this_process_gives(
    bench, tmp_path, undisturbed, cluster
):
    """Starts a cluster on this machine: some seconds."""
    ended, _ = bench.run(tmp_path / "s", "ray", workers=2)
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert content(tmp_path / "s") == undisturbed
    assert executors_of(tmp_path / "s") == {"ray"}
    assert cluster.is_initialized(), "a cluster that was there before is left alone"


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("of_a_library")
def test_jobs_of_an_array_give_what_this_process_gives(bench, tmp_path, undisturbed):
    """submitit's local executor runs the jobs that Slurm would: some seconds."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    ended, _ = bench.run(
        tmp_path / "s", "slurm", workers=2, executor_options={"cluster": "local", "minutes": 5}
    )
    assert (ended.finished, ended.failed) == (ended.units, 0)
    assert content(tmp_path / "s") == undisturbed
    assert executors_of(tmp_path / "s") == {"slurm"}
    jobs = {int(p.name.split("_")[0]) for p in (tmp_path / "s" / "slurm").glob("*_submitted.pkl")}
    assert jobs
    assert not [pid for pid in jobs if Path(f"/proc/{pid}").exists()], "jobs outlived the sweep"
    gc.collect()  # as for Ray


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_says_what_to_install(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ScalingarError, match=rf"pip install 'scalingar-fw\[{name}\]'"):
        make_executor(name)


def test_importing_executors_imports_no_cluster_s_package():
    for name in ("ray", "slurm"):
        module = importlib.import_module(f"scalingar_fw.experiments.executors.{name}")
        assert not hasattr(module, "ray") and not hasattr(module, "submitit")
