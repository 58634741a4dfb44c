"""Apply a strategy's estimator, termination and selection to recorded candidates, model-free.

The same components see the same numbers in the same order as in `scalingar_fw.decoding.loop`, all prompts
side by side; what comes out is what decoding would have given, to the bit where the model's rows
do not influence each other's rounding. `exactness.py` says what is refused.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen
from torch import Tensor

from scalingar_analysis.recordings.recording import CHOSEN, LOGITS, Recording
from scalingar_analysis.replay.exactness import Absent, check_replayable
from scalingar_fw.decoding.components import Context, Pool, Step
from scalingar_fw.decoding.loop import check_recorded
from scalingar_fw.decoding.result import Array, Status, Trajectory
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Chosen, Rows, take
from scalingar_fw.decoding.step import commit, departures, observe, recorded, remember, terminate
from scalingar_fw.decoding.strategy import ConstantGuidance, Strategy
from scalingar_fw.errors import ContractError, ScalingarError


@frozen(eq=False)
class Replay:
    """What would have happened to the N recorded candidates of P prompts.

    `lengths [N]`: tokens that each would have been decoded for; `statuses`, `reasons`: how each
    would have ended; `signals`: name to `[N, T]` float32, NaN beyond a candidate's end; `since`:
    the step at which each was first recorded; `chosen [P]`: the answers' rows.
    """

    strategy: Strategy
    recording: Recording = field(repr=False)
    lengths: Array = field(repr=False)
    statuses: tuple[Status, ...] = field(repr=False)
    reasons: tuple[str, ...] = field(repr=False)
    signals: dict[str, Array] = field(repr=False)
    since: dict[str, int] = field(repr=False)

    @functools.cached_property
    def chosen(self) -> Array:
        prompts = range(len(self.recording))
        rows = [self.recording.rows_of(p) for p in prompts]
        picks = [self.choose(p, rows[p][self.completed[rows[p]]]) for p in prompts]
        return np.array(picks, dtype=np.int64)

    @property
    def tokens(self) -> Array:
        """Tokens sampled for each prompt, `[P]`."""
        totals: Array = np.bincount(self.recording.prompt, self.lengths, len(self.recording))
        return totals.astype(np.int64)

    @property
    def completed(self) -> Array:
        """Who would have been decoded to the end, `[N]` bool."""
        full: Array = self.lengths == self.recording.grid.size
        return full

    @property
    def score(self) -> Array:
        """The answers' scores, `[P]`; NaN where nobody judged."""
        found: Array = self.recording.scores[self.chosen]
        return found

    @property
    def recoveries(self) -> Array:
        """Flags that were cleared again, for each prompt, `[P]`."""
        marks = self.signals.get("recovered")
        if marks is None:
            return np.zeros(len(self.recording))
        sums: Array = np.bincount(
            self.recording.prompt, np.nansum(marks, axis=1), len(self.recording)
        )
        return sums

    def trajectory(self, row: int) -> Trajectory:
        """A candidate as decoding would have given it, up to where it would have ended."""
        recording, length = self.recording, int(self.lengths[row])
        return Trajectory(
            prompt=int(recording.prompt[row]),
            candidate=int(recording.candidate[row]),
            status=self.statuses[row],
            reason=self.reasons[row],
            tokens=recording.tokens[row, :length],
            signals={s: v[row, :length] for s, v in self.signals.items() if self.since[s] < length},
        )

    def choose(self, prompt: int, done: Array) -> int:
        """Whom of the completed rows `done` of a prompt the selector picks."""
        asked = self.recording.asked[prompt]
        pool = Pool(asked.prompt, [self.trajectory(int(r)) for r in done], asked.seed, _no_images)
        pick = self.strategy.selector.select(pool)
        if not 0 <= pick < len(done):
            raise ContractError(
                f"{type(self.strategy.selector).__name__} chose candidate {pick} of {len(done)} "
                "completed ones."
            )
        return int(done[pick])


def _no_images(_: Any) -> Array:
    raise ScalingarError(
        "This strategy cannot be replayed: its selector looks at images, and a recording holds "
        "tokens and signals. Decode it, or choose a selector that reads signals."
    )


