"""Job arrays of Slurm, by submitit. Needs the extra `slurm`.

A job loads the model once and goes through the whole list of units, beginning at its own place and
taking what nobody else has claimed: so jobs that start late, or run on slower nodes, do less.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalingar_fw.experiments.executors import Outcome, Task, missing_extra
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.worker import BUSY, DONE, Setup, Worker

#: How long `stop` waits for processes of this machine that it asked to end.
_GRACE_SECONDS = 10.0
#: Units are many and small beside the wait in a queue: they are submitted all at once.
_SLOTS = 100_000


class SlurmExecutor:
    """Arrays of `workers` jobs.

    Options: `cluster` ("slurm", or "local" for processes of this machine), `minutes` that a job may
    take, and whatever else submitit passes on, such as `slurm_partition`, `gpus_per_node`,
    `cpus_per_task`, `mem_gb`. The store's folder must be one that all nodes see; the jobs' logs are
    in its `slurm/`.
    """

    name = "slurm"
    slots = _SLOTS

    def __init__(
        self, workers: int = 1, cluster: str = "slurm", minutes: int = 240, **parameters: Any
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise missing_extra("submitit", "slurm") from error
        self._submitit = submitit
        self._workers = workers
        self._cluster = cluster
        self._parameters = {"timeout_min": int(minutes), **parameters}
        self._setup: Setup | None = None
        self._open: dict[str, Task] = {}  # not yet given to any job
        self._waves: list[tuple[dict[str, Task], list[Any]]] = []
        self._jobs: list[Any] = []  # of all waves; a job outlives its last unit's receipt

    def start(self, setup: Setup) -> None:
        self._setup = setup
        logs = Path(setup.root) / "slurm"
        self._executor = self._submitit.AutoExecutor(folder=logs, cluster=self._cluster)
        self._executor.update_parameters(name="scalingar", **self._parameters)

    def submit(self, tasks: Sequence[Task]) -> None:
        self._open.update({task.id: task for task in tasks})

    def _launch(self) -> None:
        assert self._setup is not None
        wave, self._open = self._open, {}
        calls = [(t.id, t.method, dict(t.arguments)) for t in wave.values()]
        jobs = []
        count = min(self._workers, len(calls))
        with self._executor.batch():
            for number in range(count):
                start = number * len(calls) // count
                mine = calls[start:] + calls[:start]
                jobs.append(self._executor.submit(_job, self._setup.to_data(), mine, str(number)))
        self._waves.append((wave, jobs))
        self._jobs.extend(jobs)

    def wait(self, seconds: float) -> list[Outcome]:
        if self._open:
            self._launch()
        end = time.monotonic() + seconds
        while True:
            out = self._collect()
            if out or time.monotonic() >= end:
                return out
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))

    def _collect(self) -> list[Outcome]:
        assert self._setup is not None
        layout = Layout(Path(self._setup.root))
        out = []
        for wave, jobs in self._waves:
            # A receipt says that a unit is finished, long before its job is.
            for identity in [i for i in wave if layout.receipt(i).is_file()]:
                del wave[identity]
                out.append(Outcome(identity, {"key": identity, "status": DONE}))
            if wave and all(job.done() for job in jobs):
                answers = _answers(jobs)
                for identity in list(wave):
                    del wave[identity]
                    out.append(answers.get(identity) or Outcome(identity, lost=_why(jobs)))
        self._waves = [w for w in self._waves if w[0]]
        return out

    def stop(self) -> None:
        left = [job for job in self._jobs if not job.done()]
        for job in left:
            job.cancel(check=False)
        if self._cluster == "local":  # these are our children: none may outlive the sweep
            end = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < end and not all(job.done() for job in left):
                time.sleep(0.05)
        self._open, self._waves, self._jobs = {}, [], []


def _answers(jobs: Sequence[Any]) -> dict[str, Outcome]:
    """What the jobs say of tasks that left no receipt; one that did more than wait counts."""
    found: dict[str, Outcome] = {}
    for job in jobs:
        if job.exception() is None:
            for identity, kind, value in job.result():
                known = found.get(identity)
                idle = known is not None and known.result is not None
                if known is None or (idle and known.result.get("status") == BUSY):  # type: ignore[union-attr]
                    found[identity] = Outcome(identity, **{kind: value})
    return found


def _why(jobs: Sequence[Any]) -> str:
    errors = [str(e).strip().splitlines()[-1] for job in jobs if (e := job.exception()) is not None]
    return f"its job failed: {errors[0]}" if errors else "its job ended without an answer"


def _job(
    setup: Mapping[str, Any], calls: Sequence[tuple[str, str, dict[str, Any]]], name: str
) -> list[tuple[str, str, Any]]:
    """What runs on a node: (task, "result" or "broken", value) of each."""
    from scalingar_fw.errors import ContractError, ScalingarError

    out: list[tuple[str, str, Any]] = []
    worker = Worker(Setup.from_data(setup), name=name)
    for identity, method, arguments in calls:
        try:
            out.append((identity, "result", getattr(worker, method)(**arguments)))
        except (ScalingarError, ContractError) as error:
            out.append((identity, "broken", str(error)))
    return out
