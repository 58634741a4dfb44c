"""Processes of this machine, each with a resident model."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from attrs import define

from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.experiments.executors import Outcome, Task
from scalingar_fw.experiments.worker import Setup, Worker


@define
class _Process:
    process: Any
    pipe: Connection
    task: Task | None = None


class LocalExecutor:
    """`workers` processes, started by spawn when there is work for them and replaced when they
    die. On a machine with several GPUs, worker k computes on GPU k modulo their number, unless
    the device was named."""

    name = "local"

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._setup: Setup | None = None
        self._running: list[_Process] = []
        self._waiting: list[Task] = []

    @property
    def slots(self) -> int:
        return self._workers

    def start(self, setup: Setup) -> None:
        self._setup = setup

    def submit(self, tasks: Sequence[Task]) -> None:
        self._waiting += tasks
        self._deal()

    def _deal(self) -> None:
        while self._waiting:
            idle = next((p for p in self._running if p.task is None), None)
            if idle is None and len(self._running) < self._workers:
                idle = self._spawn()
            if idle is None:
                return
            task = self._waiting.pop(0)
            idle.task = task
            with contextlib.suppress(OSError):  # it died: `wait` finds out and says so
                idle.pipe.send((task.method, dict(task.arguments)))

    def _spawn(self) -> _Process:
        assert self._setup is not None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        taken = {p.process.name for p in self._running}
        place = next(i for i in itertools.count() if f"scalingar-{i}" not in taken)
        process = context.Process(
            target=_serve, args=(theirs, self._setup.to_data(), place), name=f"scalingar-{place}"
        )
        process.daemon = True  # ends with this one, where this one ends in order
        process.start()
        theirs.close()  # so that the pipe breaks when the process dies
        worker = _Process(process, ours)
        self._running.append(worker)
        return worker

    def wait(self, seconds: float) -> list[Outcome]:
        busy = {p.pipe: p for p in self._running if p.task is not None}
        if not busy:
            time.sleep(seconds)
            return []
        out = []
        for pipe in wait(list(busy), seconds):
            worker = busy[pipe]  # type: ignore[index]
            assert worker.task is not None
            identity, worker.task = worker.task.id, None
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                self._running.remove(worker)
                worker.pipe.close()
                out.append(Outcome(identity, lost=_death(worker.process.exitcode)))
                continue
            if kind == "result":
                out.append(Outcome(identity, value))
            else:
                out.append(Outcome(identity, broken=value))
        self._deal()
        return out

    def stop(self) -> None:
        self._waiting = []
        for worker in self._running:
            worker.process.terminate()
        for worker in self._running:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._running = []


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"its worker was ended by {name}{hint}"
    return f"its worker ended with exit code {code}"


def _serve(pipe: Connection, setup: dict[str, Any], place: int) -> None:
    """A worker process: tasks in, results out, until the pipe ends."""
    # Ctrl-C reaches the whole group; the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An exception, so that what is half-written is removed.
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    worker: Worker | None = None
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):  # the driver is gone, and with it whoever would send more
            return
        try:
            if worker is None:
                worker = Worker(_on_own_device(Setup.from_data(setup), place), name=str(place))
            answer = ("result", getattr(worker, method)(**arguments))
        except (ScalingarError, ContractError) as error:
            answer = ("broken", str(error))
        with contextlib.suppress(OSError):
            pipe.send(answer)


def _leave() -> None:
    raise SystemExit(143)


def _on_own_device(setup: Setup, place: int) -> Setup:
    import torch
    from attrs import evolve

    if setup.device not in ("auto", "cuda") or not torch.cuda.is_available():
        return setup
    return evolve(setup, device=f"cuda:{place % torch.cuda.device_count()}")
