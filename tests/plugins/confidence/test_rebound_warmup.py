"""When the running minimum of eq. 8 starts."""

from __future__ import annotations

import numpy as np
import pytest

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.confidence.unified import UnifiedConfidence


@pytest.mark.parametrize(("share", "start"), [(0.0, 0), (0.125, 2), (0.5, 8), (1.0, 16)])
def test_the_minimum_of_the_rebound_starts_at_its_share_of_the_steps(
    share: float, start: int
) -> None:
    strategy = Strategy(confidence=UnifiedConfidence(rebound_warmup=share))
    result = decode(ReferenceModel(), strategy, [Prompt("a")], n=3, seed=1)
    for trajectory in result.trajectories:
        c = trajectory.signals["confidence"].astype(np.float64)
        expected = [
            0.0 if t <= start else (c[t] - c[start : t + 1].min()) / (c[start : t + 1].min() + 1e-6)
            for t in range(len(c))
        ]
        np.testing.assert_allclose(trajectory.signals["rebound"], expected, atol=1e-5)
        assert share == 1.0 or trajectory.signals["rebound"].max() > 0
