"""Contracts of what estimators, guidance, termination policies and samplers return."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from attrs import evolve

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import Promises
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.errors import ContractError
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import Broken, check
from scalingar_fw.testing.play import Player
from scalingar_fw.testing.stepping import player

CPU = torch.device("cpu")


# --- estimators --------------------------------------------------------------------------------


@check("finite", "estimator")
def confidence_is_finite_and_in_range(kind: str, component: Any, case: Case) -> None:
    """Confidences are finite and in their declared ranges, whatever the logits.

    One NaN makes every comparison false: nobody is ever pruned, or the wrong candidate wins,
    without an error. Ties, one permitted token, a distribution without entropy and 16-bit
    overflow all happen in real runs.
    """
    owner = contracts.name_of(component)
    ranges = component.ranges

    def accept(play: Player, what: str, said: Any, step: Any, inputs: Any) -> None:
        contracts.check_confidence(owner, _as_float32(said), step.rows, ranges, CPU)

    player(kind, component, case, accept=accept).run()


def _as_float32(confidence: Any) -> Any:
    """The same numbers; their type is another check's business."""
    if not isinstance(confidence, Confidence):
        return confidence
    return Confidence(
        confidence.value.float(),
        {name: value.float() for name, value in confidence.signals.items()},
    )


@check("float32", "estimator", "guidance")
def signals_are_float32(kind: str, component: Any, case: Case) -> None:
    """Signals and scales are float32 on the input's device, one number for each live row.

    Whatever the model's own precision: half-precision confidences tie where they should not, and
    double ones cost twice the memory and do not exist on every device.
    """
    owner = contracts.name_of(component)

    def accept(play: Player, what: str, said: Any, step: Any, inputs: Any) -> None:
        if kind == "guidance":
            _vector_of(owner, "the scale", said, step.rows)
            return
        if not isinstance(said, Confidence):
            raise Broken(f"{owner} returned a {type(said).__name__}: use Confidence.of.")
        for name, value in said.recorded().items():
            _vector_of(owner, name, value, step.rows)

    player(kind, component, case, accept=accept).run()


def _vector_of(owner: str, name: str, value: Any, rows: Any) -> None:
    if not isinstance(value, torch.Tensor) or tuple(value.shape) != (len(rows),):
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise Broken(f"{owner}: {name} is {shape}; it must be a tensor ({len(rows)},).")
    if value.dtype is not torch.float32 or value.device.type != CPU.type:
        raise Broken(f"{owner}: {name} is {value.dtype} on {value.device}, not float32 on {CPU}.")


# --- guidance ----------------------------------------------------------------------------------


@check("bounds", "guidance")
def scale_is_finite_and_bounded(kind: str, component: Any, case: Case) -> None:
    """Guidance scales are finite and within the schedule's own `bounds`.

    Guidance has an interior optimum: a scale that runs away burns every later token of the
    picture, and an infinite one gives logits that nothing can be sampled from.
    """
    owner = contracts.name_of(component)
    bounds = component.bounds(case.sampling)

    def accept(play: Player, what: str, said: Any, step: Any, inputs: Any) -> None:
        if isinstance(said, torch.Tensor):
            contracts.check_scale(owner, said.float(), step.rows, bounds, CPU)

    player(kind, component, case, accept=accept).run()


# --- termination -------------------------------------------------------------------------------


def _verdicts(kind: str, component: Any, case: Case, accept: Any) -> None:
    def every(play: Player, what: str, said: Any, step: Any, inputs: Any) -> None:
        if step.index + 1 < step.total:  # at the last step every image is complete
            accept(said, step)

    player(kind, component, case, accept=every).run()


@check("keeps-one", "termination")
def no_prompt_is_emptied(kind: str, component: Any, case: Case) -> None:
    """Termination never empties a prompt.

    A prompt without candidates has no picture, and the run stops after most of its cost is spent.
    """
    owner = contracts.name_of(component)
    _verdicts(
        kind,
        component,
        case,
        lambda said, step: contracts.check_survivors(
            owner, said.terminate, step.rows, step.index, Promises()
        ),
    )


