"""Keyed randomness: a number for each (seed, prompt, candidate, step), never a global stream.

A candidate's noise depends on nothing else, so N=4 is a prefix of N=8, pruning a neighbour leaves
a survivor's pixels alone, and batch composition, worker count and resume change nothing.

The generator is numpy's counter-based Philox 4x64; `random_raw` is used because numpy promises the
raw stream of a bit generator for ever, and the distributions' only within a version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from scalingar_fw.errors import ScalingarError, shown

#: Independent streams of one candidate or prompt.
SAMPLING, SELECTION, RESAMPLING, EXTRA = range(4)

_WORD = (1 << 64) - 1


@frozen
class Prompt:
    """What a candidate is decoded for: a text, a class, and a negative text where a model takes one.

    Its content, not its place in a batch, keys the noise.
    """

    text: str = ""
    class_id: int | None = None
    negative: str | None = None
    key: int = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        content = json.dumps([self.text, self.class_id, self.negative], ensure_ascii=False)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
        object.__setattr__(self, "key", int.from_bytes(digest[:16], "little"))

    @property
    def label(self) -> str:
        """How tables and file names call it."""
        return self.text if self.class_id is None else f"class {self.class_id}"


def check_seed(seed: object) -> int:
    """`seed` itself if it can key the generator."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _WORD:
        raise ScalingarError(f"seed={shown(seed)} must be a whole number in [0, 2**64).")
    return seed


def uniforms(
    seed: int, prompt: Prompt, candidate: int, count: int, stream: int = SAMPLING
) -> NDArray[np.float64]:
    """`count` numbers in [0, 1), float64; entry t belongs to step t whatever `count` is."""
    low, high = prompt.key & _WORD, prompt.key >> 64
    bits = np.random.Philox(
        key=np.array([seed, low], dtype=np.uint64),
        counter=np.array([0, stream, candidate, high], dtype=np.uint64),
    )
    unit: NDArray[np.float64] = (bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
    return unit


def check_seeds(seed: int | Sequence[int], prompts: int) -> tuple[int, ...]:
    """One seed for each prompt: a single one serves all."""
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != prompts:
            raise ScalingarError(f"{len(seed)} seeds for {prompts} prompts: give one, or one each.")
        return tuple(check_seed(s) for s in seed)
    return (check_seed(seed),) * prompts


#: What an equal prompt's seed goes up by with each time it is asked for.
REPLICA_STEP = 1_000_003


def seeds_apart(seed: int, prompts: Sequence[Prompt]) -> tuple[int, ...]:
    """A seed for each prompt: `seed`, and for a prompt that was there before another one, since
    content keys the noise and equal prompts would be equal pictures.

    Raises:
        ScalingarError: a seed so large that there is none above it.
    """
    seen: dict[Prompt, int] = {}
    out = []
    for prompt in prompts:
        replica = seen.get(prompt, 0)
        seen[prompt] = replica + 1
        out.append(seed + REPLICA_STEP * replica)
    if max(out) > _WORD:
        raise ScalingarError(f"seed={seed} is too large for repeated prompts: use a smaller one.")
    return tuple(out)


def noise_table(
    seeds: Sequence[int], prompts: Sequence[Prompt], prompt: Any, candidate: Any, count: int
) -> NDArray[np.float64]:
    """`[N, count]` sampling noise for rows named by `prompt [N]` and `candidate [N]`."""
    table = np.empty((len(prompt), count), dtype=np.float64)
    for i, (p, c) in enumerate(zip(prompt, candidate, strict=True)):
        table[i] = uniforms(seeds[int(p)], prompts[int(p)], int(c), count)
    return table
