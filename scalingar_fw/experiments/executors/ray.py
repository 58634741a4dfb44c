"""Actors of a Ray cluster, each with a resident model. Needs the extra `ray`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from scalingar_fw.experiments.executors import Outcome, Task, missing_extra
from scalingar_fw.experiments.worker import Setup, Worker


class RayExecutor:
    """`workers` actors.

    Options: `address` (default: $RAY_ADDRESS, else a cluster on this machine that ends with the
    sweep), `num_cpus` (default: the sweep's threads) and `num_gpus` that each actor reserves. The
    store's folder must be one that all nodes see.
    """

    name = "ray"

    def __init__(
        self,
        workers: int = 1,
        address: str | None = None,
        num_cpus: float | None = None,
        num_gpus: float = 0.0,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise missing_extra("Ray", "ray") from error
        self._ray = ray
        self._workers = workers
        self._address = address
        self._num_cpus = None if num_cpus is None else float(num_cpus)
        self._num_gpus = float(num_gpus)
        self._ours = False
        self._setup: Setup | None = None
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        self._waiting: list[Task] = []
        self._running: dict[Any, tuple[Any, str]] = {}

    @property
    def slots(self) -> int:
        return self._workers

    def start(self, setup: Setup) -> None:
        self._setup = setup
        if not self._ray.is_initialized():
            self._ours = True
            local = {} if self._address else {"include_dashboard": False}
            self._ray.init(address=self._address, log_to_driver=False, **local)

    def _spawn(self) -> Any:
        assert self._setup is not None
        cpus = self._setup.threads if self._num_cpus is None else self._num_cpus
        remote = self._ray.remote(num_cpus=cpus, num_gpus=self._num_gpus)(_Actor)
        actor = remote.remote(self._setup.to_data(), str(len(self._actors)))
        self._actors.append(actor)
        return actor

    def submit(self, tasks: Sequence[Task]) -> None:
        self._waiting += tasks
        self._deal()

    def _deal(self) -> None:
        while self._waiting:
            if not self._idle and len(self._actors) < self._workers:
                self._idle.append(self._spawn())
            if not self._idle:
                return
            actor, task = self._idle.pop(), self._waiting.pop(0)
            reference = actor.call.remote(task.method, dict(task.arguments))
            self._running[reference] = (actor, task.id)

    def wait(self, seconds: float) -> list[Outcome]:
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        out = []
        for reference in ready:
            actor, identity = self._running.pop(reference)
            try:
                kind, value = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                self._actors.remove(actor)
                out.append(Outcome(identity, lost=f"its actor died: {str(error).splitlines()[0]}"))
                continue
            self._idle.append(actor)
            result = {"result": value} if kind == "result" else {"broken": value}
            out.append(Outcome(identity, **result))
        self._deal()
        return out

    def stop(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._idle, self._waiting, self._running = [], [], [], {}
        if self._ours:
            self._ray.shutdown()
            self._ours = False


class _Actor:
    """What runs on the cluster: a worker that answers with values and never raises ours."""

    def __init__(self, setup: dict[str, Any], name: str) -> None:
        self._setup, self._name = Setup.from_data(setup), name
        self._worker: Worker | None = None

    def call(self, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
        from scalingar_fw.errors import ContractError, ScalingarError

        try:
            if self._worker is None:
                self._worker = Worker(self._setup, name=self._name)
            return "result", getattr(self._worker, method)(**arguments)
        except (ScalingarError, ContractError) as error:
            return "broken", str(error)