@check("warmup", "termination")
def warmup_is_kept(kind: str, component: Any, case: Case) -> None:
    """Nobody is ended in the promised warm-up.

    The first tokens say little about a picture; pruning on them is pruning by chance. Policies
    state their warm-up in `promises`, where users and tools read it.
    """
    owner = contracts.name_of(component)
    quiet = component.promises(case.total).warmup
    _verdicts(
        kind,
        component,
        case,
        lambda said, step: (
            contracts.check_survivors(
                owner, said.terminate, step.rows, step.index, Promises(warmup=quiet, survivors=0)
            )
            if said.terminate is None or not _empties(said.terminate, step.rows)
            else None
        ),
    )


@check("survivors", "termination")
def survivors_are_kept(kind: str, component: Any, case: Case) -> None:
    """The promised minimum of survivors is never undercut.

    A selector with one candidate left has nothing to select from: the minimum is what keeps
    best-of-n alive behind a pruning policy.
    """
    owner = contracts.name_of(component)
    promised = Promises(survivors=component.promises(case.total).survivors)
    _verdicts(
        kind,
        component,
        case,
        lambda said, step: (
            contracts.check_survivors(owner, said.terminate, step.rows, step.index, promised)
            if said.terminate is None or not _empties(said.terminate, step.rows)
            else None
        ),
    )


def _empties(terminate: Any, rows: Any) -> bool:
    """Whether some prompt would lose all rows: what `keeps-one` is for."""
    gone = terminate.cpu().numpy()
    return len(np.unique(rows.prompt[~gone])) < len(np.unique(rows.prompt))


def _no_cap(policy: Any) -> str | None:
    return "it promises no cap on tokens" if policy.promises(64).tokens is None else None


@check("budget", "termination", applies=_no_cap)
def promised_budget_is_kept(kind: str, component: Any, case: Case) -> None:
    """A promised cap on tokens holds for every prompt.

    Comparisons at equal cost rest on it; a budget that is sometimes exceeded is a number in a
    table that is not true.
    """
    cap = component.promises(case.total).tokens
    assert cap is not None
    # Rows may leave by other hands as well; forks would be the sampler's cost, not the policy's.
    moves = tuple(evolve(m, rows=tuple(dict.fromkeys(m.rows))) for m in case.moves)
    play = player(kind, component, evolve(case, moves=moves))
    spent = Counter(prompt for out in play.run() for prompt, _ in out.names)
    for prompt, tokens in spent.items():
        if tokens > cap:
            raise Broken(
                f"prompt {prompt} cost {tokens} tokens; {contracts.name_of(component)} promises "
                f"at most {cap}."
            )


@check("no-revival", "termination")
def nobody_is_revived(kind: str, component: Any, case: Case) -> None:
    """Verdicts are about live rows only, and end with a final status: nobody is revived.

    An ended candidate's memory and cache are gone. A verdict over other rows than the live ones
    (those of the start, say) ends the wrong candidates from the first pruning on.
    """
    owner = contracts.name_of(component)
    player(
        kind,
        component,
        case,
        accept=lambda play, what, said, step, inputs: contracts.check_verdict(
            owner, said, step.rows, CPU
        ),
    ).run()


# --- samplers ----------------------------------------------------------------------------------


@check("permitted", "sampler")
def tokens_are_permitted(kind: str, component: Any, case: Case) -> None:
    """Samplers choose permitted tokens only, continue live rows only, and lose no prompt.

    A forbidden token (logit -inf) decodes to noise or to text in the middle of a picture, and a
    parent that has ended stands for a history that no longer exists.
    """
    owner = contracts.name_of(component)

    def accept(play: Player, what: str, said: Any, step: Any, inputs: Any) -> None:
        contracts.check_proposal(owner, said, inputs[0].logits, step.rows)

    player(kind, component, case, accept=accept).run()


__all__ = ["ContractError"]
