"""In this process, one task after the other: for debuggers, notebooks and models made in Python."""

from __future__ import annotations

from collections.abc import Sequence

from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.executors import Outcome, Task
from scalingar_fw.experiments.worker import Setup, Worker
from scalingar_fw.registry import Registry


class InlineExecutor:
    """`registry`: what names mean; the installed plugins where None."""

    name = "inline"
    slots = 1

    def __init__(self, workers: int = 1, registry: Registry | None = None) -> None:
        if workers != 1:
            raise ScalingarError(f"workers={workers}: inline has one, use --executor local.")
        self._registry = registry
        self._tasks: list[Task] = []
        self._worker: Worker | None = None
        self._threads = 0

    def start(self, setup: Setup) -> None:
        import torch

        self._threads = torch.get_num_threads()
        self._worker = Worker(setup, self._registry)

    def submit(self, tasks: Sequence[Task]) -> None:
        self._tasks += tasks

    def wait(self, seconds: float) -> list[Outcome]:
        if not self._tasks:
            return []
        task = self._tasks.pop(0)
        assert self._worker is not None
        return [Outcome(task.id, getattr(self._worker, task.method)(**task.arguments))]

    def stop(self) -> None:
        import torch

        self._tasks = []
        self._worker = None
        torch.set_num_threads(self._threads or torch.get_num_threads())
