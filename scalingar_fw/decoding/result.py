"""What comes out: every trajectory with its status and sentence, the answer, and what it cost."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import asdict, define, field, frozen

from scalingar_fw.decoding.noise import Prompt

Array = np.ndarray[Any, Any]


class Status(str, enum.Enum):
    """How a candidate ended. A value is data: it survives into tables and plots."""

    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    DROPPED = "dropped"
    OUT_OF_BUDGET = "out_of_budget"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Status.RUNNING: "still being decoded",
    Status.COMPLETED: "decoded to its last token",
    Status.PRUNED: "ended early because it was worse than others of its prompt",
    Status.DROPPED: "not continued by the sampler, which gave its place to other histories",
    Status.OUT_OF_BUDGET: "ended early because the token budget was spent",
}


def frozen_array(values: Any) -> Array:
    """A read-only numpy array."""
    array = np.array(values)
    array.setflags(write=False)
    return array


@frozen(eq=False)
class Trajectory:
    """A candidate's whole history.

    `tokens [L]` int64; `signals`: name to `[L]` float32, one value per token (read from a common
    table when asked for, where a search drops candidates by the thousand). `parent`: the
    candidate that it was forked from, or None; the tokens before `forked_at` are then shared.
    """

    prompt: int
    candidate: int
    status: Status
    reason: str
    tokens: Array
    signals: Mapping[str, Array] = field(repr=False)
    parent: int | None = None
    forked_at: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def completed(self) -> bool:
        return self.status is Status.COMPLETED

    def final(self, signal: str) -> float:
        """The last value of a signal; NaN where it was not recorded."""
        values = self.signals.get(signal)
        return float(values[-1]) if values is not None and len(values) else float("nan")


@define
class Ledger:
    """What a decode cost.

    `tokens`: tokens sampled, over all candidates. `prefill_rows`, `decode_rows`: rows sent through
    the model (guidance doubles them), for the prompts and for the tokens; `scored_rows`: for
    reading finished candidates again (`Pool.log_probs`). `model_calls`: forward passes. `seconds`: by phase. `peak_bytes`: of the device's allocator on a GPU, of the process
    on a CPU. `floored_logits`: one-sided -inf entries that were floored (signals.sanitize).
    """

    tokens: int = 0
    prefill_rows: int = 0
    decode_rows: int = 0
    scored_rows: int = 0
    model_calls: int = 0
    seconds: dict[str, float] = field(factory=dict)
    peak_bytes: int = 0
    floored_logits: int = 0

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def forward_rows(self) -> int:
        return self.prefill_rows + self.decode_rows + self.scored_rows

    def counts(self) -> dict[str, int]:
        """The part that does not depend on the machine."""
        record = asdict(self)
        return {k: v for k, v in record.items() if k not in ("seconds", "peak_bytes")}


def _trajectories(values: Iterable[Trajectory]) -> tuple[Trajectory, ...]:
    return tuple(values)


def _places(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@frozen(eq=False)
class Decoded:
    """All that one call of the loop produced, for all its prompts.

    `trajectories`: every candidate once, by prompt, then by candidate id. `chosen[p]`: index into
    `trajectories` of prompt p's answer.
    """

    prompts: Sequence[Prompt]
    trajectories: Sequence[Trajectory] = field(converter=_trajectories)
    chosen: Sequence[int] = field(converter=_places)  # observers see it, and may not change it
    ledger: Ledger
    total_tokens: int  # T, per complete candidate
    n: int

    def of_prompt(self, prompt: int) -> list[Trajectory]:
        return [t for t in self.trajectories if t.prompt == prompt]

    def answer(self, prompt: int = 0) -> Trajectory:
        return self.trajectories[self.chosen[prompt]]

    def count(self, status: Status) -> int:
        return sum(t.status is status for t in self.trajectories)

    @property
    def recoveries(self) -> int:
        """Flags that were cleared again by a rebound (0 where no policy records them)."""
        total = 0
        for t in self.trajectories:
            flags = t.signals.get("recovered")
            if flags is not None:
                total += int(np.nansum(flags[t.forked_at :]))
        return total
