"""Where units are done: in this process, in others, on a Ray cluster, or by Slurm.

An executor is given tasks and says what became of them; it decides nothing. Which worker does a
unit, and when, changes no byte of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import frozen

from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.worker import Setup

_HERE = "scalingar_fw.experiments.executors."
#: Name: where it is and what `scalingar bench --help` says. A plugin's may be `module:Class`.
EXECUTORS = {
    "inline": (_HERE + "inline:InlineExecutor", "in this process, one unit after the other"),
    "local": (_HERE + "local:LocalExecutor", "processes of this machine"),
    "ray": (_HERE + "ray:RayExecutor", "actors of a Ray cluster (extra ray)"),
    "slurm": (_HERE + "slurm:SlurmExecutor", "job arrays of Slurm (extra slurm)"),
}


@frozen
class Task:
    """One call of a worker. `method`: "probe" or "run"; `arguments`: plain values for it."""

    id: str
    method: str
    arguments: Mapping[str, Any]


@frozen
class Outcome:
    """What became of a task: what the worker's method returned, or why it did not (`lost`: the
    worker died; `broken`: it raised what no unit should, such as a model that cannot be loaded)."""

    id: str
    result: Mapping[str, Any] | None = None
    lost: str | None = None
    broken: str | None = None


@runtime_checkable
class Executor(Protocol):
    """The contract. Calls come from one thread, in the order start, (submit | wait)*, stop."""

    name: str

    @property
    def slots(self) -> int:
        """Tasks that it makes sense to have submitted at a time."""
        ...

    def start(self, setup: Setup) -> None:
        """Get ready; workers may start now or with the first task."""
        ...

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks; never blocks for one to finish."""
        ...

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes since the last call: at once if there are any, else after at most `seconds`
        (an executor that works in this process takes one task's time).

        Each submitted task has exactly one, whatever happens to its worker.
        """
        ...

    def stop(self) -> None:
        """End all workers, idle or not. What they were writing is theirs to lose."""
        ...


def make_executor(
    name: str | Executor, workers: int = 1, options: Mapping[str, Any] | None = None
) -> Executor:
    """An executor by name, by `module:Class`, or itself.

    Args:
        name: one of `EXECUTORS`, or a class with the signature `(workers, **options)`.
        workers: how many work at a time.
        options: the executor's own, such as `partition` for Slurm.
    """
    from scalingar_fw.config.serialization import import_named

    if not isinstance(name, str):
        return name
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ScalingarError(f"workers={workers!r} must be a whole number >= 1.")
    if name in EXECUTORS:
        cls = import_named(EXECUTORS[name][0], "executor")
    elif ":" in name:
        cls = import_named(name, "executor")
    else:
        raise unknown_name("executor", name, EXECUTORS)
    try:
        made: Executor = cls(workers, **(options or {}))
    except TypeError as error:
        raise ScalingarError(f"executor {name!r}: {error}.") from error
    if not isinstance(made, Executor):
        raise ScalingarError(f"{name!r} is no executor: it lacks start, submit, wait or stop.")
    return made


def missing_extra(package: str, extra: str) -> ScalingarError:
    """The error for an executor or tracker whose package is not installed."""
    return ScalingarError(
        f"{package} is not installed: pip install 'scalingar-fw[{extra}]' to use it."
    )
