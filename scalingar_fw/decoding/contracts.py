"""What a component may return, checked where it returns it.

Pure functions that raise `ContractError` with the component's name and the contract it broke. The
passive checker (checked.py) calls them in real runs, the conformance kit (testing/) on inputs made
to break them. They read tensors back to the host, so the loop itself does not call them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from scalingar_fw.decoding.components import Promises, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Proposal, Rows, take
from scalingar_fw.errors import ContractError

#: How far a float32 may stand outside a bound: half-open intervals end in rounding.
SLACK = 1e-5

_ENDS = (Status.PRUNED, Status.OUT_OF_BUDGET, Status.DROPPED)


def name_of(component: Any) -> str:
    """How messages call a component: its class."""
    return type(component).__name__


def _vector(owner: str, what: str, value: Any, count: int, device: torch.device) -> Tensor:
    """`value` if it is a tensor `[count]` on `device`."""
    if not isinstance(value, Tensor):
        raise ContractError(f"{owner}: {what} is a {type(value).__name__}, not a tensor.")
    if tuple(value.shape) != (count,):
        raise ContractError(
            f"{owner}: {what} has the shape {tuple(value.shape)}; it must be ({count},), one "
            "number for each live row."
        )
    if value.device.type != device.type:
        raise ContractError(
            f"{owner}: {what} lies on {value.device}, its input on {device}: make tensors with "
            "context.full(...) or on the input's device."
        )
    return value


def _finite(owner: str, what: str, value: Tensor, rows: Rows) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        row = int((~torch.isfinite(value)).nonzero()[0, 0])
        raise ContractError(
            f"{owner}: {what} is {float(value[row])} for {who(rows, row)}; it must be finite."
        )


def who(rows: Rows, row: int) -> str:
    """A row's name for messages."""
    return f"candidate {int(rows.candidate[row])} of prompt {int(rows.prompt[row])}"


def check_confidence(
    owner: str,
    confidence: Any,
    rows: Rows,
    ranges: Mapping[str, tuple[float, float]],
    device: torch.device,
) -> None:
    """The value and every signal: `[N]` float32, finite, in their ranges."""
    if not isinstance(confidence, Confidence):
        raise ContractError(
            f"{owner} returned a {type(confidence).__name__} as its confidence: use Confidence.of."
        )
    for name, value in confidence.recorded().items():
        _vector(owner, name, value, len(rows), device)
        if value.dtype is not torch.float32:
            raise ContractError(
                f"{owner}: {name} is {value.dtype}; signals are float32 whatever the model's dtype."
            )
        _finite(owner, name, value, rows)
        low, high = ranges.get(name, (-float("inf"), float("inf")))
        outside = (value < low - SLACK) | (value > high + SLACK)
        if bool(outside.any()):
            row = int(outside.nonzero()[0, 0])
            raise ContractError(
                f"{owner}: {name} is {float(value[row]):.6g} for {who(rows, row)}, outside its "
                f"declared range [{low:g}, {high:g}]."
            )


def check_scale(
    owner: str, scale: Any, rows: Rows, bounds: tuple[float, float], device: torch.device
) -> None:
    """Guidance scales: `[N]` float32, finite, within the schedule's own bounds."""
    _vector(owner, "the scale", scale, len(rows), device)
    if scale.dtype is not torch.float32:
        raise ContractError(f"{owner}: the scale is {scale.dtype}; it must be float32.")
    _finite(owner, "the scale", scale, rows)
    low, high = bounds
    slack = SLACK * max(1.0, *(abs(b) for b in bounds if abs(b) < float("inf")), 0.0)
    outside = (scale < low - slack) | (scale > high + slack)
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        raise ContractError(
            f"{owner}: the scale is {float(scale[row]):.6g} for {who(rows, row)}, outside its "
            f"bounds [{low:g}, {high:g}]."
        )