class _Log:
    """Signals as `[T, N]` tensors, filled step by step."""

    def __init__(self, total: int, rows: int) -> None:
        self._shape = (total, rows)
        self.tables: dict[str, Tensor] = {}
        self.since: dict[str, int] = {}

    def add(self, index: int, live: Tensor | None, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            table = self.tables.get(name)
            if table is None:
                table = self.tables[name] = torch.full(self._shape, torch.nan)
                self.since[name] = index
            if live is None:
                table[index] = value
            else:
                table[index, live] = value.float()


def replay(strategy: Strategy, recording: Recording, *, schedule: bool = False) -> Replay:
    """Replay `strategy` on every prompt of a recording.

    `schedule`: do not refuse a guidance schedule; it does not act, and what it would have asked
    for at each recorded step is recorded as `scale_asked`: a diagnostic of one step, since its
    first step away from the recorded scale would have changed every later one.

    Raises:
        ScalingarError: the strategy would have sampled other tokens, or reads what was not
            recorded.
    """
    acting = strategy
    if schedule and recording.strategy is not None:
        acting = evolve(strategy, guidance=recording.strategy.guidance)
    check_replayable(acting, recording)
    total, grid = recording.grid.size, recording.grid
    rows = Rows.of(recording.prompt, recording.candidate, len(recording))
    count = len(rows)
    lengths = np.full(count, total)
    statuses = [Status.COMPLETED] * count
    reasons = [Status.COMPLETED.sentence] * count
    log, by_step = _Log(total, count), recording.by_step
    live: Tensor | None = None  # everybody
    prompts, seeds = [a.prompt for a in recording.asked], [a.seed for a in recording.asked]
    logits: Any = Absent("the logits' whole distribution")
    noise: Any = Absent("the sampling noise")
    with torch.inference_mode():
        context = Context(rows, grid, 0, recording.sampling, torch.device("cpu"))
        # A schedule does not act here; it is asked only where its answers are wanted.
        asked = strategy if schedule else evolve(strategy, guidance=ConstantGuidance())
        memories = remember(asked, context)
        tokens = torch.from_numpy(np.ascontiguousarray(recording.tokens.T))
        for index in range(total):
            step = Step(index, total, grid, rows, noise, prompts, seeds)
            now = {
                name: table[index] if live is None else table[index].index_select(0, live)
                for name, table in by_step.items()
            }
            read = {name: now[name] for name in LOGITS}
            signals = Signals(**read, log_p_cond=logits, log_p_uncond=logits)
            confidence, scale, memories = observe(asked, memories, signals, step)
            token = tokens[index] if live is None else tokens[index].index_select(0, live)
            chosen = Chosen(token, *(now[name] for name in CHOSEN))
            confidence, memories = commit(asked, memories, confidence, chosen, step)
            verdict, memories = terminate(asked, memories, confidence, step)
            own = recorded({"scale_asked": scale} if schedule else {}, confidence, verdict)
            log.add(index, live, own)
            values = {"token": token, **now, **own}
            if "scale" in recording.signals:
                scales = torch.from_numpy(recording.signals["scale"][:, index])
                values["scale"] = scales if live is None else scales.index_select(0, live)
            leaving = departures(asked, verdict, values, step)
            if not leaving:
                continue
            stay = np.delete(np.arange(len(rows)), [gone.row for gone in leaving])
            for gone in leaving:
                place = gone.row if live is None else int(live[gone.row])
                lengths[place] = index + 1
                statuses[place], reasons[place] = gone.status, gone.sentence
            keep = torch.from_numpy(stay)
            live, rows = keep if live is None else live[keep], rows.take(keep)
            memories = take(memories, keep)
    kept = [s for s in (*LOGITS, *CHOSEN, "scale") if s in recording.signals]
    check_recorded(strategy, [*kept, *log.tables])
    tables = {name: table.t().contiguous().numpy() for name, table in log.tables.items()}
    return Replay(
        strategy=strategy,
        recording=recording,
        lengths=lengths,
        statuses=tuple(statuses),
        reasons=tuple(reasons),
        signals={**{s: recording.signals[s] for s in kept}, **tables},
        since={**dict.fromkeys(kept, 0), **log.since},
    )
