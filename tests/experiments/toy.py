"""A plugin file for workers: a model and a benchmark without weights, and what goes wrong on demand.

The environment says what goes wrong, so that a sweep's configuration, and with it every unit's key,
is that of an undisturbed run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from scalingar_fw import Prompt, ScalingarError, Strategy, hookimpl
from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.strategy import FinalConfidence
from scalingar_fw.testing import ReferenceModel

#: Seconds that reading prompts takes: a window in which a worker can be killed.
PAUSE = "TOY_PAUSE"
#: Prompts whose text contains this end their worker, the first time (the file remembers).
POISON, POISONED = "TOY_POISON", "TOY_POISONED"


class ToyModel(ReferenceModel):
    def encode(self, prompts: Any) -> Any:
        time.sleep(float(os.environ.get(PAUSE, "0")))
        for prompt in prompts:
            if prompt.text == "unreadable":
                raise ScalingarError("unknown word 'unreadable'.")
        return super().encode(prompts)

    def prefill(self, conditioning: Any, copies: int) -> Any:
        poison, mark = os.environ.get(POISON), Path(os.environ.get(POISONED, "unset"))
        if poison and copies > 1 and not mark.exists():
            mark.touch()
            os._exit(3)
        return super().prefill(conditioning, copies)


def load(*, device: torch.device, weights: Path | None = None) -> ToyModel:
    sharpness = 2.0 if weights is None else float(weights.read_text())
    return ToyModel(device=device, name="toy", sharpness=sharpness)


@frozen
class ToyBenchmark:
    """12 items of 3 tasks; each prompt twice. A picture is correct if it is bright."""

    name: str = "toy"
    splits: tuple[str, ...] = ("test", "broken")
    scorer: str = ""

    def items(self, split: str) -> list[Item]:
        if split == "broken":
            return [Item(Prompt("unreadable"), "task 0", "c")]
        if split != "test":
            raise ScalingarError(f"Unknown split {split!r}.")
        prompts = [Prompt(f"prompt {i // 2}") for i in range(12)]
        return [Item(p, f"task {i % 3}", f"c{i // 2}", i % 2) for i, p in enumerate(prompts)]

    def score(self, items: Any, images: Any) -> list[float]:
        return [float(image.mean() > 128) for image in images]


@frozen
class Fails(FinalConfidence):
    def select(self, pool: Any) -> int:
        raise ScalingarError("this selector never chooses.")


@frozen
class Crashes(FinalConfidence):
    def select(self, pool: Any) -> int:
        raise ZeroDivisionError("a bug")


@hookimpl
def scalingar_register(registry: Any) -> None:
    registry.add("model", "toy", load)
    registry.add("benchmark", "toy", ToyBenchmark)
    registry.add("selector", "fails", Fails)
    registry.add("selector", "crashes", Crashes)
    registry.add("strategy", "fails", Strategy("fails", selector=Fails()))
    registry.add("strategy", "crashes", Strategy("crashes", selector=Crashes()))
