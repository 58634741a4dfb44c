"""Plays a case to one component, step by step, as the decoding loop would.

What comes out is named by candidate, so two plays can be compared whatever the order, the number
or the company of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.contracts import leaves
from scalingar_fw.decoding.state import Children, Rows, take
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing.cases import Move, Name, World


class Refused(Exception):
    """The component refuses the setting of a case before its first token, as it may."""


@frozen(eq=False)
class Out:
    """What a component said at one step: `values[k][i]` belongs to the candidate `names[i]`."""

    index: int
    names: list[Name]
    values: dict[str, Tensor]


#: Called around each call of the component, with what it reads; see `Player.watch`.
Watch = Callable[[Callable[[], Any], tuple[Any, ...]], Any]


def plain_call(call: Callable[[], Any], inputs: tuple[Any, ...]) -> Any:
    return call()


class Player:
    """One component in the middle of one case.

    `watch(call, inputs)` makes every call of the component; `accept(player, what, returned, step)`
    sees everything that it returns.
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
            self.state = watch(lambda: component.init(context), (context,))
        except ScalingarError as error:
            raise Refused(str(error)) from error

    def _call(self, what: str, call: Callable[[], Any], step: Any, *inputs: Any) -> Any:
        try:
            out = self.watch(call, (self.state, step, *inputs))
        except ScalingarError as error:
            if step.index == 0:
                raise Refused(str(error)) from error
            raise
        if self.accept is not None:
            self.accept(self, what, out[0], step, inputs)
        self.state = out[1]
        return out[0]

    def step(self, move: Move | None = None) -> Out:
        """One step; `move` says what becomes of the rows."""
        index = self.at
        out = getattr(self, f"_{self.kind}")(index, move)
        self.at += 1
        if move is not None and not (self.kind == "estimator" and move.proposed):
            self.move(move)
        return out  # type: ignore[no-any-return]

    def _step_of(self, index: int) -> Any:
        return self.world.step(self.rows, index, self.next_candidate)

    def _estimator(self, index: int, move: Move | None) -> Out:
        component, world = self.component, self.world
        distribution = getattr(component, "distribution", "conditional")
        signals = world.signals(self.rows, index, distribution)
        step = self._step_of(index)
        before = self.state
        confidence = self._call(
            "update", lambda: component.update(before, signals, step), step, signals
        )
        values = _confidence_values("before ", confidence)
        names = world.names(self.rows)
        if move is not None and move.proposed:
            parent = self.move(move)
            signals, confidence = take(signals, parent), take(confidence, parent)
            values, names, step = take(values, parent), world.names(self.rows), self._step_of(index)
        guided = torch.log_softmax(world.guided(self.rows, index), -1)
        chosen = signals.commit(world.tokens(self.rows, index, signals.permitted), guided)
        state = self.state
        final = self._call(
            "commit",
            lambda: component.commit(state, confidence, chosen, step),
            step,
            confidence,
            chosen,
        )
        return Out(index, names, {**values, **_confidence_values("", final)})

    def _guidance(self, index: int, move: Move | None) -> Out:
        confidence, step = self.world.confidence(self.rows, index), self._step_of(index)
        state = self.state
        scale = self._call(
            "update", lambda: self.component.update(state, confidence, step), step, confidence
        )
        return Out(index, self.world.names(self.rows), {"scale": scale})

    def _termination(self, index: int, move: Move | None) -> Out:
        confidence, step = self.world.confidence(self.rows, index), self._step_of(index)
        state, rows = self.state, self.rows
        verdict = self._call(
            "update", lambda: self.component.update(state, confidence, step), step, confidence
        )
        ended = torch.zeros(len(rows), dtype=torch.bool)
        if verdict.terminate is not None and index + 1 < step.total:
            ended = verdict.terminate.clone()
        out = Out(index, self.world.names(rows), {"ended": ended.clone(), **verdict.trace})
        for prompt in np.unique(rows.prompt):  # a policy that empties a prompt fails one check only
            mine = torch.from_numpy(rows.prompt == prompt)
            if bool(ended[mine].all()):
                ended[mine] = False
        if bool(ended.any()):
            self.take((~ended).nonzero()[:, 0])
        return out

    def _sampler(self, index: int, move: Move | None) -> Out:
        confidence, step = self.world.confidence(self.rows, index), self._step_of(index)
        guided = self.world.guided(self.rows, index)
        state, sampling = self.state, self.world.case.sampling
        proposal = self._call(
            "propose",
            lambda: self.component.propose(state, guided, confidence, step, sampling),
            step,
            guided,
            confidence,
        )
        parents = self.rows.candidate_id
        if proposal.parent is not None:
            parents = parents[proposal.parent]
            self._become(proposal.parent)
        values = {"token": proposal.token, "log_prob": proposal.log_prob, "parent": parents}
        return Out(index, self.world.names(self.rows), {**values, **proposal.trace})

    def _become(self, parent: Tensor) -> None:
        names = Children.of(self.rows, parent, self.next_candidate)
        self.rows = Rows.of(names.prompt, names.candidate, self.rows.n_prompts)
        self.next_candidate = names.next_candidate

    def take(self, rows: Tensor) -> None:
        """Keep `rows` (any order or subset; duplicates keep their name)."""
        self.rows, self.state = self.rows.take(rows), take(self.state, rows)

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


def _confidence_values(prefix: str, confidence: Any) -> dict[str, Tensor]:
    parts = {
        "confidence": confidence.value,
        "rebound": confidence.rebound,
        "intrinsic": confidence.intrinsic,
        "drift": confidence.drift,
        **confidence.extra,
    }
    return {prefix + name: value for name, value in parts.items()}


def kept_as_they_were(outs: Sequence[Out]) -> list[Out]:
    """Copies of what was said, to see later whether it was changed afterwards."""
    return [Out(o.index, list(o.names), {k: v.clone() for k, v in o.values.items()}) for o in outs]


def difference(
    whole: Sequence[Out], part: Sequence[Out], *, exact: bool = False, whom: str = "the same run"
) -> str | None:
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


def tensors_of(memory: Any) -> list[Tensor]:
    """Every tensor or array of a memory, as tensors."""
    return [torch.as_tensor(leaf) for leaf in leaves(memory)]
