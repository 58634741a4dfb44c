"""The signal lab: its numbers against independent ones, and the signals that it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scalingar_analysis.commands.lab import document
from scalingar_analysis.lab import lab
from scalingar_analysis.lab.stepwise import evaluate
from scalingar_analysis.statistics.holdout import halves
from scalingar_fw.errors import ContractError, ScalingarError


def likelihood(steps):
    return steps["log_prob_cond"]


def test_a_signal_that_the_judge_goes_by_separates_and_a_constant_does_not(judged) -> None:
    report = lab.examine(likelihood, judged(), "likelihood")
    assert report.sign == 1
    assert report.so_far[-1] == 1.0, "right is whoever has the higher mean"
    assert report.correlation["log_prob_cond"] == pytest.approx(1.0)
    flat = lab.examine(lambda steps: 0 * steps["kl"], judged(), "flat")
    assert (flat.so_far == 0.5).all()
    assert np.isnan(flat.correlation["kl"])


def test_a_signal_of_which_less_is_better_is_turned_round(judged) -> None:
    report = lab.examine(lambda steps: -steps["log_prob_cond"], judged(), "surprise")
    assert report.sign == -1
    assert report.so_far[-1] == 1.0
    assert report.correlation["log_prob_cond"] == pytest.approx(1.0), "after turning"


def test_auroc_is_the_share_of_pairs_in_the_right_order(judged) -> None:
    recording = judged()
    values = recording.signals["margin"].astype(float)
    by_hand = []
    for step in range(recording.grid.size):
        wins = pairs = 0.0
        for prompt in range(len(recording)):
            rows = recording.rows_of(prompt)
            for good in rows[recording.scores[rows] > 0.5]:
                for bad in rows[recording.scores[rows] <= 0.5]:
                    gap = values[good, step] - values[bad, step]
                    wins += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
                    pairs += 1
        by_hand.append(wins / pairs)
    assert lab.auroc(values, lab.pairs_within(recording)) == pytest.approx(by_hand)


def test_the_table_and_the_curve_are_of_one_kind(judged) -> None:
    report = lab.examine(lambda steps: steps["margin"], judged(48), "margin")
    at = [report.so_far[count - 1] for count in (2, 4, 8, 12, 16)]
    assert [q.value for q in report.at_shares] == pytest.approx(at)
    assert all(q.low <= q.value <= q.high for q in report.at_shares)


def test_correlation_is_between_candidates_of_a_prompt(judged) -> None:
    recording = judged()
    values = recording.signals["entropy"].astype(float)
    # What differs between prompts only must not count.
    shifted = values + 100.0 * recording.prompt[:, None]
    one, other = (lab.correlations(v, recording)["margin"] for v in (values, shifted))
    assert one == pytest.approx(other, abs=1e-6)
    means = [v.mean(1) for v in (values, recording.signals["margin"].astype(float))]
    rows = [recording.rows_of(p) for p in range(len(recording))]
    centred = [np.concatenate([m[r] - m[r].mean() for r in rows]) for m in means]
    assert one == pytest.approx(np.corrcoef(*centred)[0, 1])


def test_the_best_policy_is_chosen_on_one_half_and_confirmed_on_the_other(judged) -> None:
    recording = judged()
    report = lab.examine(likelihood, recording, "likelihood")
    fit, held = halves(recording, 0.5, 0)
    assert set(fit) | set(held) == set(range(len(recording)))
    assert report.best.fitted.items == len(fit)
    assert report.best.confirmed.items == report.uncut.items == len(held)
    assert 1.0 <= report.best.confirmed_tokens <= recording.n
    assert report.best.name.split()[0] in ("halving", "quantile")
    # The judge's own number, read to the end, finds a right candidate wherever there is one.
    most = [recording.scores[recording.rows_of(p)].max() for p in held]
    tasks = [recording.tasks[p] for p in held]
    by_task = [np.mean([m for m, t in zip(most, tasks, strict=True) if t == u]) for u in set(tasks)]
    assert report.uncut.mean == pytest.approx(np.mean(by_task))


def test_the_document_is_json_that_anybody_reads(judged) -> None:
    report = lab.examine(lambda steps: 0 * steps["kl"], judged(), "flat")
    back = json.loads(json.dumps(document(report), allow_nan=False))
    assert len(back["auroc"]["so_far"]) == 16


@pytest.mark.parametrize(
    ("signal", "complaint"),
    [
        (lambda s: s["kl"] - s["kl"].mean(1, keepdims=True), "looks ahead"),
        (lambda s: s["kl"][:, ::-1], "looks ahead"),
        (lambda s: s["kl"][:, :1], r"returned the shape \(72, 1\); it must be \(72, 16\)"),
        (lambda s: s["kl"] / 0.0, "not finite at step 0"),
        (lambda s: s["kl"].nonsense, "failed: AttributeError"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide|invalid)")
def test_a_signal_that_no_policy_could_read_is_refused(judged, signal, complaint) -> None:
    with pytest.raises(ContractError, match=complaint):
        lab.examine(signal, judged(), "mine")


def test_a_signal_that_was_not_recorded_is_named_with_those_that_were(judged) -> None:
    with pytest.raises(ScalingarError, match="'colour', which was not recorded.*entropy, margin"):
        lab.examine(lambda s: s["colour"], judged(), "mine")


def test_tokens_and_the_grid_are_there_to_be_read(judged) -> None:
    def same_as_above(steps):
        out = np.zeros(steps.tokens.shape)
        cols = steps.grid.cols
        out[:, cols:] = steps.tokens[:, cols:] == steps.tokens[:, :-cols]
        return out

    values = evaluate(same_as_above, judged(), "same as above")
    assert set(np.unique(values)) == {0.0, 1.0}
