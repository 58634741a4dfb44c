"""A plugin file with a model without weights and a benchmark that likes bright pictures."""

from __future__ import annotations

from attrs import frozen

from scalingar_fw import Prompt, hookimpl
from scalingar_fw.benchmark import Item
from scalingar_fw.errors import unknown_name
from scalingar_fw.testing import ReferenceModel


def load(*, device, dtype=None, weights=None):
    return ReferenceModel(name="toy", device=device)


@frozen
class Toys:
    """Sixteen prompts of two tasks, two to a cluster."""

    name: str = "toys"
    splits: tuple[str, ...] = ("validation", "test")

    def items(self, split):
        if split not in self.splits:
            raise unknown_name("split of 'toys'", split, self.splits)
        return [
            Item(Prompt(f"{split} {i}"), f"task {i % 2}", f"task {i % 2}: {i // 4}")
            for i in range(16)
        ]

    def score(self, items, images):
        return [float(image.mean() > 124) for image in images]


@hookimpl
def scalingar_register(registry):
    registry.add("model", "toy", load, "logits by hashing, 16 tokens")
    registry.add("benchmark", "toys", Toys, "bright pictures are right")
