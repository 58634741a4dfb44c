"""The embedded domain as a benchmark: fixed splits, scored exactly by the programmatic judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import unknown_name
from scalingar_plugins.models.shapes.prompts import SPLITS, split_items

#: Tasks whose combinations are in every split: only the seeds differ from training.
TRAINED = ("single_object", "counting")


@frozen
class ShapesBenchmark:
    """GenEval's six tasks on held-out combinations, and `impossible` compositions."""

    name: str = "shapes"

    @property
    def splits(self) -> Sequence[str]:
        return SPLITS

    def items(self, split: str) -> Sequence[Item]:
        if split not in SPLITS:
            raise unknown_name("split of 'shapes'", split, SPLITS)
        return [
            Item(
                Prompt(i.prompt),
                i.task,
                f"{i.task}: {i.combination}",
                i.seed_index,
                held_out=split != "train" and i.task not in TRAINED,
            )
            for i in split_items(split)
        ]

    def score(self, items: Sequence[Item], images: np.ndarray[Any, Any]) -> Sequence[float]:
        from scalingar_plugins.models.shapes.judge import judge_batch  # torch

        verdicts = judge_batch(images, [item.prompt.text for item in items])
        return [float(v.correct) for v in verdicts]

    def controls(
        self, items: Sequence[Item], images: np.ndarray[Any, Any]
    ) -> Mapping[str, Sequence[float]]:
        """How few objects the judge sees, whatever was asked for."""
        from scalingar_plugins.models.shapes.judge import find_objects  # torch

        return {"fewest objects": [-float(len(found)) for found in find_objects(images)]}
