"""The signal lab: what is a new per-step signal worth?

A signal is a function of what was recorded:

    def surprise(steps):
        return -steps["log_prob_cond"] - steps["entropy_nats"]

It is called with `Steps` and returns `[N, T]`: a number for each candidate and step, which may
depend on that step and earlier ones only. The lab asks how well it tells right candidates from
wrong ones of the same prompt at each step, whether it says anything that a recorded signal does
not, and what the best simple policy on it would give: found on one half of the prompts, confirmed
on the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from scalingar_analysis.lab.stepwise import Signal, evaluate, running_mean
from scalingar_analysis.recordings.recording import Recording
from scalingar_analysis.replay.replay import Replay, replay
from scalingar_analysis.statistics.holdout import halves
from scalingar_analysis.statistics.intervals import Estimate, estimate
from scalingar_analysis.statistics.signal_quality import Auroc, auroc_over_steps
from scalingar_fw.decoding.components import ConfidenceEstimator, Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.termination.halving import SuccessiveHalving
from scalingar_plugins.termination.quantile import QuantileTermination

#: What the recorded strategy's own policy wrote is no signal of the candidate.
NOT_SIGNALS = ("threshold", "flagged", "recovered", "scale")


def pairs_within(recording: Recording) -> tuple[Array, Array]:
    """Rows (right, wrong) of every pair of candidates of one prompt that ended differently."""
    good, bad = [], []
    for prompt in range(len(recording)):
        rows = recording.rows_of(prompt)
        right = recording.scores[rows] > 0.5
        first, second = np.meshgrid(rows[right], rows[~right], indexing="ij")
        good.append(first.ravel())
        bad.append(second.ravel())
    return np.concatenate(good), np.concatenate(bad)


def auroc(values: Array, pairs: tuple[Array, Array]) -> Array:
    """How often the right candidate of a pair has the higher value, ties counting half; by step,
    `[T]`. NaN where there is no pair."""
    good, bad = pairs
    if not len(good):
        return np.full(values.shape[1], np.nan)
    gap = values[good] - values[bad]
    wins: Array = (gap > 0).mean(0) + 0.5 * (gap == 0).mean(0)
    return wins


def correlations(values: Array, recording: Recording) -> dict[str, float]:
    """Pearson correlation, between candidates of the same prompt, of the mean over steps with that
    of each recorded signal; NaN where one of them does not vary."""
    mine = _centred(values.mean(1), recording)
    out = {}
    for name, other in recording.signals.items():
        if name in NOT_SIGNALS or not np.isfinite(other).all():
            continue
        theirs = _centred(other.astype(np.float64).mean(1), recording)
        norm = np.sqrt((mine**2).sum() * (theirs**2).sum())
        # Below rounding of the means nothing varies.
        out[name] = float(mine @ theirs / norm) if norm > 1e-12 * len(mine) else float("nan")
    return out


def _centred(values: Array, recording: Recording) -> Array:
    sums = np.bincount(recording.prompt, values, len(recording))
    counts = np.bincount(recording.prompt, minlength=len(recording))
    out: Array = values - (sums / counts)[recording.prompt]
    return out


@frozen(eq=False)
class TableConfidence(ConfidenceEstimator[None]):
    """C_t from a table that was computed beforehand: `values [T, N]`, `row [P, ids]`."""

    values: Tensor = field(repr=False)
    row: Tensor = field(repr=False)

    @classmethod
    def of(cls, values: Array, recording: Recording) -> TableConfidence:
        row = np.full((len(recording), int(recording.candidate.max()) + 1), -1)
        row[recording.prompt, recording.candidate] = np.arange(len(recording.candidate))
        table = np.ascontiguousarray(values.T, dtype=np.float32)
        return cls(torch.from_numpy(table), torch.from_numpy(row))

    def init(self, context: Context) -> None:
        return None

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        rows = self.row[step.rows.prompt_index, step.rows.candidate_id]
        return Confidence.of(self.values[step.index, rows]), None


def simple_policies(
    confidence: ConfidenceEstimator[Any], recording: Recording
) -> dict[str, Strategy]:
    """Halving and threshold policies on one confidence, under the name to type them by."""
    recorded = recording.strategy
    assert recorded is not None  # replay refuses it

    def strategy(termination: Any = None) -> Strategy:
        parts = {} if termination is None else {"termination": termination}
        return Strategy(
            "lab",
            confidence=confidence,
            guidance=recorded.guidance,
            sampler=recorded.sampler,
            selector=FinalConfidence(),
            **parts,
        )

    out = {"never": strategy()}
    for first in (1 / 8, 1 / 6, 1 / 4, 1 / 2):
        for reduction in (2.0, 4.0):
            name = f"halving first_rung={first:.4g} reduction={reduction:g}"
            out[name] = strategy(SuccessiveHalving(first_rung=first, reduction=reduction))
    for quantile in (0.1, 0.2, 0.4):
        for share in (1 / 32, 1 / 8):
            name = f"quantile quantile={quantile:g} recovery_share={share:.4g}"
            out[name] = strategy(QuantileTermination(quantile=quantile, recovery_share=share))
    return out


@frozen
class Policy:
    """A simple policy's outcome; tokens in units of T for each prompt."""

    name: str
    fitted: Estimate
    fitted_tokens: float
    confirmed: Estimate
    confirmed_tokens: float


