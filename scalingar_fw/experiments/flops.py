"""What a model's forward passes cost in FLOPs, counted on the adapter itself and not from a formula.

torch's `FlopCounterMode` counts matrix products, convolutions and attention, a multiplication and
an addition as two; what works element by element (norms, activations, softmax) is left out, as is
usual. Attention is counted as the two products it consists of, whichever kernel runs, so that the
count is the same on every device.

A row is a live candidate. Where a model has an unconditional branch, a row's work is that of both:
the ledger's forward rows count them singly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from attrs import frozen

from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Status
from scalingar_fw.errors import ScalingarError

_KNOWN: dict[Any, Flops] = {}


@frozen
class Flops:
    """FLOPs of one row of a model, all its branches included.

    `encode_prompt`: reading the prompt (a text encoder), once for each prompt; `prefill_row`: the
    forward pass over it, once for each prompt too (its candidates are copies); `first_step`,
    `last_step`: one model call that reads the first token and the last that is ever read, T - 2;
    `calls [T - 1]`: model calls that each step makes (more than one where forced tokens follow);
    `decode_image`: from tokens to one image.
    """

    encode_prompt: float
    prefill_row: float
    first_step: float
    last_step: float
    calls: tuple[int, ...]
    decode_image: float

    def step_row(self, step: int) -> float:
        """FLOPs of reading token `step` (0 to T - 2): exact at both ends and linear between, as
        attention over a growing cache is. The last token of an image is never read."""
        if not 0 <= step < len(self.calls):
            raise ValueError(f"step={step} must be in [0, {len(self.calls)}).")
        way = step / max(1, len(self.calls) - 1)
        return self.calls[step] * (self.first_step + way * (self.last_step - self.first_step))

    def candidate(self, length: int, forked_at: int = 0, status: str = "completed") -> float:
        """FLOPs of the steps that read a candidate's own tokens, prefill apart.

        Args:
            length: tokens on its path.
            forked_at: how many of them are its parent's.
            status: how it ended. The last token is not read, except where the candidate ended by
                not being continued: that is decided one step later.
        """
        end = length if status == Status.DROPPED.value else length - 1
        return sum(self.step_row(step) for step in range(forked_at, min(end, len(self.calls))))

    def decode(self, prompts: int, candidates: Iterable[tuple[int, int, str]]) -> float:
        """FLOPs of the model over one decode of `prompts` prompts.

        `candidates`: length, forked_at and status of each, as in `candidate`.
        """
        whole = prompts * (self.encode_prompt + self.prefill_row)
        return whole + sum(self.candidate(*one) for one in candidates)


def counted(call: Callable[[], Any]) -> tuple[float, Any]:
    """FLOPs of `call()` and what it returned."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The fused kernels of a CPU have no formula; the plain one is two counted products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        out = call()
    return float(counter.get_total_flops()), out


def model_flops(model: ModelAdapter, prompt: Prompt | None = None) -> Flops:
    """Measure `model` once: an image's worth of steps with one candidate.

    Args:
        model: any adapter; measured again only if its name, weights, grid, branches or dtype differ.
        prompt: one that the model can read, where it reads neither "a red circle" nor class 0.

    Raises:
        ScalingarError: the model reads no such prompt; it says why.
    """
    where = (type(model), model.name, model.fingerprint(), model.grid, model.branches, model.dtype)
    if where not in _KNOWN:
        _KNOWN[where] = _measure(model, prompt)
    return _KNOWN[where]


def _encode(model: ModelAdapter, prompt: Prompt | None) -> tuple[float, Any]:
    usual = [Prompt("a red circle"), Prompt(class_id=0)]
    refused = None
    for one in usual if prompt is None else [prompt]:
        try:
            return counted(lambda one=one: model.encode([one]))  # type: ignore[misc]
        except ScalingarError as error:
            refused = error
    assert refused is not None
    raise ScalingarError(f"No prompt to count the FLOPs of {model.name!r} with: {refused}")


def _measure(model: ModelAdapter, prompt: Prompt | None) -> Flops:
    total = model.grid.size
    with torch.inference_mode():
        encoded, conditioning = _encode(model, prompt)
        prefilled, (cache, _) = counted(lambda: model.prefill(conditioning, 1))
        first = last = 0.0
        token = torch.zeros(1, dtype=torch.int64, device=model.device)
        for step in range(total - 1):
            # Between the ends nothing is counted: counting a step takes longer than the step.
            if step in (0, total - 2):
                flops, _ = counted(lambda step=step: model.step(cache, token, step))  # type: ignore[misc]
                last = flops / model.calls(step)
                first = last if step == 0 else first
            else:
                model.step(cache, token, step)
        image, _ = counted(
            lambda: model.decode_images(
                torch.zeros(1, total, dtype=torch.int64, device=model.device)
            )
        )
    calls = tuple(model.calls(step) for step in range(total - 1))
    return Flops(encoded, prefilled, first, last, calls, image)
