"""Trackers: observers that pass a sweep's progress on to TensorBoard or Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scalingar_fw.config.serialization import import_named
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.events import (
    Ended,
    Event,
    Failed,
    Finished,
    Observer,
    Planned,
    Progress,
)
from scalingar_fw.experiments.executors import missing_extra

#: Name: where it is. A plugin's may be `module:Class`, called with the store's folder.
TRACKERS = {
    "tensorboard": "scalingar_fw.experiments.trackers:TensorBoard",
    "wandb": "scalingar_fw.experiments.trackers:WandB",
}


def make_tracker(name: str, root: Path) -> Observer:
    """A tracker by name or `module:Class`, for the store at `root`."""
    if name not in TRACKERS and ":" not in name:
        raise unknown_name("tracker", name, TRACKERS)
    made: Observer = import_named(TRACKERS.get(name, name), "tracker")(root)
    if not callable(getattr(made, "notify", None)):
        raise ScalingarError(f"{name!r} is no tracker: it lacks notify(event).")
    return made


def scalars(event: Event) -> Iterator[tuple[str, float]]:
    """The numbers of an event worth a curve: name and value."""
    if isinstance(event, Finished):
        yield f"seconds_per_unit/{event.label}", event.seconds
        yield f"tokens_per_answer/{event.label}", event.tokens / event.items
    elif isinstance(event, Progress):
        yield "units/finished", float(event.finished)
        yield "tokens/total", float(event.tokens)
        for label, accuracy in event.accuracy.items():
            yield f"accuracy/{label}", accuracy


class TensorBoard:
    """Curves over finished units, in the store's `tensorboard/`. Needs the extra `tensorboard`."""

    def __init__(self, root: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_extra("TensorBoard", "tensorboard") from error
        self._make = SummaryWriter
        self._folder = root / "tensorboard"
        self._writer: Any = None
        self._step = 0

    def notify(self, event: Event) -> None:
        # The folder is made with the first event: the store must be there before it.
        if self._writer is None:
            self._writer = self._make(str(self._folder))
        if isinstance(event, Planned):
            self._step = event.finished
            self._writer.add_text("sweep", _as_table(event.frame))
        elif isinstance(event, Finished):
            self._step += 1
        elif isinstance(event, Failed):
            self._writer.add_text("failed", f"{event.label}: {event.error}", self._step)
        for name, value in scalars(event):
            self._writer.add_scalar(name, value, self._step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _as_table(values: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {k} | {v} |" for k, v in values.items())
    return f"| setting | value |\n| --- | --- |\n{rows}"


class WandB:
    """A run of Weights & Biases; $WANDB_PROJECT, $WANDB_MODE and the like are its own. Needs the
    extra `wandb`."""

    def __init__(self, root: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("Weights & Biases", "wandb") from error
        self._wandb = wandb
        self._root = root
        self._run: Any = None
        self._step = 0

    def notify(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._step = event.finished
            self._run = self._wandb.init(
                project=_project(),
                name=self._root.name,
                dir=str(self._root),
                config=dict(event.frame),
            )
        if self._run is None:
            return
        if isinstance(event, Finished):
            self._step += 1
        numbers = dict(scalars(event))
        if numbers:
            self._run.log(numbers, step=self._step)
        if isinstance(event, Ended):
            self._run.summary.update(
                {"units": event.units, "finished": event.finished, "failed": event.failed}
            )

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def _project() -> str:
    import os

    return os.environ.get("WANDB_PROJECT", "scalingar")
