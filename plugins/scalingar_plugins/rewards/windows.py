"""Recorded signals of completed candidates as arrays, and the windows that rewards look through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalingar_fw.decoding.components import Pool
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.errors import ScalingarError


def recorded(trajectory: Trajectory, signal: str) -> Array:
    """`[T]` float64; `ScalingarError` where the signal was not recorded for every token."""
    values = trajectory.signals.get(signal)
    if values is None or not len(values) or not np.isfinite(values).all():
        have = "not recorded" if values is None else "not a finite number at every token"
        raise ScalingarError(
            f"The signal {signal!r} is {have} for candidate {trajectory.candidate}, "
            f"so no reward can read it. Recorded: {', '.join(sorted(trajectory.signals))}."
        )
    return np.asarray(values, dtype=np.float64)


def over(pool: Pool, signal: str, summary: Callable[[Array], float]) -> Array:
    """`[K]`: one number for each candidate of the pool."""
    return np.array([summary(recorded(t, signal)) for t in pool.candidates], dtype=np.float64)


def window_means(values: Array, width: int) -> Array:
    """The mean of every run of `width` consecutive values; of all of them where there are fewer."""
    width = min(width, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: Array = (total[width:] - total[:-width]) / width
    return means
