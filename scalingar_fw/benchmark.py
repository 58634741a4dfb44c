"""A benchmark: prompts, a scorer and tags. A new one is a page that implements `Benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from attrs import frozen

from scalingar_fw.noise import Prompt


@frozen
class Item:
    """One entry of a split.

    `task`: overall accuracy is the unweighted mean over tasks. `cluster`: items that share it are
    not independent, and intervals resample it whole. `replica`: distinguishes equal prompts; it
    is added to the run's seed, so that they are different draws.
    """

    prompt: Prompt
    task: str
    cluster: str
    replica: int = 0


@runtime_checkable
class Benchmark(Protocol):
    """Prompts and a scorer."""

    name: str
    splits: Sequence[str]

    def items(self, split: str) -> Sequence[Item]:
        """The fixed items of a split; `ScalingarError` for an unknown one."""
        ...

    def score(self, items: Sequence[Item], images: np.ndarray[Any, Any]) -> Sequence[float]:
        """A score in [0, 1] for each of `images [K, H, W, 3]` uint8 (1 is correct)."""
        ...
