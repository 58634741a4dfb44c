"""A reward that gives no number, or not one for each candidate, is named where it is compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import frozen

import scalingar_fw as sar
from scalingar_fw.decoding.components import Reward
from scalingar_fw.errors import ContractError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.selectors.rewarded import BestReward, RewardDraw, draw


def broken(values: Any) -> Any:
    @frozen
    class Broken(Reward):
        def score(self, pool: Any) -> Any:
            return values

    return Broken()


@pytest.mark.parametrize("selector", [BestReward, RewardDraw])
@pytest.mark.parametrize(
    "values",
    [
        np.array([0.0, np.nan, 1.0]),
        np.array([0.0, np.inf, 1.0]),
        np.array([0.0, 1.0]),
        np.array([[0.0, 1.0, 2.0]]),
        np.array(1.0),
        np.array(["a", "b", "c"]),
        None,
        [0.0, None, 1.0],
    ],
)
def test_a_reward_that_is_no_row_of_numbers_is_named_without_checks(
    selector: Any, values: Any
) -> None:
    strategy = sar.Strategy("broken", selector=selector(reward=broken(values)))
    with pytest.raises(ContractError, match="Reward Broken returned .* for 3 candidates"):
        sar.generate("a", model=ReferenceModel(), strategy=strategy, n=3)


@pytest.mark.parametrize("weights", [[0.0, np.nan], [-np.inf, -np.inf], [np.inf, 0.0]])
def test_weights_that_nothing_can_be_drawn_by_are_named(weights: list[float]) -> None:
    run = sar.generate("a", model=ReferenceModel(), strategy=sar.Strategy("two"), n=2)
    pool = sar.Pool(run.prompt, run.decoded.trajectories, 0)
    with pytest.raises(ContractError, match="log-weights"):
        draw(np.array(weights), pool)
    assert draw(np.array([0.0, -np.inf]), pool) == 0
