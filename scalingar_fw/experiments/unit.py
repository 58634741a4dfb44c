"""A unit of work: a model, a strategy, n and a seed over one block of items, named by its content."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from attrs import frozen

from scalingar_fw.benchmark import Item
from scalingar_fw.config.identity import identity_of
from scalingar_fw.decoding.noise import Prompt


@frozen(eq=False)
class Unit:
    """`config`: plain data, all that the unit's content follows from; `label`: how tables call the
    strategy, which is not part of the key."""

    label: str
    config: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """The unit's identity: of its configuration, labels of strategies left out."""
        return identity_of(self.config)

    @property
    def items(self) -> list[tuple[int, Item]]:
        """Its items with their places in the split."""
        return [
            (
                entry["item"],
                Item(
                    Prompt(entry["text"], entry["class_id"], entry["negative"]),
                    entry["task"],
                    entry["cluster"],
                    entry["replica"],
                ),
            )
            for entry in self.config["items"]
        ]

    @property
    def candidates(self) -> int:
        """Candidates that it starts with."""
        return int(self.config["n"]) * len(self.config["items"])


def item_data(place: int, item: Item) -> dict[str, Any]:
    """An item as plain data, with its place in the split."""
    return {
        "item": place,
        "text": item.prompt.text,
        "class_id": item.prompt.class_id,
        "negative": item.prompt.negative,
        "task": item.task,
        "cluster": item.cluster,
        "replica": item.replica,
    }
