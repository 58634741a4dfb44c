"""How long a policy takes on recorded candidates, in seconds of one core.

    python tests/benchmarks/replay_speed.py --prompts 1000 -n 8 --rows 12 --cols 12

Signals are drawn at random: the time does not depend on what they mean, but on how many
candidates a policy ends, which is printed.
"""

from __future__ import annotations

import time

import click
import numpy as np
import torch

from scalingar_analysis.recordings.recording import CHOSEN, LOGITS, Asked, Recording
from scalingar_analysis.replay.replay import replay
from scalingar_fw.config.serialization import build
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import ConstantGuidance, Strategy
from scalingar_fw.registry import default_registry


def random_recording(prompts: int, n: int, grid: Grid) -> Recording:
    """Signals in their ranges, each candidate with a level of its own."""
    rng = np.random.default_rng(0)
    count, total = prompts * n, grid.size
    level = rng.uniform(0.5, 1.5, size=(count, 1))
    signals = {
        name: (level * rng.uniform(0, 0.6, size=(count, total))).astype(np.float32)
        for name in LOGITS
    }
    signals |= {
        name: -(level * rng.exponential(size=(count, total))).astype(np.float32) for name in CHOSEN
    }
    signals["scale"] = np.full((count, total), 2.0, dtype=np.float32)
    return Recording(
        asked=tuple(Asked(Prompt(f"prompt {i}"), 0, i, "task", f"{i}") for i in range(prompts)),
        prompt=np.repeat(np.arange(prompts), n),
        candidate=np.tile(np.arange(n), prompts),
        tokens=rng.integers(0, 1024, size=(count, total)),
        signals=signals,
        scores=rng.integers(0, 2, size=count).astype(float),
        grid=grid,
        sampling=Sampling(guidance=2.0),
        strategy=Strategy("record"),
    )


@click.command(help=__doc__)
@click.option("--strategy", default="scalingar", show_default=True)
@click.option("--prompts", default=1000, show_default=True)
@click.option("-n", default=8, show_default=True)
@click.option("--rows", default=12, show_default=True)
@click.option("--cols", default=12, show_default=True)
@click.option("--repeats", default=5, show_default=True)
def main(strategy: str, prompts: int, n: int, rows: int, cols: int, repeats: int) -> None:
    torch.set_num_threads(1)
    registry = default_registry()
    built = override(
        build("strategy", strategy, registry), {"guidance": ConstantGuidance()}, registry
    )
    recording = random_recording(prompts, n, Grid(rows, cols))
    walls, cores = [], []
    for _ in range(repeats):
        wall, core = time.perf_counter(), time.process_time()
        outcome = replay(built, recording)
        chosen = outcome.chosen
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    ended = (~outcome.completed).sum() / len(chosen)
    click.echo(
        f"{strategy}: {prompts} prompts x {n} candidates x {rows * cols} steps, {ended:.2f} ended "
        f"of {n}: {np.median(walls):.2f} s (process time {np.median(cores):.2f} s), median of "
        f"{repeats}"
    )


if __name__ == "__main__":
    main()
