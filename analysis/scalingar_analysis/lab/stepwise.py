"""A per-step signal as a function of what was recorded: what it is given, and what it must give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from scalingar_analysis.recordings.recording import Recording
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ContractError, ScalingarError


class Steps(Mapping[str, Array]):
    """Recorded signals of N candidates up to some step: name to `[N, t]` float64.

    `tokens [N, t]`; `grid`: of the whole image, whose cells are filled in raster order.
    """

    def __init__(self, recording: Recording, until: int) -> None:
        self.grid: Grid = recording.grid
        self.tokens: Array = recording.tokens[:, :until]
        self._signals = recording.signals
        self._until = until

    def __getitem__(self, name: str) -> Array:
        values: Array = self._signals[name][:, : self._until].astype(np.float64)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._signals)

    def __len__(self) -> int:
        return len(self._signals)


Signal = Callable[[Steps], Any]


def evaluate(signal: Signal, recording: Recording, name: str) -> Array:
    """The signal's values, `[N, T]` float64.

    Raises:
        ContractError: it fails, its shape is not `[N, T]`, a value is not finite, or a value
            depends on later steps: no policy could read it while decoding.
    """
    total = recording.grid.size
    whole = _call(signal, recording, total, name)
    for until in sorted({max(1, total // 3), max(1, 2 * total // 3)} - {total}):
        part = _call(signal, recording, until, name)
        if not np.allclose(part, whole[:, :until], rtol=1e-6, atol=1e-9):
            raise ContractError(
                f"The signal {name!r} looks ahead: its first {until} values change when later "
                "steps are left out. Use what is known up to each step (cumulative sums, not means "
                "over all steps)."
            )
    return whole


def _call(signal: Signal, recording: Recording, until: int, name: str) -> Array:
    steps = Steps(recording, until)
    try:
        values = np.asarray(signal(steps), dtype=np.float64)
    except KeyError as error:
        raise ScalingarError(
            f"The signal {name!r} reads {error}, which was not recorded. Recorded: "
            f"{', '.join(steps)}."
        ) from error
    except Exception as error:
        raise ContractError(
            f"The signal {name!r} failed: {type(error).__name__}: {error}."
        ) from error
    wanted = (len(recording.candidate), until)
    if values.shape != wanted:
        raise ContractError(
            f"The signal {name!r} returned the shape {values.shape}; it must be {wanted}: a number "
            "for each candidate and step."
        )
    if not np.isfinite(values).all():
        row, step = np.argwhere(~np.isfinite(values))[0]
        raise ContractError(f"The signal {name!r} is not finite at step {step} (row {row}).")
    return values


def running_mean(values: Array) -> Array:
    """The mean of each row up to and including each step, `[N, T]`."""
    means: Array = np.cumsum(values, axis=1) / np.arange(1, values.shape[1] + 1)
    return means
