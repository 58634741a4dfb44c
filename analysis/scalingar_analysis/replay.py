"""Apply a strategy's estimator, termination and selection to recorded trajectories, model-free.

Exact for policies that do not change a survivor's tokens: an estimator and a termination policy
read signals, and under keyed noise a candidate's signals do not depend on who else lives. It is
not exact for anything that feeds back into sampling: guidance schedules, temperature, forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen

from scalingar_fw.errors import ScalingarError
from scalingar_fw.noise import Prompt
from scalingar_fw.protocols import Context, Pool, Step
from scalingar_fw.result import Status, Trajectory
from scalingar_fw.sampling import Sampling
from scalingar_fw.signals import Signals
from scalingar_fw.state import Chosen, Grid, Rows, take
from scalingar_fw.strategy import Strategy

#: What an estimator may read of a recorded step.
SIGNALS = ("entropy_nats", "entropy", "margin", "kl")
CHOSEN = ("log_prob_cond", "log_prob_uncond", "log_prob_guided")


@frozen(eq=False)
class Replayed:
    """One prompt's outcome under the replayed policy.

    `lengths [n]`: tokens that each candidate would have been decoded for; `chosen`: the answer's
    place; `confidence [n]`: C at each candidate's last step; `recoveries`: cleared flags.
    `scale [T, n]`: what the guidance schedule would have asked for at each recorded step, NaN
    after a candidate's end. It did not act, so that is a diagnostic of one step, not a replay.
    """

    lengths: np.ndarray[Any, Any]
    chosen: int
    confidence: np.ndarray[Any, Any]
    recoveries: int
    scale: np.ndarray[Any, Any]

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())


def replay(
    strategy: Strategy,
    pools: Sequence[Sequence[Trajectory]],
    grid: Grid,
    sampling: Sampling | None = None,
) -> list[Replayed]:
    """Replay over complete trajectories: `pools[p]` are the candidates of prompt p; `sampling`:
    what they were recorded under (for the diagnostic of the scale).

    Raises:
        ScalingarError: a trajectory is not complete, so its future is unknown.
    """
    flat = [t for pool in pools for t in pool]
    total = grid.size
    if any(len(t) != total for t in flat):
        raise ScalingarError(
            "Replay needs complete trajectories: record with a policy that never terminates."
        )
    table = {
        name: torch.from_numpy(np.stack([t.signals[name] for t in flat], axis=1).copy())
        for name in (*SIGNALS, *CHOSEN)
    }
    prompt = np.repeat(np.arange(len(pools)), [len(p) for p in pools])
    candidate = np.array([t.candidate for t in flat])
    rows = Rows.of(prompt, candidate, len(pools))
    live = torch.arange(len(flat))
    lengths = np.full(len(flat), total)
    last_c = np.zeros(len(flat), dtype=np.float32)
    recovered = np.zeros(len(flat))
    scales = np.full((total, len(flat)), np.nan, dtype=np.float32)
    with torch.inference_mode():
        context = Context(rows, grid, 0, sampling or Sampling(), torch.device("cpu"))
        memory = strategy.confidence.init(context)
        policy = strategy.termination.init(context)
        schedule = strategy.guidance.init(context)
        for index in range(total):
            step = Step(index, total, grid, rows, torch.zeros(len(rows)))
            now = {name: values[index, live] for name, values in table.items()}
            none = torch.empty(len(rows), 0)
            signals = Signals(
                now["entropy_nats"], now["entropy"], now["margin"], now["kl"], none, none
            )
            confidence, memory = strategy.confidence.update(memory, signals, step)
            scale, schedule = strategy.guidance.update(schedule, confidence, step)
            chosen = Chosen(live.new_zeros(len(live)), *(now[name] for name in CHOSEN))
            confidence, memory = strategy.confidence.commit(memory, confidence, chosen, step)
            verdict, policy = strategy.termination.update(policy, confidence, step)
            places = live.numpy()
            last_c[places] = confidence.value.numpy()
            scales[index, places] = scale.numpy()
            if "recovered" in verdict.trace:
                recovered[places] += verdict.trace["recovered"].numpy()
            if index == total - 1 or verdict.terminate is None or not verdict.terminate.any():
                continue
            gone = verdict.terminate
            lengths[places[gone.numpy()]] = index + 1
            keep = torch.flatten(torch.nonzero(~gone))
            live, rows = live[keep], rows.take(keep)
            memory, policy, schedule = (take(m, keep) for m in (memory, policy, schedule))
    out = []
    for number, pool in enumerate(pools):
        inside = np.flatnonzero(prompt == number)
        ended = [
            evolve(
                t,
                status=Status.COMPLETED if lengths[i] == total else Status.PRUNED,
                signals={**t.signals, "confidence": last_c[i : i + 1]},
            )
            for t, i in zip(pool, inside, strict=True)
        ]
        done = [k for k, t in enumerate(ended) if t.completed]
        pick = strategy.selector.select(Pool(Prompt(), [ended[k] for k in done], 0))
        out.append(
            Replayed(
                lengths[inside],
                done[pick],
                last_c[inside],
                int(recovered[inside].sum()),
                scales[:, inside],
            )
        )
    return out
