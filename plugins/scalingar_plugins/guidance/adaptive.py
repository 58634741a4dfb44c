"""s_t: push harder where the prompt fades or confidence wavers, less where it comes back."""

from __future__ import annotations

from typing import Literal

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Guidance, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import candidate_field
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class GuidanceState:
    """The window, and what does not change during a decode.

    `history [N, n]`: the last n <= window values of I, in the order of a ring; None before the
    first. `ring`: for each place of the full window, 1 there and 0 elsewhere. `base`: s_base plus
    the gain of D, a scalar on the device (eq. 10 is s_base + alpha - alpha D + ...). `gains`: of D,
    Var(I) and R.
    """

    ring: tuple[Tensor, ...]
    base: Tensor
    gains: tuple[float, float, float]
    bounds: tuple[float, float]
    history: Tensor | None = candidate_field(default=None)


@frozen
class AdaptiveGuidance(Guidance[GuidanceState]):
    """s_t = s_base + alpha (1 - D_t) + beta Var(I) - gamma R_t (eq. 10), clamped.

    s_base is the scale of the model's preset or the user's. All gains 0 is constant guidance.

    Reads the signals "drift", "intrinsic" and "rebound". Where an estimator lacks one (paper does
    not specify): without D its term keeps alpha / 2, which is its mean under a normaliser that
    centres D at 0.5; without I no volatility is added; without R nothing is subtracted.
    """

    alpha: float = param(
        0.3,
        "gain of 1 - D: stronger where the prompt fades",
        source="eq. 10; Table 'Hyperparameters'",
        ge=0.0,
    )
    beta: float = param(
        0.4,
        "gain of Var(I): stronger where the intrinsic score is volatile",
        source="eq. 10; Table 'Hyperparameters'",
        ge=0.0,
    )
    gamma: float = param(
        0.4,
        "gain of R: weaker on a rebound (the table's lambda, 'diversity gain')",
        source="eq. 10; Table 'Hyperparameters'",
        ge=0.0,
    )
    window: int = param(
        32,
        "steps of the candidate's own I whose population variance is Var(I)",
        source="paper does not specify",
        ge=1,
    )
    mode: Literal["additive", "multiplicative"] = param(
        "additive",
        "whether the sum of the three terms is added to s_base, or s_base times the sum",
        source="Algorithm 1, line 12 (additive); the other form: paper does not specify",
        choices=("additive", "multiplicative"),
    )
    s_min: float | None = param(
        None, "the lowest scale; None is min(1, s_base)", source="paper does not specify"
    )
    s_max: float | None = param(
        None, "the highest scale; None is max(1, 2 s_base)", source="paper does not specify"
    )

    def __attrs_post_init__(self) -> None:
        if self.s_min is not None and self.s_max is not None and self.s_min > self.s_max:
            raise ScalingarError(f"s_min={self.s_min} must not be above s_max={self.s_max}.")

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        base = sampling.guidance
        low = min(1.0, base) if self.s_min is None else self.s_min
        high = max(1.0, 2.0 * base) if self.s_max is None else self.s_max
        if low > high:
            raise ScalingarError(
                f"The guidance scale has no room: s_min={low:g} is above s_max={high:g} at "
                f"guidance={base:g}. Give both, or neither."
            )
        return low, high

    def init(self, context: Context) -> GuidanceState:
        base = float(context.sampling.guidance)
        unit = base if self.mode == "multiplicative" else 1.0
        eye = torch.eye(self.window, device=context.device)
        return GuidanceState(
            ring=eye.unbind(0),
            base=torch.tensor(base + unit * self.alpha, device=context.device),
            gains=(unit * self.alpha, unit * self.beta, unit * self.gamma),
            bounds=self.bounds(context.sampling),
        )

    def update(
        self, state: GuidanceState, confidence: Confidence, step: Step
    ) -> tuple[Tensor, GuidanceState]:
        alpha, beta, gamma = state.gains
        signals, value = confidence.signals, confidence.value
        drift = signals["drift"] if "drift" in signals else torch.full_like(value, 0.5)
        scale = torch.sub(state.base, drift, alpha=alpha)
        history = None
        if "intrinsic" in signals:
            history = self._remember(state, signals["intrinsic"].unsqueeze(1), step.index)
            scale.add_(torch.var(history, -1, correction=0), alpha=beta)
        if "rebound" in signals:
            scale.sub_(signals["rebound"], alpha=gamma)
        scale.clamp_(*state.bounds)
        return scale, GuidanceState(state.ring, state.base, state.gains, state.bounds, history)

    def _remember(self, state: GuidanceState, newest: Tensor, index: int) -> Tensor:
        """The window with `newest [N, 1]`; the order within it does not matter to its variance."""
        if state.history is None:
            return newest
        if state.history.shape[1] < self.window:
            return torch.cat((state.history, newest), 1)
        # Weights 0 and 1: the oldest value is replaced, the others stay, exactly.
        return torch.lerp(state.history, newest, state.ring[index % self.window])
