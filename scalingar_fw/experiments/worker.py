"""A worker: one resident model, units one after the other. What every executor runs."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.experiments.condition import trouble
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.trust import allowed, restrict

if TYPE_CHECKING:
    from scalingar_fw.benchmark import Benchmark
    from scalingar_fw.decoding.components import ModelAdapter
    from scalingar_fw.registry import Registry

#: What may happen to a unit that a worker was given.
DONE, EXISTS, BUSY, LATE, FAILED = "done", "exists", "busy", "late", "failed"


@frozen
class Setup:
    """What a worker needs to know before its first unit; plain values, so that it travels.

    `plugins`: files of plugins to load beside the installed ones. `root`: the store's folder.
    `imports`: modules that a sweep may name beside plugins' (trust.py); None: any.
    """

    model: str
    root: str
    executor: str
    weights: str | None = None
    options: Mapping[str, Any] = {}
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    benchmark: str = "shapes"
    benchmark_options: Mapping[str, Any] = {}
    plugins: tuple[str, ...] = ()
    imports: tuple[str, ...] | None = None

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Setup:
        imports = data.get("imports")
        return cls(
            **{
                **data,
                "plugins": tuple(data["plugins"]),
                "imports": None if imports is None else tuple(imports),
            }
        )


@frozen
class Facts:
    """What a sweep must know of its model before units can be named.

    `total`: tokens of an image. `sampling`: the model's preset. `flops`: fields of `Flops`,
    measured once for all workers.
    """

    model: str
    model_hash: str
    device: str
    dtype: str
    total: int
    branches: int
    sampling: Mapping[str, Any]
    flops: Mapping[str, Any]


class Worker:
    """Does units; the model and the benchmark are loaded once, when first needed."""

    def __init__(self, setup: Setup, registry: Registry | None = None, name: str = "0") -> None:
        import torch

        # The number of threads rounds sums: part of a unit's key, never the machine's choice.
        torch.set_num_threads(setup.threads)
        if setup.imports is not None and allowed() is None:  # another process than the driver's
            restrict(setup.imports)
        self.setup = setup
        self.name = name
        self.layout = Layout(Path(setup.root))
        self._registry = registry

    @cached_property
    def registry(self) -> Registry:
        from scalingar_fw.registry import environment_files, load_registry

        if self._registry is not None:
            return self._registry
        files = [*environment_files(), *map(Path, self.setup.plugins)]
        return load_registry(list(dict.fromkeys(p.resolve() for p in files)))

    @cached_property
    def _loaded(self) -> tuple[str, ModelAdapter, str]:
        from scalingar_fw.config.identity import model_identity
        from scalingar_fw.generation.plan import load_model

        setup = self.setup
        name, model = load_model(
            setup.model,
            self.registry,
            device=setup.device,
            dtype=setup.dtype,
            weights=setup.weights,
            options=setup.options,
        )
        return name, model, model_identity(model, setup.options)

    @cached_property
    def benchmark(self) -> Benchmark:
        from scalingar_fw.benchmark import make_benchmark

        return make_benchmark(self.registry, self.setup.benchmark, self.setup.benchmark_options)

    def probe(self, split: str, places: Sequence[int]) -> dict[str, Any]:
        """`Facts` as plain data; a prompt that the model cannot read is found here, before hours
        of work on the others."""
        from scalingar_fw.config.device import dtype_name
        from scalingar_fw.config.run_config import describe_sampling
        from scalingar_fw.experiments.metering import flops_of

        name, model, fingerprint = self._loaded
        items = self.benchmark.items(split)
        prompts = list(dict.fromkeys(items[place].prompt for place in places))
        for start in range(0, len(prompts), 16):
            model.encode(prompts[start : start + 16])
        facts = Facts(
            model=name,
            model_hash=fingerprint,
            device=model.device.type,
            dtype=dtype_name(model.dtype),
            total=model.grid.size,
            branches=model.branches,
            sampling=describe_sampling(model.preset),
            flops=asdict(flops_of(model, items[places[0]].prompt)),
        )
        return asdict(facts)

    def run(
        self,
        label: str,
        config: Mapping[str, Any],
        flops: Mapping[str, Any],
        until: float | None = None,
    ) -> dict[str, Any]:
        """Do a unit and put it into the store, unless it is there or somebody else is at it.

        `flops`: of the model, from `probe`. `until`: no unit is begun after this moment (seconds
        since the epoch). The report's `status`
        says what happened; `error` and `kind` say why it failed.
        """
        from scalingar_fw.experiments.claims import claimed
        from scalingar_fw.experiments.flops import Flops
        from scalingar_fw.experiments.unit import Unit

        unit = Unit(label, config)
        report: dict[str, Any] = {"key": unit.key, "status": DONE}
        if until is not None and time.time() >= until:
            return {**report, "status": LATE}
        try:
            if trouble(self.layout, unit.key, deep=False) is None:
                return {**report, "status": EXISTS}
            with claimed(self.layout, unit.key) as mine:
                if not mine:
                    return {**report, "status": BUSY}
                # It may have been finished between the look and the claim.
                if trouble(self.layout, unit.key, deep=False) is None:
                    return {**report, "status": EXISTS}
                if not self._do(unit, Flops(**flops)):
                    return {**report, "status": EXISTS}
        except Exception as error:
            try:
                self.layout.check_here()
            except ScalingarError as gone:  # then whatever failed failed for this
                return {**report, "status": FAILED, "kind": "disk", "error": str(gone)}
            return {**report, "status": FAILED, **_why(error)}
        return report

    def _do(self, unit: Any, flops: Any) -> bool:
        """Whether it was this worker that put the unit into the store."""
        from scalingar_fw.config.serialization import build
        from scalingar_fw.decoding.sampling import Sampling
        from scalingar_fw.experiments.evaluate import decode_items
        from scalingar_fw.experiments.metering import by_component, metered
        from scalingar_fw.experiments.store_writer import put, timestamp, write_unit, writing_place
        from scalingar_fw.hooks import make_hooks

        config = unit.config
        _, model, fingerprint = self._loaded
        if fingerprint != config["model_hash"]:
            raise ScalingarError(
                f"The worker's model has weights {fingerprint[:12]}..., the sweep was made with "
                f"{config['model_hash'][:12]}...: give all workers the same files."
            )
        strategy = build("strategy", config["strategy"], self.registry)
        with_meter, meter = metered(strategy, flops)
        start = time.perf_counter()
        with writing_place(self.layout, unit.key) as place:
            results = decode_items(
                model,
                with_meter,
                self.benchmark,
                unit.items,
                n=config["n"],
                seed=config["seed"],
                sampling=Sampling(**config["sampling"]),
                hooks=make_hooks(self.registry.observers),
            )
            decoded = time.perf_counter()
            receipt = write_unit(
                place,
                unit,
                results,
                grid=model.grid,
                oracle=strategy.oracle,
                flops=by_component(
                    flops, meter, len(results), [t for r in results for t in r.trajectories]
                ),
            )
            ledger = results[0].ledger
            seconds = {**ledger.seconds, "write": time.perf_counter() - decoded}
            receipt["seconds"] = {k: round(v, 6) for k, v in seconds.items()}
            receipt["wall_seconds"] = round(time.perf_counter() - start, 6)
            receipt["peak_bytes"] = ledger.peak_bytes
            receipt["when"] = timestamp()
            receipt["executor"] = self.setup.executor
            receipt["worker"] = self.name
            return put(self.layout, unit.key, place, receipt)


def _why(error: Exception) -> dict[str, Any]:
    """An error as plain data. `kind`: "input" (it would happen again), "disk", or "bug"."""
    if isinstance(error, (ScalingarError, ContractError)):
        return {"kind": "input", "error": str(error)}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        where = f": {error.filename}" if error.filename else ""
        return {"kind": "disk", "error": f"{error.strerror}{where}"}
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        text = "Out of memory: use a smaller batch or n, or --dtype bfloat16."
        return {"kind": "input", "error": text}
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    return {"kind": "bug", "error": text, "traceback": traceback.format_exc()}
