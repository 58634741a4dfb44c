"""Trackers hear what the terminal hears."""

from __future__ import annotations

import sys
import types

import pytest

from scalingar_fw import ScalingarError
from scalingar_fw.experiments.driver import run_sweep
from scalingar_fw.experiments.trackers import make_tracker


def tracked(bench, out, tracker):
    return run_sweep(
        bench.sweep(), out, executor="inline", registry=bench.registry, observers=[tracker]
    )


@pytest.mark.filterwarnings("default")  # TensorBoard's own dependencies
def test_tensorboard_has_a_curve_for_each_strategy(bench, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ended = tracked(bench, tmp_path / "s", make_tracker("tensorboard", tmp_path / "s"))
    events = EventAccumulator(str(tmp_path / "s" / "tensorboard"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"accuracy/base", "accuracy/scalingar", "tokens/total", "units/finished"} <= names
    assert [e.step for e in events.Scalars("units/finished")] == [1, 2, 3, 4]
    assert events.Scalars("tokens/total")[-1].value == ended.tokens
    last = events.Scalars("accuracy/base")[-1].value
    assert last == pytest.approx(ended.accuracy["base"])


def test_weights_and_biases_gets_a_run_with_numbers_and_a_summary(bench, tmp_path, monkeypatch):
    """A stand-in with wandb's interface: what is sent is the same with or without a network."""
    calls = []

    class Run:
        summary: dict = {}

        def log(self, numbers, step):
            calls.append((step, numbers))

        def finish(self):
            calls.append("finished")

    def init(**options):
        calls.append(options)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    ended = tracked(bench, tmp_path / "s", make_tracker("wandb", tmp_path / "s"))
    options, *logged, last = calls
    assert options["config"]["benchmark"] == "toy" and last == "finished"
    assert [step for step, numbers in logged if "units/finished" in numbers] == [1, 2, 3, 4]
    assert logged[-1][1]["tokens/total"] == ended.tokens
    assert Run.summary == {"units": 4, "finished": 4, "failed": 0}


@pytest.mark.filterwarnings("default")  # wandb's own dependencies
@pytest.mark.usefixtures("of_a_library")
def test_weights_and_biases_itself_works_offline(bench, tmp_path, monkeypatch):
    """Starts wandb's service process: some seconds."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ended = tracked(bench, tmp_path / "s", make_tracker("wandb", tmp_path / "s"))
    assert ended.finished == ended.units
    assert list((tmp_path / "s").glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")]
)
def test_a_missing_extra_says_what_to_install(monkeypatch, tmp_path, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ScalingarError, match=rf"pip install 'scalingar-fw\[{name}\]'"):
        make_tracker(name, tmp_path)


def test_an_unknown_tracker_is_named(tmp_path):
    with pytest.raises(ScalingarError, match="Did you mean 'wandb'"):
        make_tracker("wandbb", tmp_path)
