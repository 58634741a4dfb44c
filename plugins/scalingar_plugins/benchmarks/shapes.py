"""The embedded domain as benchmarks: fixed items, scored exactly by the programmatic judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import unknown_name
from scalingar_plugins.models.shapes import prompts

#: Has nothing to hold out: every shape is trained.
TRAINED = ("single_object",)


def _items(found: Sequence[prompts.Item], held_out: bool) -> list[Item]:
    return [
        Item(
            Prompt(i.prompt),
            i.task,
            i.combination if i.split == "instructions" else f"{i.task}: {i.combination}",
            i.seed_index,
            held_out=held_out and i.task not in TRAINED,
        )
        for i in found
    ]


class _Judged:
    """What both benchmarks do with pictures."""

    def score(self, items: Sequence[Item], images: Array) -> Sequence[float]:
        from scalingar_plugins.models.shapes.judge import judge_batch  # torch

        judgements = judge_batch(images, [item.prompt.text for item in items])
        return [float(j.correct) for j in judgements]

    def controls(self, items: Sequence[Item], images: Array) -> Mapping[str, Sequence[float]]:
        """How few objects the judge sees, whatever was asked for."""
        from scalingar_plugins.models.shapes.judge import find_objects  # torch

        return {"fewest objects": [-float(len(found)) for found in find_objects(images)]}


@frozen
class ShapesBenchmark(_Judged):
    """GenEval's six tasks: `seen` in training, held out (`validation`, `test`); and `beyond` it."""

    name: str = "shapes"

    @property
    def splits(self) -> Sequence[str]:
        return prompts.SPLITS

    def items(self, split: str) -> Sequence[Item]:
        if split not in prompts.SPLITS:
            raise unknown_name("split of 'shapes'", split, prompts.SPLITS)
        return _items(prompts.split_items(split), held_out=split != "seen")


@frozen
class ShapesInstructions(_Judged):
    """Eight kinds of instruction, basic and advanced, in a short and a long wording each."""

    name: str = "shapes-instructions"

    @property
    def splits(self) -> Sequence[str]:
        return ("test",)

    def items(self, split: str) -> Sequence[Item]:
        if split not in self.splits:
            raise unknown_name("split of 'shapes-instructions'", split, self.splits)
        return _items(prompts.instruction_items(), held_out=True)
