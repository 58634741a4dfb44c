"""Running likelihoods against plain sums over what a decode recorded."""

from __future__ import annotations

import numpy as np
import pytest

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.testing.reference import ReferenceModel
from scalingar_plugins.confidence.likelihood import (
    LogProbConfidence,
    PmiConfidence,
    SurpriseConfidence,
)

MODEL = ReferenceModel(vocab_size=7, grid=Grid(3, 4))


def _pmi(signals: dict[str, np.ndarray]) -> np.ndarray:
    return signals["log_prob_cond"].astype(np.float64) - signals["log_prob_uncond"]


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize(
    ("estimator", "per_token"),
    [
        (LogProbConfidence, lambda s: s["log_prob_cond"].astype(np.float64)),
        (PmiConfidence, _pmi),
        (SurpriseConfidence, lambda s: s["log_prob_cond"].astype(np.float64) + s["entropy_nats"]),
    ],
)
def test_confidence_is_the_running_sum_or_mean_of_the_chosen_tokens(
    estimator, per_token, total
) -> None:
    strategy = Strategy(confidence=estimator(total=total))
    result = decode(MODEL, strategy, [Prompt("a"), Prompt("b")], n=3)
    for trajectory in result.trajectories:
        values = per_token(trajectory.signals)
        wanted = np.cumsum(values)
        if not total:
            wanted = wanted / np.arange(1, len(values) + 1)
        np.testing.assert_allclose(trajectory.signals["confidence"], wanted, rtol=1e-5, atol=1e-5)
        assert np.abs(values).max() > 1e-3  # the branches differ: there is something to sum


def test_without_an_unconditional_branch_the_information_is_0() -> None:
    model = ReferenceModel(vocab_size=7, grid=Grid(2, 2), branches=1)
    strategy = Strategy(confidence=PmiConfidence())
    result = decode(model, strategy, [Prompt("a")], n=2, sampling=Sampling(guidance=1.0))
    for trajectory in result.trajectories:
        assert (trajectory.signals["confidence"] == 0.0).all()
