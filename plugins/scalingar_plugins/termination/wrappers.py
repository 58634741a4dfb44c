"""Termination wrappers: rules that hold whatever policy is inside.

The policy inside sees every step, so its own statistics are what they would be without a wrapper;
the wrapper decides which of its verdicts count. Whom the policy wanted to end and the wrapper
keeps is live as before, and the policy may name it again. A wrapper never empties a prompt, and it
composes with others by nesting; a token budget must be outermost, where nothing can overrule it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Promises, Scope, Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param, part
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Rows, candidate_field
from scalingar_fw.decoding.statistics import group_rank
from scalingar_fw.decoding.strategy import NeverTerminate
from scalingar_fw.decoding.wrapper import Wrapper
from scalingar_fw.errors import ContractError, ScalingarError

_INSIDE = "the policy whose verdicts count under this rule"


def survivors(wanted: Tensor, confidence: Confidence, rows: Rows, count: Tensor | int) -> Tensor:
    """`wanted [N]` without those who are needed for `count` survivors of each prompt.

    Those whom nobody wants to end survive anyway; then the highest C, then the lower candidate id.
    `count`: a number, or `[G]`, one for each prompt.
    """
    rank = group_rank(confidence.value.masked_fill(~wanted, math.inf), rows)
    needed = count if isinstance(count, int) else count[rows.group]
    return wanted & (rank >= needed)


def nobody(rows: Rows) -> Tensor:
    """`[N]` False."""
    return torch.zeros(len(rows), dtype=torch.bool, device=rows.group.device)


def init_inside(wrapper: Any, context: Context) -> Any:
    """The memory of the policy inside; refuses a cap on tokens that the wrapper would lift."""
    total = context.grid.size
    capped = wrapper.policy.promises(total).tokens is not None
    if capped and wrapper.promises(total).tokens is None:
        name, inner = type(wrapper).__name__, type(wrapper.policy).__name__
        raise ScalingarError(
            f"{name} around {inner} would keep candidates alive whom the budget ends, so the budget "
            f"would be passed: put {inner} outside and {name} in its `policy`."
        )
    return wrapper.policy.init(context)


def worded(verdict: Verdict, reason: str) -> str:
    """The policy's sentence with the wrapper's in front."""
    return f"{reason}: {verdict.reason}"


class PolicyWrapper(Wrapper):
    """What a rule does not decide, the policy inside does."""

    inside = "policy"


@frozen
class Warmup(PolicyWrapper, Termination[Any]):
    """Nobody is ended in the first share of the steps."""

    scope: ClassVar[Scope] = "cohort"

    share: float = param(
        0.125,
        "share of the T steps (rounded up) without terminations",
        source="method.md: W_0 = ceil(0.125 T)",
        ge=0.0,
        le=1.0,
    )
    policy: Termination[Any] = part(NeverTerminate, _INSIDE)

    def init(self, context: Context) -> Any:
        return init_inside(self, context)

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        verdict, state = self.policy.update(state, confidence, step)
        if step.index < self._steps(step.total):
            verdict = evolve(verdict, terminate=None)
        return verdict, state

    def _steps(self, total: int) -> int:
        return math.ceil(self.share * total - 1e-9)

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total)
        return Promises(max(inside.warmup, self._steps(total)), inside.survivors)


@frozen
class EverySteps(PolicyWrapper, Termination[Any]):
    """Verdicts count at each `every`-th step only: t = every - 1, 2 every - 1, ..."""

    scope: ClassVar[Scope] = "cohort"

    every: int = param(8, "k: steps between two decisions", ge=1)
    policy: Termination[Any] = part(NeverTerminate, _INSIDE)

    def init(self, context: Context) -> Any:
        return init_inside(self, context)

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        verdict, state = self.policy.update(state, confidence, step)
        if (step.index + 1) % self.every:
            verdict = evolve(verdict, terminate=None)
        return verdict, state

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total)
        return Promises(max(inside.warmup, self.every - 1), inside.survivors)


@frozen(eq=False)
class Probation:
    """`due [N]`: the step at which a flagged row's window ends, -1 where none is flagged.
    `low [N]`: the lowest C since the flag."""

    inner: Any = candidate_field()
    due: Tensor = candidate_field()
    low: Tensor = candidate_field()


@frozen
class RecoveryWindow(PolicyWrapper, Termination[Probation]):
    """Whom the policy would end is flagged, and ended only without a rebound in the window.

    The rebound is (C - Cmin) / (|Cmin| + eps) with Cmin the lowest C since the flag. A rebound of
    at least `threshold` clears the flag; the policy may raise it again at a later step. A window
    that the last token cuts short ends in survival. With `window` = 0 the policy decides alone.
    """

    scope: ClassVar[Scope] = "cohort"

    window: int = param(32, "steps that a flagged candidate has to recover", source="eq. 9", ge=0)
    threshold: float = param(0.05, "rebound that clears a flag", source="eq. 9 (delta_rec)", ge=0.0)
    epsilon: float = param(1e-6, "keeps the rebound finite", source="eq. 8", gt=0.0)
    policy: Termination[Any] = part(NeverTerminate, _INSIDE)

    def init(self, context: Context) -> Probation:
        never = context.full(-1).long()
        return Probation(init_inside(self, context), never, context.full(math.inf))

    def update(
        self, state: Probation, confidence: Confidence, step: Step
    ) -> tuple[Verdict, Probation]:
        verdict, inner = self.policy.update(state.inner, confidence, step)
        if self.window == 0:
            return verdict, evolve(state, inner=inner)
        value, t = confidence.value, step.index
        flagged = state.due >= 0
        low = torch.where(flagged, torch.minimum(state.low, value), math.inf)
        rebound = torch.where(flagged, (value - low) / (low.abs() + self.epsilon), 0.0)
        recovered = flagged & (rebound >= self.threshold)
        flagged = flagged & ~recovered
        due = torch.where(flagged, state.due, -1)
        gone = survivors(flagged & (due == t), confidence, step.rows, 1)
        spared = flagged & (due == t) & ~gone  # the last of its prompt: a new chance
        due = torch.where(spared, -1, due)
        low = torch.where(due >= 0, low, math.inf)
        if verdict.terminate is not None:
            raised = verdict.terminate & (due < 0) & ~gone & ~recovered
            due = torch.where(raised, t + self.window, due)
            low = torch.where(raised, value, low)
        out = evolve(
            verdict,
            terminate=gone,
            reason=worded(verdict, f"no recovery within {self.window} steps of being flagged"),
            trace={
                **verdict.trace,
                "flagged": (due >= 0).float(),
                "recovered": recovered.float(),
            },
            exceptions=(),
        )
        return out, Probation(inner, due, low)

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total)
        # Several windows may end together, so the policy's own minimum does not carry over.
        return inside if self.window == 0 else Promises(inside.warmup)


@frozen(eq=False)
class Streak:
    """`count [N]`: steps in a row, up to now, at which the policy wanted to end a row."""

    inner: Any = candidate_field()
    count: Tensor = candidate_field()


@frozen
class Patience(PolicyWrapper, Termination[Streak]):
    """A candidate is ended where the policy has wanted it at `steps` steps in a row."""

    scope: ClassVar[Scope] = "cohort"

    steps: int = param(4, "consecutive verdicts that it takes; 1 is the policy alone", ge=1)
    policy: Termination[Any] = part(NeverTerminate, _INSIDE)

    def init(self, context: Context) -> Streak:
        return Streak(init_inside(self, context), context.full(0).long())

    def update(self, state: Streak, confidence: Confidence, step: Step) -> tuple[Verdict, Streak]:
        verdict, inner = self.policy.update(state.inner, confidence, step)
        if verdict.terminate is None:
            return verdict, Streak(inner, torch.zeros_like(state.count))
        count = torch.where(verdict.terminate, state.count + 1, 0)
        gone = survivors(count >= self.steps, confidence, step.rows, 1)
        if self.steps > 1:
            reason = worded(verdict, f"for {self.steps} steps in a row")
            verdict = evolve(verdict, reason=reason)
        return evolve(verdict, terminate=gone), Streak(inner, count)

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total)
        return Promises(max(inside.warmup, self.steps - 1), inside.survivors)


@frozen
class MinSurvivors(PolicyWrapper, Termination[Any]):
    """At least `count` candidates of each prompt live on: those with the highest C, then the
    lower candidate id."""

    scope: ClassVar[Scope] = "cohort"

    count: int = param(2, "candidates of a prompt that are never ended", ge=1)
    policy: Termination[Any] = part(NeverTerminate, _INSIDE)

    def init(self, context: Context) -> Any:
        return init_inside(self, context)

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        verdict, state = self.policy.update(state, confidence, step)
        if verdict.terminate is not None:
            gone = survivors(verdict.terminate, confidence, step.rows, self.count)
            verdict = evolve(verdict, terminate=gone)
        return verdict, state

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total)
        return Promises(inside.warmup, max(inside.survivors, self.count))


@frozen(eq=False)
class Purse:
    """`spent [N]`: tokens that the row's prompt has used up to now, its ended rows included."""

    inner: Any = candidate_field()
    spent: Tensor = candidate_field()


