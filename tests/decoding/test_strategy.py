"""The neutral parts of a strategy, and the clock."""

from __future__ import annotations

import attrs
import pytest
import torch

from scalingar_fw.decoding import timing
from scalingar_fw.decoding.components import Component, Guidance, ModelAdapter
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.params import rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import ConstantGuidance, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel

CAT = Prompt("a cat")
MODEL = ReferenceModel(grid=Grid(2, 3))


def test_a_strategy_is_neutral_until_something_is_put_in() -> None:
    result = decode(MODEL, Strategy(), [CAT], n=3, sampling=Sampling(guidance=1.5))
    for t in result.trajectories:
        assert t.completed
        assert (t.signals["confidence"] == 0.5).all()
        assert not {"drift", "rebound", "intrinsic"} & t.signals.keys()
        assert (t.signals["scale"] == 1.5).all()
    assert result.answer().candidate == 0


def test_every_part_is_a_component_and_documented() -> None:
    strategy = Strategy()
    assert all(isinstance(part, Component) for part in strategy.parts.values())
    described = rules(strategy)
    assert all(described[name].doc for name in strategy.parts)


def test_a_strategy_is_changed_by_making_another_one() -> None:
    strategy = Strategy()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        strategy.name = "mine"  # type: ignore[misc]
    assert attrs.evolve(strategy, name="mine").name == "mine"
    assert Strategy() == Strategy()


def test_candidates_by_default_are_at_least_one() -> None:
    with pytest.raises(ScalingarError, match="default_n=0"):
        Strategy(default_n=0)


def test_the_constant_schedule_knows_its_bounds() -> None:
    assert ConstantGuidance().bounds(Sampling(guidance=4.0)) == (4.0, 4.0)
    assert Guidance().bounds(Sampling()) == (-float("inf"), float("inf"))


def test_temperature_zero_takes_the_most_likely_token_of_the_guided_distribution() -> None:
    greedy = Sampling(guidance=2.0, temperature=0.0)
    result = decode(MODEL, Strategy(), [CAT], n=2, sampling=greedy)
    first, second = result.trajectories
    assert first.tokens.tolist() == second.tokens.tolist()
    for step, token in enumerate(first.tokens.tolist()):
        cond, uncond = MODEL.rule(CAT, tuple(first.tokens[:step].tolist()))
        assert token == int((uncond + 2.0 * (cond - uncond)).argmax())


def test_the_reference_model_is_an_adapter() -> None:
    assert isinstance(MODEL, ModelAdapter)
    assert MODEL.fingerprint() == ReferenceModel(grid=Grid(2, 3)).fingerprint()
    assert MODEL.fingerprint() != ReferenceModel(grid=Grid(3, 2)).fingerprint()
    assert MODEL.row_bytes() > 0
    with pytest.raises(ScalingarError, match="vocab_size=0 must be at least 1"):
        ReferenceModel(vocab_size=0)


def test_the_clock_charges_each_phase_with_the_time_since_the_last_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 10.0, 13.0, 14.0, 19.0])  # made, restarted, and three marks
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    clock = timing.Clock()
    clock.restart()
    clock.mark("model")
    clock.mark("policy")
    clock.mark("model")
    assert clock.seconds == {"model": 3.0 + 5.0, "policy": 1.0}


def test_peak_memory_of_a_cpu_is_the_process() -> None:
    timing.reset_peak(torch.device("cpu"))
    assert timing.peak_bytes(torch.device("cpu")) > 10 << 20
