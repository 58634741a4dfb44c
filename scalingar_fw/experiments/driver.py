"""Running a sweep: the executor is started, the model looked at, and what is missing handed out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalingar_fw.benchmark import Benchmark, make_benchmark
from scalingar_fw.config.serialization import build_strategy
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ResultWarning, ScalingarError
from scalingar_fw.experiments.dispatch import Dispatch
from scalingar_fw.experiments.events import Ended, Observer, Observers
from scalingar_fw.experiments.executors import Executor, Task, make_executor
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.store_writer import create_store
from scalingar_fw.experiments.sweep import Shard, Sweep
from scalingar_fw.experiments.worker import Facts, Setup
from scalingar_fw.registry import Registry, default_registry
from scalingar_fw.trust import allowed


def run_sweep(
    sweep: Sweep,
    out: Path | str,
    *,
    executor: str | Executor = "local",
    workers: int = 1,
    executor_options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    plugins: Sequence[Path] = (),
    observers: Iterable[Observer] = (),
    max_tokens: int | None = None,
    max_hours: float | None = None,
    shard: Shard | None = None,
    dry_run: bool = False,
) -> Ended:
    """Do what is missing of `sweep` in the store `out`; running it again does nothing.

    Args:
        sweep: from `make_sweep`.
        out: the store's folder, made if it is not there.
        executor: "local", "ray", "slurm", "inline", `module:Class`, or one made in Python.
        workers: how many units are done at a time.
        executor_options: the executor's own.
        registry: what names mean here and for the inline executor.
        plugins: files that workers load beside the installed plugins.
        observers: who hears of progress (events.py).
        max_tokens: no unit is begun that might take this call beyond so many sampled tokens.
        max_hours: no unit is begun after so many hours.
        shard: this machine's part of the items; None for all of them.
        dry_run: say what would be done, and write nothing.

    Raises:
        ScalingarError: the sweep cannot be done, or not into this store.
        OSError: the store cannot be written, for lack of space for example; what is finished stays.
    """
    for name, value in (("max_tokens", max_tokens), ("max_hours", max_hours)):
        if value is not None and not value > 0:
            raise ScalingarError(f"{name}={value!r} must be more than 0.")
    registry = default_registry() if registry is None else registry
    if executor == "inline":
        executor_options = {"registry": registry, **(executor_options or {})}
    made = make_executor(executor, workers, executor_options)
    layout = Layout(Path(out)) if dry_run else create_store(out)
    benchmark = make_benchmark(registry, sweep.benchmark, sweep.benchmark_options)
    heard = Observers(observers)
    dispatch = Dispatch(sweep, layout, made, benchmark, heard, max_tokens, max_hours, shard)
    made.start(_setup(sweep, layout, made.name, plugins))
    try:
        facts = _probe(made, sweep, benchmark)
        _warn_of_equals(sweep, facts, registry)
        return dispatch.run(facts, workers, dry_run)
    finally:
        made.stop()
        heard.close()


def _warn_of_equals(sweep: Sweep, facts: Facts, registry: Registry) -> None:
    """Say which strategies of the sweep would choose among equal candidates. They are decoded all
    the same: n is part of what was asked for, and of every unit's identity."""
    sampling = Sampling(**{**facts.sampling, **sweep.sampling})
    for entry in sweep.entries:
        most = max(sweep.n_of(entry))
        if most > 1 and build_strategy(entry.strategy, registry).candidates_equal(sampling):
            warnings.warn(
                f"{entry.label}: n={most}, but nothing is drawn at temperature="
                f"{sampling.temperature:g}: its candidates are all the same. Give a temperature "
                "above 0, or n: 1.",
                ResultWarning,
                stacklevel=2,
            )


def _setup(sweep: Sweep, layout: Layout, executor: str, plugins: Sequence[Path]) -> Setup:
    return Setup(
        model=sweep.model,
        root=str(layout.root.resolve()),
        executor=executor,
        weights=sweep.weights,
        options=dict(sweep.options),
        device=sweep.device,
        dtype=sweep.dtype,
        threads=sweep.threads,
        benchmark=sweep.benchmark,
        benchmark_options=dict(sweep.benchmark_options),
        plugins=tuple(str(p.resolve()) for p in plugins),
        imports=allowed(),
    )


def _probe(executor: Executor, sweep: Sweep, benchmark: Benchmark) -> Facts:
    """Load the model where the workers do, and have it read every prompt."""
    places = sweep.places(benchmark.items(sweep.split))
    executor.submit([Task("probe", "probe", {"split": sweep.split, "places": places})])
    while True:
        for outcome in executor.wait(5.0):
            if outcome.result is None:
                why = outcome.broken or f"The model could not be loaded: {outcome.lost}."
                raise ScalingarError(why)
            return Facts(**outcome.result)
