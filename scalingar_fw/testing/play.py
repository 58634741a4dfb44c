"""Plays a case to one component, step by step, in the order that the decoding loop keeps.

The component takes its place in a strategy whose other parts are neutral, and that strategy is
taken through `observe`, `commit` and `terminate` (decoding/step.py): a case is a decode whose
logits, confidences and changes of rows were chosen to break something. What comes out is named by
candidate, so two plays can be compared whatever the order, the number or the company of their rows.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import (
    Component,
    ConfidenceEstimator,
    Guidance,
    Sampler,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided, Signals
from scalingar_fw.decoding.state import Children, Chosen, Proposal, Rows, take
from scalingar_fw.decoding.step import commit, leaving, observe, remember, terminate
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.decoding.wrapper import Wrapper
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.cases import Move, Name, World
from scalingar_fw.testing.catalogue import Broken


class Refused(Exception):
    """The component refuses the setting of a case before its first token, as it may."""


@frozen(eq=False)
class Out:
    """What a component said at one step: `values[k][i]` belongs to the candidate `names[i]`."""

    index: int
    names: list[Name]
    values: dict[str, Tensor]


#: What `update` (`propose` of a sampler) returns beside the next memory.
_RETURNS: dict[str, type] = {
    "confidence": Confidence,
    "guidance": Tensor,
    "termination": Verdict,
    "sampler": Proposal,
}


def check_form(component: Any, kind: str, what: str, out: Any, step: Step) -> None:
    """A pair of the right type and the next memory, with a number for each row: what every check
    relies on, so that one mistake of form is one message."""
    owner, wanted = contracts.name_of(component), _RETURNS[kind]
    if not isinstance(out, tuple) or len(out) != 2:
        raise Broken(
            f"{owner}.{what} returned a {type(out).__name__} at step {step.index}; expected a pair.",
            f"return ({wanted.__name__}, the next memory): `return ..., state`.",
        )
    said = out[0]
    if not isinstance(said, wanted):
        raise Broken(
            f"{owner}.{what} returned a {type(said).__name__} at step {step.index}; expected a "
            f"{wanted.__name__} and the next memory."
        )
    vectors = {"the scale": said} if isinstance(said, Tensor) else {}
    if isinstance(said, Confidence):
        vectors = said.recorded()
    elif isinstance(said, Verdict) and said.terminate is not None:
        vectors = {"terminate": said.terminate}
    for name, value in vectors.items():
        if not isinstance(value, Tensor) or tuple(value.shape) != (len(step.rows),):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Broken(
                f"{owner}: {name} is {shape} at step {step.index}; expected a tensor of the shape "
                f"({len(step.rows)},), one number for each live row."
            )


def _are_rows(parent: Any, count: int) -> bool:
    if not isinstance(parent, Tensor) or parent.dim() != 1 or parent.dtype is not torch.int64:
        return False
    return len(parent) > 0 and bool(((parent >= 0) & (parent < count)).all())


#: Called around each call of the component, with what it reads; see `Player.watch`.
Watch = Callable[[Callable[[], Any], tuple[Any, ...]], Any]

#: `(what, call, state, step, inputs)`: makes the call, and returns what it returned.
Around = Callable[[str, Callable[[], Any], Any, Step, tuple[Any, ...]], Any]


def plain_call(call: Callable[[], Any], inputs: tuple[Any, ...]) -> Any:
    return call()


@frozen
class _WatchedConfidence(Wrapper, ConfidenceEstimator[Any]):
    inner: ConfidenceEstimator[Any]
    around: Around

    def update(self, state: Any, signals: Signals, step: Step) -> tuple[Confidence, Any]:
        def call() -> Any:
            return self.inner.update(state, signals, step)

        return self.around("update", call, state, step, (signals,))  # type: ignore[no-any-return]

    def commit(
        self, state: Any, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Any]:
        def call() -> Any:
            return self.inner.commit(state, confidence, chosen, step)

        return self.around("commit", call, state, step, (confidence, chosen))  # type: ignore[no-any-return]


@frozen
class _WatchedGuidance(Wrapper, Guidance[Any]):
    inner: Guidance[Any]
    around: Around

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Tensor, Any]:
        def call() -> Any:
            return self.inner.update(state, confidence, step)

        return self.around("update", call, state, step, (confidence,))  # type: ignore[no-any-return]


@frozen
class _WatchedTermination(Wrapper, Termination[Any]):
    inner: Termination[Any]
    around: Around

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        def call() -> Any:
            return self.inner.update(state, confidence, step)

        return self.around("update", call, state, step, (confidence,))  # type: ignore[no-any-return]


@frozen
class _WatchedSampler(Wrapper, Sampler[Any]):
    inner: Sampler[Any]
    around: Around

    def propose(
        self, state: Any, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Any]:
        def call() -> Any:
            return self.inner.propose(state, guided, confidence, step, sampling)

        return self.around("propose", call, state, step, (guided, confidence))  # type: ignore[no-any-return]


_WATCHED: dict[str, Callable[[Any, Around], Component[Any]]] = {
    "confidence": _WatchedConfidence,
    "guidance": _WatchedGuidance,
    "termination": _WatchedTermination,
    "sampler": _WatchedSampler,
}


@frozen
class _Given(ConfidenceEstimator[None]):
    """The confidences of a case, whatever the logits."""

    world: World

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        return self.world.confidence(step.rows, step.index), None


class Player:
    """One component in the middle of one case.

    `watch(call, inputs)` makes every call of the component; `accept(player, what, returned, step,
    inputs)` sees everything that it returns.
    """

    def __init__(
        self,
        component: Any,
        kind: str,
        world: World,
        *,
        watch: Watch = plain_call,
        accept: Callable[..., None] | None = None,
    ) -> None:
        self.component, self.kind, self.world = component, kind, world
        self.watch, self.accept = watch, accept
        self.rows = world.start()
        self.next_candidate = (world.case.n,) * len(world.subset)
        self.at = 0
        context = world.context(self.rows)
        try:
            state = watch(lambda: component.init(context), (context,))
        except ScalingarError as error:
            raise Refused(str(error)) from error
        self.memories = evolve(remember(Strategy("case"), context), **{kind: state})

    @property
    def state(self) -> Any:
        """The component's memory."""
        return getattr(self.memories, self.kind)

    @state.setter
    def state(self, state: Any) -> None:
        self.memories = evolve(self.memories, **{self.kind: state})

    @property
    def strategy(self) -> Strategy:
        """Neutral parts around the component, which reads this case's confidences.

        Made anew for each step, so that a copied player plays by itself.
        """
        parts: dict[str, Any] = {"confidence": _Given(self.world)}
        parts[self.kind] = _WATCHED[self.kind](self.component, self._around)
        return Strategy("case", **parts)

    def _around(
        self, what: str, call: Callable[[], Any], state: Any, step: Step, inputs: tuple[Any, ...]
    ) -> Any:
        try:
            out = self.watch(call, (state, step, *inputs))
        except ScalingarError as error:
            if step.index == 0:
                raise Refused(str(error)) from error
            raise
        check_form(self.component, self.kind, what, out, step)
        if self.accept is not None:
            self.accept(self, what, out[0], step, inputs)
        return out

    def step(self, move: Move | None = None) -> Out:
        """One step; `move` says what becomes of the rows."""
        index, strategy = self.at, self.strategy
        signals = self._signals()
        confidence, scale, memories = observe(strategy, self.memories, signals, self._now())
        self.memories = memories
        if self.kind == "confidence":
            out = self._commit(strategy, signals, confidence, move)
        elif self.kind == "guidance":
            out = Out(index, self.world.names(self.rows), {"scale": scale})
        elif self.kind == "termination":
            out = self._terminate(strategy, confidence)
        else:
            out = self._propose(strategy, confidence)
        self.at += 1
        if move is not None and not (self.kind == "confidence" and move.proposed):
            self.move(move)
        return out

    def _signals(self) -> Signals:
        if self.kind == "confidence":
            return self.world.signals(self.rows, self.at, self.component.distribution)
        return typing.cast(Signals, None)  # nobody reads them: the case says the confidences

    def _now(self) -> Step:
        return self.world.step(self.rows, self.at, self.next_candidate)

    def _commit(
        self, strategy: Strategy, signals: Signals, confidence: Confidence, move: Move | None
    ) -> Out:
        index, world = self.at, self.world
        values = {f"before {name}": v for name, v in confidence.recorded().items()}
        if move is not None and move.proposed:
            parent = self.move(move)
            signals, confidence = take(signals, parent), take(confidence, parent)
            values = take(values, parent)
        names = world.names(self.rows)
        guided = torch.log_softmax(world.guided(self.rows, index), -1)
        chosen = signals.commit(world.tokens(self.rows, index, signals.permitted), guided)
        final, self.memories = commit(strategy, self.memories, confidence, chosen, self._now())
        return Out(index, names, {**values, **final.recorded()})

    def _terminate(self, strategy: Strategy, confidence: Confidence) -> Out:
        rows, step = self.rows, self._now()
        verdict, self.memories = terminate(strategy, self.memories, confidence, step)
        ended = torch.zeros(len(rows), dtype=torch.bool)
        ended[torch.from_numpy(leaving(verdict, step))] = True
        out = Out(self.at, self.world.names(rows), {"ended": ended.clone(), **verdict.trace})
        for prompt in np.unique(rows.prompt):  # a policy that empties a prompt fails one check only
            mine = torch.from_numpy(rows.prompt == prompt)
            if bool(ended[mine].all()):
                ended[mine] = False
        if bool(ended.any()):
            self.take((~ended).nonzero()[:, 0])
        return out

    def _propose(self, strategy: Strategy, confidence: Confidence) -> Out:
        guided = Guided(self.world.guided(self.rows, self.at))
        proposal, self.state = strategy.sampler.propose(
            self.state, guided, confidence, self._now(), self.world.case.sampling
        )
        parents = self.rows.candidate_id
        if proposal.parent is not None:
            if not _are_rows(proposal.parent, len(self.rows)):  # nobody could follow it
                owner = contracts.name_of(self.component)
                contracts.check_proposal(owner, proposal, guided.logits, self.rows)
            parents = parents[proposal.parent]
            self._become(proposal.parent)
        values = {"token": proposal.token, "parent": parents}
        return Out(self.at, self.world.names(self.rows), {**values, **proposal.trace})

    def _become(self, parent: Tensor) -> None:
        names = Children.of(self.rows, parent, self.next_candidate)
        self.rows = Rows.of(names.prompt, names.candidate, self.rows.n_prompts)
        self.next_candidate = names.next_candidate
        others = evolve(self.memories, **{self.kind: None})
        self.memories = evolve(take(others, parent), **{self.kind: self.state})

    def take(self, rows: Tensor) -> None:
        """Keep `rows` (any order or subset; duplicates keep their name)."""
        self.rows, self.memories = self.rows.take(rows), take(self.memories, rows)

    def move(self, move: Move) -> Tensor:
        """Let the rows be those of a move; the places they came from."""
        live = {name: row for row, name in enumerate(self.world.names(self.rows))}
        wanted = [live[name] for name in move.rows if name in live]
        kept = set(self.rows.prompt[wanted].tolist())
        wanted += [i for i, p in enumerate(self.rows.prompt.tolist()) if p not in kept]
        parent = torch.tensor(wanted, dtype=torch.int64)
        self.state = take(self.state, parent)
        self._become(parent)
        return parent

    def run(self, until: int | None = None) -> list[Out]:
        """The steps up to `until` (all: to the end), with the moves of the case."""
        moves = {m.step: m for m in self.world.case.moves}
        last = self.world.case.total if until is None else until
        return [self.step(moves.get(t)) for t in range(self.at, last)]


