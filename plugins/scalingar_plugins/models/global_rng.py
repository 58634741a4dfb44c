"""The official scripts' randomness: one stream for all rows, drawn from at each step.

For reproducing published samples token by token. The framework's default is keyed noise, under
which a candidate's tokens do not depend on who else is decoded; here they do, by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Sampler, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling, truncate
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class Stream:
    """Where the generator stands after the last step; shared by all rows, so `take` leaves it."""

    position: Tensor | None = None  # torch's generator state, uint8


@frozen
class GlobalMultinomial(Sampler[Stream]):
    """One `torch.multinomial` per step over all live rows, from a generator seeded by the run.

    The generator is made anew at each step from the state that the last one left: nothing global
    is read or changed, and a copied state continues identically. Equal to an official script that
    calls `torch.manual_seed(seed)` and draws once per step, for the same rows in the same order on
    the same kind of device, until a row is pruned.
    """

    scope = "cohort"  # and beyond: a row's draw depends on every row before it
    #: What `run.json` says of a run's randomness.
    noise: ClassVar[str] = "one torch.Generator for all rows, seeded by the run"

    expected_failures: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("sampler-prompts-apart", "sampler-order", "sampler-take-update"),
        "one stream for all rows, as the official scripts have it",
    )

    def init(self, context: Context) -> Stream:
        return Stream()

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor:
        return torch.log_softmax(truncate(guided.logits, sampling), -1)

    def propose(
        self, state: Stream, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Stream]:
        if sampling.temperature == 0.0:
            return Proposal(guided.logits.argmax(-1)), state
        generator = torch.Generator(guided.logits.device)
        if state.position is None:
            generator.manual_seed(_one_seed(step))
        else:
            generator.set_state(state.position)
        log_p = self.drawn_from(guided, sampling)
        token = torch.multinomial(log_p.exp(), 1, generator=generator)
        return Proposal(token[:, 0]), Stream(generator.get_state())


def _one_seed(step: Step) -> int:
    seeds = set(step.seeds)
    if len(seeds) > 1:
        raise ScalingarError(
            "The sampler 'global-multinomial' has one stream for the whole batch, so it takes one "
            f"seed, not {len(seeds)}: decode these prompts apart, or use the keyed sampler."
        )
    return seeds.pop() if seeds else 0
