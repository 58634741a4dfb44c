"""Adaptive termination (eq. 9): a threshold that follows the crowd, and a second chance."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Promises, Scope, Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Rows, candidate_field, prompt_field
from scalingar_fw.decoding.statistics import (
    ceil_share,
    constant,
    group_quantile,
    group_rank,
    rebound,
)
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class ProbationState:
    """Thresholds and probations.

    `threshold [P]`: theta, None until warm-up ends. `due [N]`: the step at which a flagged
    candidate's probation ends, inf for one that is not flagged. `low [N]`: its minimum of C since
    the flag, inf likewise. `never`: inf as a scalar on the device. `idle`: what is recorded while
    nothing is compared.
    """

    never: Tensor
    due: Tensor = candidate_field()
    low: Tensor = candidate_field()
    idle: dict[str, Tensor] = candidate_field()
    threshold: Tensor | None = prompt_field(default=None)


@frozen
class QuantileTermination(Termination[ProbationState]):
    """Flag a candidate whose C falls below its prompt's threshold; end it unless it recovers.

    When warm-up ends (step W_0 = ceil(warmup * T)), theta is the p-quantile of C over the prompt's
    live candidates, and is compared for the first time; then each step
    theta <- (1 - rate) theta + rate * quantile.

    - A live candidate with C_t < theta is flagged at step t. Its probation is that step and the
      `recovery_window` steps after it. A rebound of at least `recovery_threshold` clears the flag
      (a new one may be raised from the next step on); without one the candidate ends at the last
      step of its probation, wherever C then is.
    - `recovery_window` = 0 is Algorithm 1's short form "prune if C < theta and R < delta_rec", R
      being the state's (eq. 8): there is no probation whose minimum could be meant.
    - A probation cut short by T ends in survival, and at the last step nobody is ended: the image
      is complete.
    - A candidate that only `min_survivors` keeps stays flagged.

    Records `threshold`, and `flagged` and `recovered` as 0 or 1: whether the candidate is under a
    flag after this step, and whether this step cleared one.
    """

    scope: ClassVar[Scope] = "cohort"

    quantile: float = param(
        0.2,
        "p, the share of a prompt's live candidates below the threshold; 0 flags nobody",
        source="eq. 9; Table 'Hyperparameters'",
        ge=0.0,
        lt=1.0,
    )
    rate: float = param(
        0.2,
        "lambda_theta, the share of the newest quantile in the threshold's moving average",
        source="eq. 9; Table 'Hyperparameters'",
        gt=0.0,
        le=1.0,
    )
    warmup: float = param(
        0.125,
        "the share of the T steps, rounded up, in which nothing is compared",
        source="Table 'Hyperparameters'",
        ge=0.0,
        le=1.0,
    )
    recovery_window: int = param(
        32,
        "Delta_rec, the steps of probation after the flag; 0 decides at once",
        source="section 4.2.1; Table 'Hyperparameters'",
        ge=0,
    )
    recovery_share: float | None = param(
        None,
        "Delta_rec as a share of T, rounded up, in place of `recovery_window`: 1/32 is the paper's "
        "32 steps at its T = 1024 and follows T elsewhere",
        source="paper does not specify (one window for all T)",
        ge=0.0,
        le=1.0,
        instead_of="recovery_window",
    )
    recovery_threshold: float = param(
        0.05,
        "delta_rec, the relative rebound that clears a flag",
        source="section 4.2.1; Table 'Hyperparameters'",
        ge=0.0,
    )
    rebound_reference: Literal["flag", "start"] = param(
        "flag",
        "where the minimum in a probation's rebound starts: at the flag, or at the first token "
        "(the state's R_t, eq. 8)",
        source="paper does not specify",
        choices=("flag", "start"),
    )
    recovery_rule: Literal["any", "final"] = param(
        "any",
        "which rebound counts: that of any step of the probation, or of its last step only",
        source="paper does not specify",
        choices=("any", "final"),
    )
    min_survivors: int = param(
        1,
        "candidates of a prompt that are always kept: the highest C, then the lower candidate id",
        source="paper does not specify (1: the last live candidate is never pruned)",
        ge=1,
    )
    rebound_eps: float = param(1e-6, "eps of a probation's rebound", source="eq. 8", gt=0.0)

    def __attrs_post_init__(self) -> None:
        default = attrs.fields(QuantileTermination).recovery_window.default
        if self.recovery_share is not None and self.recovery_window != default:
            raise ScalingarError(
                f"recovery_window={self.recovery_window} reaches nothing beside recovery_share="
                f"{self.recovery_share:g}, which says the same as a share of T: set one of them "
                "(recovery_share=null, for a number of steps)."
            )

    def probation(self, total: int) -> int:
        """Delta_rec in steps, for an image of `total` tokens."""
        if self.recovery_share is None:
            return self.recovery_window
        return ceil_share(self.recovery_share, total)

    def init(self, context: Context) -> ProbationState:
        inf = context.full(math.inf)
        nothing = context.full(0.0)
        # Before the warm-up ends there is no threshold; with p = 0 it is -inf for ever.
        threshold = context.full(math.nan if self.quantile else -math.inf)
        return ProbationState(
            never=torch.tensor(math.inf, device=context.device),
            due=inf,
            low=inf,
            idle={"threshold": threshold, "flagged": nothing, "recovered": nothing},
        )

    def update(
        self, state: ProbationState, confidence: Confidence, step: Step
    ) -> tuple[Verdict, ProbationState]:
        t, rows, value = step.index, step.rows, confidence.value
        start, window = ceil_share(self.warmup, step.total), self.probation(step.total)
        if t < start or self.quantile == 0.0:
            return Verdict(trace=state.idle), state

        theta, threshold = self._threshold(state.threshold, value, rows)

        # Flag: a probation that runs already ends earlier than a new one would.
        due = torch.where(value < threshold, state.due.clamp_max(t + window), state.due)
        flagged = due < state.never

        # Recover: where no flag is, the minimum is C itself and the rebound 0.
        low = torch.minimum(state.low, value)
        if self.rebound_reference == "flag" and window:
            risen = rebound(value, low, self.rebound_eps)
        else:  # an estimator without a rebound never comes back
            risen = confidence.signals.get("rebound", torch.zeros_like(value))
        recovered = (risen >= constant(self.recovery_threshold)).logical_and_(flagged)
        if self.recovery_rule == "final":
            recovered = recovered.logical_and_(due <= constant(float(t)))
        flagged = flagged.logical_xor_(recovered)

        trace = {
            "threshold": threshold,
            "flagged": flagged.float(),
            "recovered": recovered.float(),
        }
        verdict = Verdict(trace=trace)
        # Host numbers first: they spare the read where nobody can be due or nobody may go.
        possible = start + window <= t < step.total - 1 and rows.slots.shape[1] > self.min_survivors
        if possible:
            expired = flagged & (due <= constant(float(t)))
            if not rows.single:
                expired = expired & (rows.live > self.min_survivors)[rows.group]
            if bool(expired.any()):
                verdict = Verdict(
                    terminate=self._spare(expired, value, rows),
                    status=Status.PRUNED,
                    reason=self._reason(window, "rebound" in confidence.signals),
                    trace=trace,
                )
        state = ProbationState(
            never=state.never,
            due=torch.where(flagged, due, state.never),
            low=torch.where(flagged, low, state.never),
            idle=state.idle,
            threshold=theta,
        )
        return verdict, state

    def promises(self, total: int) -> Promises:
        # A probation of Delta_rec steps follows the first flag, which warm-up's end may raise.
        first = ceil_share(self.warmup, total) + self.probation(total)
        return Promises(warmup=first, survivors=self.min_survivors)

    def _threshold(self, theta: Tensor | None, value: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Theta `[P]` with this step's quantile included, and as `[N]`."""
        quantile = group_quantile(value, rows, self.quantile)
        if rows.n_prompts == 1:
            theta = quantile if theta is None else torch.lerp(theta, quantile, self.rate)
            return theta, theta.expand(len(rows))
        # A prompt without live rows (its answer is known, or a sampler dropped it) keeps its theta.
        present = rows.prompt_index[rows.slots[:, 0]]
        if theta is None:
            theta = value.new_full((rows.n_prompts,), math.nan)
            newest = quantile
        else:
            newest = torch.lerp(theta[present], quantile, self.rate)
        theta = theta.index_copy(0, present, newest)
        return theta, theta[rows.prompt_index]

    def _spare(self, expired: Tensor, value: Tensor, rows: Rows) -> Tensor:
        """Whom of `expired` the minimum of survivors lets go: those who stay anyway come first,
        then the highest C, then the lower candidate id."""
        rank = group_rank(value.masked_fill(~expired, math.inf), rows)
        return expired & (rank >= self.min_survivors)

    def _reason(self, window: int, rebounds: bool) -> str:
        rise = f"{100 * self.recovery_threshold:g} %"
        if window == 0:
            risen = "a rebound of {rebound:.1%}" if rebounds else "no rebound"
            return (
                "confidence {confidence:.3f} was below the threshold {threshold:.3f}, with "
                f"{risen}, less than {rise} (Algorithm 1)"
            )
        # What counts is the rise from the low, not the side of the threshold on which it ends: the
        # sentence must be true, and read as true, on either side.
        when = "within" if self.recovery_rule == "any" else "after"
        return (
            f"its confidence fell below the threshold and did not rebound by {rise} from its low "
            f"{when} {window} steps, now {{confidence:.3f}} with the threshold at "
            "{threshold:.3f} (eq. 9)"
        )