@frozen
class TokenBudget(PolicyWrapper, Termination[Purse]):
    """A hard cap on the tokens of a prompt, T of which belong to one survivor.

    The policy inside spends the rest: whoever it keeps goes on, as long as the next token of all
    live candidates leaves the survivor's remaining tokens untouched. Then those with the lowest C
    end, out of budget (ties: the higher candidate id first).

    A sampler may fill its search at the first step, however wide it is; after that it must not
    have more rows than it was left with (`Sampler.most_rows`), which is refused before the first
    token where the sampler says so. Where one adds rows without saying it and the reserve is
    touched, the decode stops with an error; the cap is never passed in silence.
    """

    scope: ClassVar[Scope] = "cohort"

    budget: float = param(2.5, "tokens of a prompt, in units of T", ge=1.0)
    policy: Termination[Any] = part(NeverTerminate, "decides who spends what is not reserved")

    def init(self, context: Context) -> Purse:
        total = context.grid.size
        cap, most = self.cap(total), context.most_rows
        if most is None:
            raise ScalingarError(
                f"budget={self.budget}: the sampler may add rows at any step, so no budget can be "
                "kept. A beam search does where it is wider than the vocabulary "
                f"({context.vocab_size} tokens): use a smaller width, or no budget."
            )
        if most + total - 1 > cap:
            raise ScalingarError(
                f"budget={self.budget} ({cap} tokens) is too small for {most} candidates: their "
                f"first token and the rest of one are {most + total - 1} tokens. Use fewer "
                f"candidates (or beams), or a budget of at least {(most + total - 1) / total:.4f}."
            )
        return Purse(self.policy.init(context), context.full(0).long())

    def cap(self, total: int) -> int:
        """The budget in tokens, for images of `total`."""
        return math.floor(self.budget * total + 1e-9)

    def update(self, state: Purse, confidence: Confidence, step: Step) -> tuple[Verdict, Purse]:
        verdict, inner = self.policy.update(state.inner, confidence, step)
        rows = step.rows
        first = rows.slots[:, 0]
        spent = state.spent[first] + rows.live  # [G]
        state = Purse(inner, spent[rows.group])
        if step.index + 1 >= step.total:
            return verdict, state
        # After the next token of `room` rows, one survivor needs the tokens that are then left.
        room = (self.cap(step.total) - spent - (step.total - step.index - 2)).clamp_min(1)
        ended = nobody(rows) if verdict.terminate is None else verdict.terminate
        rank = group_rank(confidence.value.masked_fill(ended, -math.inf), rows)
        broke = ~ended & (rank >= room[rows.group])
        touched = spent + (step.total - step.index - 1) > self.cap(step.total)
        any_broke, any_touched = torch.stack([broke.any(), touched.any()]).tolist()
        if any_touched:
            raise ContractError(
                f"The sampler's rows at step {step.index} leave less of the budget of "
                f"{self.cap(step.total)} tokens than one image needs: it has more rows than it was "
                "left with. Use a larger budget, or another sampler."
            )
        if not any_broke:
            return verdict, state
        spend = Verdict(
            broke,
            Status.OUT_OF_BUDGET,
            f"the budget of {self.cap(step.total)} tokens was spent: only the most confident "
            "candidate could go on",
        )
        out = evolve(verdict, terminate=ended | broke, exceptions=(spend, *verdict.exceptions))
        return out, state

    def promises(self, total: int) -> Promises:
        inside = self.policy.promises(total).tokens
        cap = self.cap(total)
        return Promises(tokens=cap if inside is None else min(cap, inside))