@frozen(eq=False)
class LabReport:
    """`sign`: -1 where lower is better (decided on the fitting half). `at_step`, `so_far`: AUROC
    over steps of the value itself and of its running mean, on the confirming half; `at_shares`: the
    latter after `signal_quality.FRACTIONS` of the tokens, with intervals. `best`: the most
    accurate of `tried` policies on the fitting half (then the cheapest); `baseline`, `uncut`: one
    candidate, and the best of all by the signal, on the confirming half."""

    name: str
    sign: int
    pairs: int
    at_step: Array
    so_far: Array
    at_shares: tuple[Auroc, ...]
    correlation: dict[str, float]
    best: Policy
    tried: int
    baseline: Estimate
    uncut: Estimate


def examine(signal: Signal, recording: Recording, name: str, *, seed: int = 0) -> LabReport:
    """Everything about a signal, from one recording.

    Raises:
        ScalingarError: the candidates were not judged, or too few differ.
        ContractError: the signal breaks its contract (`evaluate`).
    """
    if not recording.scored:
        raise ScalingarError(
            f"{recording.source} holds no scores: record the prompts of a benchmark "
            "(scalingar record --benchmark ...)."
        )
    if len(recording.candidate) != len(recording) * recording.n:
        raise ScalingarError(
            f"{recording.source} holds different numbers of candidates: read the first of each (-n)."
        )
    values = evaluate(signal, recording, name)
    fit, confirm = halves(recording, 0.5, seed)
    parts = {part: recording.subset(places) for part, places in (("fit", fit), ("held", confirm))}
    rows = {part: np.isin(recording.prompt, p) for part, p in (("fit", fit), ("held", confirm))}
    pairs = {part: pairs_within(r) for part, r in parts.items()}
    for part, (good, _) in pairs.items():
        if not len(good):
            raise ScalingarError(
                f"No prompt of the {part} half of {recording.source} has both right and wrong "
                "candidates: nothing can be told apart. Record more prompts."
            )
    means = running_mean(values)
    sign = 1 if auroc(means[rows["fit"], -1:], pairs["fit"])[0] >= 0.5 else -1
    values, means = sign * values, sign * means
    outcomes = {
        part: {
            policy: replay(strategy, parts[part])
            for policy, strategy in simple_policies(
                TableConfidence.of(means[rows[part]], parts[part]), parts[part]
            ).items()
        }
        for part in parts
    }
    best = max(
        (p for p in outcomes["fit"] if p != "never"),
        key=lambda p: (_score(outcomes["fit"][p]).mean, -outcomes["fit"][p].tokens.mean()),
    )
    held = parts["held"]
    shape = (len(held), held.n, -1)
    quality = auroc_over_steps(
        {name: values[rows["held"]].reshape(shape)}, held.scores.reshape(shape[:2]), held.clusters
    )
    return LabReport(
        name=name,
        sign=sign,
        pairs=len(pairs["held"][0]),
        at_step=auroc(values[rows["held"]], pairs["held"]),
        so_far=auroc(means[rows["held"]], pairs["held"]),
        at_shares=tuple(so_far for so_far, _ in quality[name]),
        correlation=correlations(values, recording),
        best=Policy(
            best,
            _score(outcomes["fit"][best]),
            _tokens(outcomes["fit"][best]),
            _score(outcomes["held"][best]),
            _tokens(outcomes["held"][best]),
        ),
        tried=len(outcomes["fit"]) - 1,
        baseline=estimate(_first_scores(held), held.tasks, held.clusters),
        uncut=_score(outcomes["held"]["never"]),
    )


def _score(outcome: Replay) -> Estimate:
    return estimate(outcome.score, outcome.recording.tasks, outcome.recording.clusters)


def _tokens(outcome: Replay) -> float:
    return float(outcome.tokens.mean()) / outcome.recording.grid.size


def _first_scores(recording: Recording) -> Array:
    """The score of the lowest candidate id of each prompt, `[P]`: one sample, nothing selected."""
    rows = [recording.rows_of(p)[0] for p in range(len(recording))]
    scores: Array = recording.scores[rows]
    return scores