def check_verdict(owner: str, verdict: Any, rows: Rows, device: torch.device) -> None:
    """A verdict names live rows only, with a final status; exceptions are rows that it ends."""
    if not isinstance(verdict, Verdict):
        raise ContractError(f"{owner} returned a {type(verdict).__name__}, not a Verdict.")
    for name, value in verdict.trace.items():
        _vector(owner, f"the trace {name!r}", value, len(rows), device)
    if verdict.terminate is None:
        return
    ended = _flags(owner, "terminate", verdict.terminate, rows, device)
    for part in (verdict, *verdict.exceptions):
        if part.status not in _ENDS:
            raise ContractError(
                f"{owner} ends candidates with the status {part.status!r}; it must be one of "
                f"{', '.join(s.name for s in _ENDS)}."
            )
    for other in verdict.exceptions:
        if other.terminate is None:
            continue
        extra = _flags(owner, "an exception", other.terminate, rows, device) & ~ended
        if bool(extra.any()):
            row = int(extra.nonzero()[0, 0])
            raise ContractError(
                f"{owner}: an exception names {who(rows, row)}, whom the verdict does not end."
            )


def _flags(owner: str, what: str, value: Any, rows: Rows, device: torch.device) -> Tensor:
    out = _vector(owner, what, value, len(rows), device)
    if out.dtype is not torch.bool:
        raise ContractError(f"{owner}: {what} is {out.dtype}; it must be bool, True for who ends.")
    return out


def check_survivors(
    owner: str, terminate: Tensor | None, rows: Rows, index: int, promised: Promises
) -> None:
    """No prompt is emptied; promised warm-up and minimum of survivors are kept."""
    if terminate is None or not bool(terminate.any()):
        return
    gone = terminate.cpu().numpy()
    row = int(np.flatnonzero(gone)[0])
    for prompt in np.unique(rows.prompt[gone]):
        mine = rows.prompt == prompt
        left = int((mine & ~gone).sum())
        if left == 0:
            raise ContractError(
                f"{owner} ended the last live candidate of prompt {prompt} at step {index}: a "
                "prompt must keep one."
            )
        if left < promised.survivors:
            raise ContractError(
                f"{owner} left {left} candidates of prompt {prompt} at step {index}, but promises "
                f"at least {promised.survivors}."
            )
    if index < promised.warmup:
        raise ContractError(
            f"{owner} ended {who(rows, row)} at step {index}, but promises to end nobody in the "
            f"first {promised.warmup} steps."
        )


def check_proposal(owner: str, proposal: Any, guided: Tensor, rows: Rows) -> None:
    """Tokens are permitted, parents are live rows, and no prompt is left without a row."""
    if not isinstance(proposal, Proposal):
        raise ContractError(f"{owner} returned a {type(proposal).__name__}, not a Proposal.")
    device = guided.device
    parent = proposal.parent
    if parent is None:
        parent = torch.arange(len(rows), device=device)
    elif parent.dim() != 1 or parent.dtype is not torch.int64:
        raise ContractError(f"{owner}: parents must be int64 [M], not {parent.dtype}.")
    elif len(parent) and not (0 <= int(parent.min()) and int(parent.max()) < len(rows)):
        raise ContractError(
            f"{owner}: parents name rows {int(parent.min())} to {int(parent.max())}, but the live "
            f"rows are 0 to {len(rows) - 1}: an ended candidate can not be continued."
        )
    count = len(parent)
    token = _vector(owner, "token", proposal.token, count, device)
    for name, value in proposal.trace.items():
        _vector(owner, f"the trace {name!r}", value, count, device)
    if token.dtype is not torch.int64:
        raise ContractError(f"{owner}: tokens are {token.dtype}; they must be int64.")
    vocab = guided.shape[1]
    if count and not (0 <= int(token.min()) and int(token.max()) < vocab):
        raise ContractError(f"{owner}: a token lies outside the vocabulary [0, {vocab}).")
    forbidden = torch.isneginf(guided[parent].gather(1, token[:, None])[:, 0])
    if bool(forbidden.any()):
        place = int(forbidden.nonzero()[0, 0])
        raise ContractError(
            f"{owner} chose the forbidden token {int(token[place])} (logit -inf) for a child of "
            f"{who(rows, int(parent[place]))}."
        )
    lost = sorted(set(rows.prompt.tolist()) - set(rows.prompt[parent.cpu().numpy()].tolist()))
    if lost:
        raise ContractError(
            f"{owner} continues no row of prompt {lost[0]}: it would have no image."
        )


