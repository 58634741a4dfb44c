"""Contracts of what estimators, guidance, termination policies and samplers return."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from attrs import evolve

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import Promises
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.step import RESERVED, sentence
from scalingar_fw.errors import ContractError
from scalingar_fw.testing.battery import BATTERY, LARGE
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import Broken, NotHere, check
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.plays import Said, played

CPU = torch.device("cpu")


def _each(component: Any, case: Case, kind: str) -> Iterator[Said]:
    """Everything that the component returns in a case."""
    return iter(played(kind, component, case).said)


@contextlib.contextmanager
def at(said: Said) -> Iterator[None]:
    """A breach in the block is told with its step."""
    try:
        yield
    except ContractError as error:
        raise Broken(f"at step {said.step.index} of {said.step.total}: {error}") from error


# --- confidence estimators ----------------------------------------------------------------------


@check("finite", "confidence")
def confidence_is_finite_and_in_range(kind: str, component: Any, case: Case) -> None:
    """Confidences are finite and in their declared ranges, whatever the logits.

    One NaN makes every comparison false: nobody is ever pruned, or the wrong candidate wins,
    without an error. Ties, one permitted token, a distribution without entropy and 16-bit
    overflow all happen in real runs.
    """
    owner = contracts.name_of(component)
    for said in _each(component, case, kind):
        with at(said):
            value = _as_float32(said.value)
            contracts.check_confidence(owner, value, said.step.rows, component.ranges, CPU)


def _as_float32(confidence: Confidence) -> Confidence:
    """The same numbers; their type is another check's business."""
    return Confidence(
        confidence.value.float(),
        {name: value.float() for name, value in confidence.signals.items()},
    )


@check("float32", "confidence", "guidance")
def signals_are_float32(kind: str, component: Any, case: Case) -> None:
    """Signals and scales are float32 on the input's device, one number for each live row.

    Whatever the model's own precision: half-precision confidences tie where they should not, and
    double ones cost twice the memory and do not exist on every device.
    """
    owner = contracts.name_of(component)
    for said in _each(component, case, kind):
        values = {"the scale": said.value} if kind == "guidance" else said.value.recorded()
        for name, value in values.items():
            if value.dtype is not torch.float32 or value.device.type != CPU.type:
                raise Broken(
                    f"at step {said.step.index}, {owner}: {name} is {value.dtype} on "
                    f"{value.device}; expected float32 on {CPU}.",
                    "arithmetic with float64 numbers or half-precision tensors: end with .float().",
                )


# --- guidance ----------------------------------------------------------------------------------


@check("bounds", "guidance")
def scale_is_finite_and_bounded(kind: str, component: Any, case: Case) -> None:
    """Guidance scales are finite and within the schedule's own `bounds`.

    Guidance has an interior optimum: a scale that runs away burns every later token of the
    picture, and an infinite one gives logits that nothing can be sampled from.
    """
    owner = contracts.name_of(component)
    bounds = component.bounds(case.sampling)
    for said in _each(component, case, kind):
        with at(said):
            contracts.check_scale(owner, said.value.float(), said.step.rows, bounds, CPU)


# --- termination -------------------------------------------------------------------------------


def _survivors(component: Any, case: Case, kind: str, promised: Promises) -> None:
    """Hold every verdict that is acted on to `promised`."""
    owner = contracts.name_of(component)
    for said in _each(component, case, kind):
        if said.step.index + 1 == said.step.total:  # at the last step every image is complete
            continue
        ended = said.value.terminate
        if promised.survivors != 1 and ended is not None and _empties(ended, said.step.rows):
            continue  # what `keeps-one` is for
        with at(said):
            contracts.check_survivors(owner, ended, said.step.rows, said.step.index, promised)


@check("keeps-one", "termination")
def no_prompt_is_emptied(kind: str, component: Any, case: Case) -> None:
    """Termination never empties a prompt.

    A prompt without candidates has no picture, and the run stops after most of its cost is spent.
    """
    _survivors(component, case, kind, Promises())


@check("warmup", "termination")
def warmup_is_kept(kind: str, component: Any, case: Case) -> None:
    """Nobody is ended in the promised warm-up.

    The first tokens say little about a picture; pruning on them is pruning by chance. Policies
    state their warm-up in `promises`, where users and tools read it.
    """
    quiet = component.promises(case.total).warmup
    _survivors(component, case, kind, Promises(warmup=quiet, survivors=0))


@check("survivors", "termination")
def survivors_are_kept(kind: str, component: Any, case: Case) -> None:
    """The promised minimum of survivors is never undercut.

    A selector with one candidate left has nothing to select from: the minimum is what keeps
    best-of-n alive behind a pruning policy.
    """
    promised = component.promises(case.total).survivors
    if promised != 1:
        _survivors(component, case, kind, Promises(survivors=promised))


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
    outs = played(kind, component, evolve(case, moves=moves)).outs
    spent = Counter(prompt for out in outs for prompt, _ in out.names)
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
    for said in _each(component, case, kind):
        with at(said):
            contracts.check_verdict(owner, said.value, said.step.rows, CPU)


@check("sentences", "termination")
def reasons_are_sentences(kind: str, component: Any, case: Case) -> None:
    """Every reason is a sentence whose fields are recorded at its step.

    It is what users read under a picture that was ended. An unknown field stops the run at the
    first candidate that is ended, hours later perhaps.
    """
    owner = contracts.name_of(component)
    for said in _each(component, case, kind):
        verdict = said.value
        known: dict[str, Any] = {**dict.fromkeys(RESERVED, 0.5), "step": said.step.index}
        known |= dict.fromkeys([*said.inputs[0].recorded(), *verdict.trace], 0.5)
        for part in (verdict, *verdict.exceptions):
            if part.terminate is not None and bool(part.terminate.any()):
                with at(said):
                    sentence(owner, part.reason, known)


@check("acts", "termination", cases=(BATTERY[0],))
def somebody_is_ended(kind: str, component: Any, case: Case) -> None:
    """It ends somebody: the cases below show something about a policy that acts.

    A policy that never ends anybody passes every check, whatever it does when it will. With its
    thresholds set for small images and many candidates (`--set`) the checks see it act.
    """
    tried = (*BATTERY, *LARGE)
    for one in tried:
        try:
            outs = played(kind, component, one).outs
        except Refused:
            continue
        if any(bool(out.values["ended"].any()) for out in outs[:-1]):
            return
    raise NotHere(
        f"never acted: it ended nobody in {len(tried)} cases of up to {LARGE[0].total} steps and "
        f"{LARGE[0].n} candidates, so nothing was seen of what it ends; --set may make it act"
    )


# --- samplers ----------------------------------------------------------------------------------


@check("permitted", "sampler")
def tokens_are_permitted(kind: str, component: Any, case: Case) -> None:
    """Samplers choose permitted tokens only, continue live rows only, and lose no prompt.

    A forbidden token (logit -inf) decodes to noise or to text in the middle of a picture, and a
    parent that has ended stands for a history that no longer exists.
    """
    owner = contracts.name_of(component)
    for said in _each(component, case, kind):
        with at(said):
            contracts.check_proposal(owner, said.value, said.inputs[0].logits, said.step.rows)


__all__ = ["ContractError", "at"]
