"""Muon: momentum, orthogonalised (Jordan et al., 2024), for the matrices of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, steps: int = 5, half: bool = False) -> Tensor:
    """Push the singular values of ``[B, m, n]`` towards 1 by a quintic Newton-Schulz iteration.

    ``half`` iterates in bfloat16, which the iteration tolerates (it only aims at "about 1").
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if half else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is orthogonalised, for two-dimensional parameters.

    Parameters of one shape are stacked into one batched iteration, which on a CPU is where the
    time goes.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, half: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.half = half
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon takes matrices, not {list(parameter.shape)}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply one update; parameters without a gradient are left alone."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                updates = [self._momentum(p, group) for p in parameters]
                rows, cols = shape
                # A fused query-key-value projection is three matrices; one orthogonal matrix
                # across all three would tie their scales.
                parts = 3 if rows == 3 * cols else 1
                stacked = torch.stack(updates).view(-1, rows // parts, cols)
                stacked = orthogonalise(stacked, half=self.half).reshape(-1, rows, cols)
                scale = max(1.0, rows / parts / cols) ** 0.5
                for parameter, update in zip(parameters, stacked, strict=True):
                    parameter.add_(update, alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum"]
        assert parameter.grad is not None
        buffer.lerp_(parameter.grad, 1 - group["momentum"])
        return torch.lerp(parameter.grad, buffer, group["momentum"])