def kept_as_they_were(outs: Sequence[Out]) -> list[Out]:
    """Copies of what was said, to see later whether it was changed afterwards."""
    return [Out(o.index, list(o.names), {k: v.clone() for k, v in o.values.items()}) for o in outs]


def difference(whole: Sequence[Out], part: Sequence[Out], *, exact: bool = False) -> str | None:
    """Where `part` says something else about a candidate than `whole`; None where it does not.

    Every candidate of `part` must be in `whole`. Floats agree to rounding unless `exact`;
    decisions, tokens and parents always exactly.
    """
    for one, other in zip(whole, part, strict=True):
        place = {name: i for i, name in enumerate(one.names)}
        strangers = [name for name in other.names if name not in place]
        if strangers:
            prompt, candidate = strangers[0]
            return f"at step {one.index} candidate {candidate} of prompt {prompt} is live only here"
        index = torch.tensor([place[name] for name in other.names], dtype=torch.int64)
        for key in dict.fromkeys((*one.values, *other.values)):
            if key not in one.values or key not in other.values:
                return f"at step {one.index} {key!r} is recorded in one of them only"
            a, b = one.values[key].index_select(0, index), other.values[key]
            if torch.equal(a, b):
                continue
            if a.is_floating_point() and not exact:
                close = torch.isclose(a, b.to(a.dtype), rtol=1e-5, atol=1e-6, equal_nan=True)
            elif a.is_floating_point():
                close = (a == b) | (a.isnan() & b.isnan())
            else:
                close = a == b
            if not bool(close.all()):
                row = int((~close).nonzero()[0, 0])
                prompt, candidate = other.names[row]
                return (
                    f"at step {one.index} {key!r} of candidate {candidate} of prompt {prompt} is "
                    f"{b[row].item()} instead of {a[row].item()}"
                )
    return None
