"""A toy world to sweep: logits by hashing, and a judge that likes bright images."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from scalingar_fw import hookimpl
from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.testing import ReferenceModel


def load(*, device, dtype=None, weights=None):
    """Logits by hashing."""
    return ReferenceModel(device=device, name="toy")


@frozen
class ToyBenchmark:
    """Twelve prompts of two tasks; right is what is brighter than grey."""

    name: str = "toy"
    splits: tuple[str, ...] = ("test", "other", "validation", "beyond")

    def items(self, split):
        return [
            Item(Prompt(f"{split} {i}"), "ab"[i % 2], f"cluster {i // 4}", 0) for i in range(12)
        ]

    def score(self, items, images):
        return [float(np.asarray(image).mean() > 127) for image in images]


@hookimpl
def scalingar_register(registry):
    registry.add("model", "toy", load, "logits by hashing, 16 tokens")
    registry.add("benchmark", "toy", ToyBenchmark, "bright images")
