"""What components may promise beyond their signatures, so that tools can hold them to it."""

from __future__ import annotations

from scalingar_fw.decoding.components import ConfidenceEstimator, Promises, Termination


def test_a_policy_promises_nothing_but_a_survivor_unless_it_says_more() -> None:
    assert Termination().promises(16) == Promises(warmup=0, survivors=1, tokens=None)


def test_an_estimator_declares_no_range_unless_it_says_so() -> None:
    assert ConfidenceEstimator().ranges == {}
