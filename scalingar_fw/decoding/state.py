"""What the next step needs: rows, logits, and the one function that moves candidates.

Candidates of all prompts lie on one flat axis of N live rows. Pruning, reordering and forking are
all `take(state, rows)`: it walks the fields that are declared per candidate and nothing else, so
whoever adds a per-candidate field cannot forget to move it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs
import numpy as np
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")

_AXIS = "scalingar_axis"


def candidate_field(**kwargs: Any) -> Any:
    """A field whose value has one entry for each live row (axis 0): moved by `take`."""
    return field(metadata={_AXIS: "candidate"}, **kwargs)


def prompt_field(**kwargs: Any) -> Any:
    """A field with one entry for each prompt (axis 0): a prune or fork leaves it alone."""
    return field(metadata={_AXIS: "prompt"}, **kwargs)


@functools.cache
def _moving_fields(cls: Any) -> tuple[str, ...]:
    return tuple(a.name for a in attrs.fields(cls) if a.metadata.get(_AXIS) == "candidate")


def take(value: T, rows: Tensor) -> T:
    """`value` for the rows `rows [M]` (int64; any subset, order or duplicates).

    Tensors and arrays are indexed on axis 0; dicts, lists and tuples entry by entry; attrs objects
    field by field, `candidate_field`s only; anything with its own `take` (a KV cache) is asked;
    numbers, text and None stay as they are. Nothing is changed in place.
    """
    out: Any
    cls: Any = type(value)
    if isinstance(value, Tensor):
        # On MPS float64 noise lies on the host while rows lie on the device.
        out = value.index_select(0, rows if rows.device == value.device else rows.to(value.device))
    elif value is None or isinstance(value, (bool, int, float, str, np.generic)):
        out = value
    elif isinstance(value, np.ndarray):  # its own `take` would pick single entries
        out = value[rows.cpu().numpy()]
    elif isinstance(value, Mapping):
        out = {k: take(v, rows) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        moved_items = [take(v, rows) for v in value]
        out = cls(*moved_items) if hasattr(cls, "_fields") else cls(moved_items)  # namedtuple
    elif hasattr(value, "take"):
        out = value.take(rows)
    elif attrs.has(cls):
        moved = {name: take(getattr(value, name), rows) for name in _moving_fields(cls)}
        out = evolve(value, **moved)  # type: ignore[misc]
    else:
        raise TypeError(
            f"take() cannot move a {type(value).__name__}: keep memory in tensors, dicts, tuples "
            "or an attrs class with candidate_field()s, or give it a take(rows) method."
        )
    return out  # type: ignore[no-any-return]


@frozen
class Grid:
    """`rows x cols` image tokens, raster order: token t lies at (t // cols, t % cols)."""

    rows: int = field(validator=attrs.validators.ge(1))
    cols: int = field(validator=attrs.validators.ge(1))

    @property
    def size(self) -> int:
        """T: the number of image tokens."""
        return self.rows * self.cols


@frozen(eq=False)
class Rows:
    """Who each live row is. Host arrays name them; device tensors serve grouped statistics.

    `prompt`, `candidate`: `[N]` int64 (host); `(prompt, candidate)` is unique and is a row's
    identity from birth to end. `group [N]`: index of the row's prompt among those with live rows,
    on the device; `slots [G, W]`: the rows of each such prompt, padded with -1.
    """

    prompt: NDArray[np.int64]
    candidate: NDArray[np.int64]
    n_prompts: int
    group: Tensor
    slots: Tensor
    live: Tensor
    prompt_index: Tensor
    candidate_id: Tensor

    @classmethod
    def of(
        cls,
        prompt: Sequence[int] | np.ndarray[Any, Any],
        candidate: Sequence[int] | np.ndarray[Any, Any],
        n_prompts: int,
        device: torch.device | str = "cpu",
    ) -> Rows:
        """Rows from their names. Costs host work: made when rows change, not at each step."""
        p = np.asarray(prompt, dtype=np.int64)
        c = np.asarray(candidate, dtype=np.int64)
        present, group, counts = np.unique(p, return_inverse=True, return_counts=True)
        width = int(counts.max()) if len(counts) else 0
        slots = np.full((len(present), width), -1, dtype=np.int64)
        order = np.argsort(group, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
        column = np.arange(len(p)) - np.repeat(starts, counts)
        slots[group[order], column] = order
        return cls(
            prompt=p,
            candidate=c,
            n_prompts=n_prompts,
            group=torch.from_numpy(group.astype(np.int64)).to(device),
            slots=torch.from_numpy(slots).to(device),
            live=torch.from_numpy(counts.astype(np.int64)).to(device),
            prompt_index=torch.from_numpy(p).to(device),
            candidate_id=torch.from_numpy(c).to(device),
        )

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def single(self) -> bool:
        """Whether all live rows belong to one prompt (grouped statistics are plain ones then)."""
        return self.slots.shape[0] <= 1

    def take(self, rows: Tensor) -> Rows:
        """Rows by index; duplicates keep their parent's name (the loop renames forks)."""
        index = rows.cpu().numpy()
        return Rows.of(self.prompt[index], self.candidate[index], self.n_prompts, self.group.device)


@frozen(eq=False)
class Children:
    """Who the rows of a proposal are: the one rule by which forks get their names.

    A row's first child keeps its name; further children are new candidates, numbered in order of
    appearance. `forks`: places of the new ones; `childless`: rows that nothing continues.
    """

    prompt: NDArray[np.int64]
    candidate: NDArray[np.int64]
    forks: tuple[int, ...]
    childless: tuple[int, ...]
    next_candidate: tuple[int, ...]

    @classmethod
    def of(cls, rows: Rows, parent: Tensor, next_candidate: Sequence[int]) -> Children:
        """The names of `parent [M]`'s children, given the next free id of each prompt."""
        parents = parent.cpu().numpy()
        prompt, candidate = rows.prompt[parents], rows.candidate[parents].copy()
        fresh, seen, forks = list(next_candidate), set(), []
        for child, row in enumerate(parents.tolist()):
            if row in seen:
                candidate[child] = fresh[prompt[child]]
                fresh[prompt[child]] += 1
                forks.append(child)
            seen.add(row)
        childless = tuple(i for i in range(len(rows)) if i not in seen)
        return cls(prompt, candidate, tuple(forks), childless, tuple(fresh))


@frozen(eq=False)
class Logits:
    """One step's logits of both branches, `[N, V]` float32 each.

    Forbidden tokens are -inf in both; `permitted [N, V]` bool names the others, or is None where
    every token may be sampled. `uncond` is `cond` itself for a model without the branch.
    """

    cond: Tensor = candidate_field()
    uncond: Tensor = candidate_field()
    permitted: Tensor | None = candidate_field(default=None)


@frozen(eq=False)
class Proposal:
    """The tokens to append. `parent [M]` (int64) says which row each continues.

    `parent = None` is sampling: row i continues itself. Otherwise rows may be dropped, reordered
    or forked; M is free. A row's first child keeps its name, further children are new candidates,
    a row without a child ends.

    `trace`: named `[M]` tensors to record, such as a beam's score.
    """

    token: Tensor
    parent: Tensor | None = field(default=None, kw_only=True)
    trace: dict[str, Tensor] = field(factory=dict, kw_only=True)


@frozen(eq=False)
class Chosen:
    """The tokens just chosen and their log-probabilities in nats, `[N]` each, untempered."""

    token: Tensor
    log_prob_cond: Tensor
    log_prob_uncond: Tensor
    log_prob_guided: Tensor


class Cache(Protocol):
    """A model's memory of its rows (KV, masks, positions); both branches inside."""

    def take(self, rows: Tensor) -> Any:
        """The cache of `rows [M]` int64: any choice, order or repetition of the rows it has.

        Guarantee: a row's entry stays that row's, and this cache may still be read afterwards.
        """
        ...


@runtime_checkable
class MovesInPlace(Protocol):
    """A cache that can become that of other rows without a copy of itself beside it."""

    def keep(self, rows: Tensor) -> None:
        """`take` in place: afterwards the cache is that of `rows [M]`."""
        ...


@frozen(eq=False)
class GivenUp:
    """A cache that nobody needs once its rows are taken: `take` moves it in place where it can."""

    cache: Any

    def take(self, rows: Tensor) -> Any:
        """The cache of `rows [M]`; the one inside must not be read any more."""
        if not isinstance(self.cache, MovesInPlace):
            return take(self.cache, rows)
        self.cache.keep(rows)
        return self.cache
