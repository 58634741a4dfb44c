"""Was it right to end them? Every candidate that a policy ends, and what it would have become.

On a recording of complete, judged candidates, the policy is replayed; what the ended ones would
have come to is known. Ending a candidate is read as the claim "this one will be wrong".
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from scalingar_analysis.recordings.recording import Recording
from scalingar_analysis.replay.replay import Replay, replay
from scalingar_analysis.statistics.intervals import Estimate, estimate_difference
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.strategy import NeverTerminate, Strategy
from scalingar_fw.errors import ScalingarError


@frozen
class Ending:
    """A candidate that was ended after `tokens` tokens; `right`: it would have ended correct.

    `last_right`: it was the last live candidate of its prompt that would have ended correct.
    """

    prompt: int
    candidate: int
    tokens: int
    status: str
    reason: str
    right: bool
    last_right: bool


@frozen(eq=False)
class Autopsy:
    """`outcome`: under the policy; `unpruned`: the same strategy with every candidate completed."""

    outcome: Replay = field(repr=False)
    unpruned: Replay = field(repr=False)

    @property
    def recording(self) -> Recording:
        return self.outcome.recording

    @property
    def right(self) -> Array:
        """Who ends correct, or would have, `[N]` bool."""
        found: Array = self.recording.scores > 0.5
        return found

    @functools.cached_property
    def endings(self) -> list[Ending]:
        """Everyone who was ended, by step, then prompt and candidate."""
        outcome, recording = self.outcome, self.recording
        rows = np.flatnonzero(~outcome.completed)
        rows = rows[np.argsort(outcome.lengths[rows], kind="stable")]
        # The last step at which a correct candidate of the prompt was live, and how many go there.
        last = np.full(len(recording), -1)
        np.maximum.at(last, recording.prompt[self.right], outcome.lengths[self.right])
        kept = np.zeros(len(recording), dtype=bool)
        kept[recording.prompt[self.right & outcome.completed]] = True
        return [
            Ending(
                prompt=int(recording.prompt[r]),
                candidate=int(recording.candidate[r]),
                tokens=int(outcome.lengths[r]),
                status=outcome.statuses[r].value,
                reason=outcome.reasons[r],
                right=bool(self.right[r]),
                last_right=bool(
                    self.right[r]
                    and not kept[recording.prompt[r]]
                    and outcome.lengths[r] == last[recording.prompt[r]]
                ),
            )
            for r in rows
        ]

    def over_steps(self) -> dict[str, Array]:
        """By number of tokens t = 1 ... T, `[T]` each.

        `ended`: candidates ended after at most t tokens. `precision`: the share of these that would
        have ended wrong, NaN before the first. `recall`: the share of all wrong ones that are among
        these. `lost`: the share of prompts that had a correct candidate and have none left.
        `regret`: what the endings up to t alone cost the answers' score, everyone else completed.
        """
        outcome, recording, right = self.outcome, self.recording, self.right
        total, prompts = recording.grid.size, len(recording)
        early = ~outcome.completed

        def by_tokens(rows: Array) -> Array:
            counts: Array = np.bincount(outcome.lengths[rows], minlength=total + 1)[1:].cumsum()
            return counts

        ended, wrong = by_tokens(early), by_tokens(early & ~right)
        alive_until = np.zeros(prompts, dtype=np.int64)
        # A completed candidate is never lost, so it counts as alive beyond the last token.
        lives = np.where(outcome.completed, total + 1, outcome.lengths)
        np.maximum.at(alive_until, recording.prompt[right], lives[right])
        gone = alive_until[(alive_until > 0) & (alive_until <= total)]
        lost = np.bincount(gone, minlength=total + 1)[1:].cumsum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "tokens": np.arange(1, total + 1),
                "ended": ended,
                "precision": wrong / ended,
                "recall": wrong / (~right).sum(),
                "lost": lost / prompts,
                "regret": self._regret_over_steps(),
            }

    def _regret_over_steps(self) -> Array:
        """The mean over tasks of the unpruned answer's score minus that of whom the selector picks
        among those who were not ended after at most t tokens, `[T]`.

        All are seen with the signals of their completed selves, so that for an estimator that
        looks at other live candidates the last value may differ from `regret`.
        """
        outcome, recording = self.outcome, self.recording
        gaps = np.zeros((len(recording), recording.grid.size))
        for prompt in range(len(recording)):
            rows = recording.rows_of(prompt)
            ended = rows[~outcome.completed[rows]]
            for t in np.unique(outcome.lengths[ended]):
                left = rows[outcome.completed[rows] | (outcome.lengths[rows] > t)]
                answer = self.unpruned.choose(prompt, left)
                gaps[prompt, t - 1 :] = self.unpruned.score[prompt] - recording.scores[answer]
        tasks = np.array(recording.tasks)
        means: Array = np.mean([gaps[tasks == t].mean(0) for t in dict.fromkeys(tasks)], axis=0)
        return means

    @property
    def base_rate(self) -> float:
        """The share of wrong candidates: the precision of ending anybody at random."""
        return float((~self.right).mean())

    @property
    def regret(self) -> Estimate:
        """What ending candidates cost the answers: the score of the answer among all complete
        candidates minus that of the answer among survivors. Negative where pruning helps."""
        gaps = self.unpruned.score - self.outcome.score
        return estimate_difference(gaps, self.recording.tasks, self.recording.clusters)

    def summary(self) -> dict[str, Any]:
        """The numbers at the end, as plain data."""
        curve = self.over_steps()
        regret = self.regret
        wrongly = sum(e.right for e in self.endings)
        return {
            "candidates": len(self.right),
            "ended": int(curve["ended"][-1]),
            "ended_that_were_right": wrongly,
            "precision": _number(curve["precision"][-1]),
            "precision_of_chance": self.base_rate,
            "recall": _number(curve["recall"][-1]),
            "prompts_that_lost_all_right": float(curve["lost"][-1]),
            "regret": {
                "mean": regret.mean,
                "low": _number(regret.low),
                "high": _number(regret.high),
            },
        }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)


def autopsy(strategy: Strategy, recording: Recording) -> Autopsy:
    """Replay `strategy` and look at everyone whom it ends.

    Raises:
        ScalingarError: the candidates were not judged, or the strategy cannot be replayed.
    """
    if not recording.scored:
        raise ScalingarError(
            f"{recording.source} holds no scores, so nobody knows who would have ended correct: "
            "record the prompts of a benchmark (scalingar record --benchmark ...)."
        )
    outcome = replay(strategy, recording)
    everybody = evolve(strategy, termination=NeverTerminate())
    return Autopsy(outcome, replay(everybody, recording))