def check_memory(owner: str, memory: Any, count: int) -> None:
    """Whatever `take` would move has one entry for each of `count` rows."""
    for value in leaves(memory, moving=True):
        length = value.shape[0] if value.ndim else None
        if length != count:
            raise ContractError(
                f"{owner}: a per-candidate entry of its memory has the shape "
                f"{tuple(value.shape)} after a step of {count} rows: pruning would move the wrong "
                "rows. Declare what is not per candidate with prompt_field() or a plain field."
            )
    try:
        take(memory, torch.arange(count))
    except TypeError as error:
        raise ContractError(f"{owner}: its memory can not be moved: {error}") from error


def leaves(value: Any, moving: bool = False) -> Iterator[Any]:
    """The tensors and arrays inside a memory or an input, in a fixed order.

    `moving`: only those that `take` moves.
    """
    if isinstance(value, (Tensor, np.ndarray)):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from leaves(v, moving)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v, moving)
    elif attrs.has(type(value)) and not (moving and hasattr(value, "take")):
        for a in attrs.fields(type(value)):
            if not moving or a.metadata.get("scalingar_axis") == "candidate":
                yield from leaves(getattr(value, a.name), moving)


def snapshot(*values: Any) -> list[Any]:
    """Copies of all tensors and arrays inside, to compare later by `unchanged`."""
    found = (leaf for value in values for leaf in leaves(value))
    return [v.clone() if isinstance(v, Tensor) else v.copy() for v in found]


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, with NaN equal to NaN."""
    if isinstance(one, Tensor):
        if one.shape != other.shape or one.dtype is not other.dtype:
            return False
        if one.is_floating_point():
            return bool(((one == other) | (one.isnan() & other.isnan())).all())
        return bool(torch.equal(one, other))
    floating = one.dtype.kind == "f"
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=floating)


def unchanged(before: list[Any], *values: Any) -> bool:
    """Whether `values` still are what `snapshot` saw."""
    now = [leaf for value in values for leaf in leaves(value)]
    return len(now) == len(before) and all(map(same, before, now))


def random_state() -> tuple[Any, Any, bytes]:
    """Where the global random streams stand."""
    numpy_state: Any = np.random.get_state(legacy=False)
    numbers = numpy_state["state"]
    return (
        (numbers["key"].tobytes(), numbers["pos"], numpy_state["has_gauss"]),
        random.getstate(),
        torch.get_rng_state().numpy().tobytes(),
    )


@contextmanager
def no_global_randomness(owner: str) -> Iterator[None]:
    """Raises `ContractError` if the body draws from torch's, numpy's or random's global stream."""
    before = random_state()
    yield
    streams = ("numpy.random", "random", "torch")
    drawn = [n for n, a, b in zip(streams, before, random_state(), strict=True) if a != b]
    if drawn:
        raise ContractError(
            f"{owner} draws from the global random stream of {drawn[0]}: its results depend on "
            "what ran before. Use step.noise, step.noise_for or step.prompt_uniforms."
        )


def untouched(owner: str, call: Callable[[], Any], *inputs: Any) -> Any:
    """`call()`, which must leave `inputs` as they were."""
    before = snapshot(*inputs)
    out = call()
    if not unchanged(before, *inputs):
        raise ContractError(
            f"{owner} changed its inputs in place: return new tensors (x + y, not x += y)."
        )
    return out
