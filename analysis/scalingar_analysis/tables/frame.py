"""What several arms have in common, as arrays over items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.clusters import Groups
from scalingar_analysis.statistics.intervals import Estimate, estimate
from scalingar_analysis.statistics.paired import Difference, difference
from scalingar_analysis.tables.arms import Arm, Key, in_common
from scalingar_fw.decoding.result import Array


@frozen(eq=False)
class Frame:
    """The cells that all arms have, as items: `values(arm) [items]` means over seeds.

    `held_out`: of each item, None where nobody knows.
    """

    keys: tuple[Key, ...]
    items: tuple[int, ...]
    tasks: tuple[str, ...]
    clusters: tuple[str, ...]
    held_out: tuple[bool | None, ...] = ()

    @classmethod
    def of(cls, arms: Sequence[Arm]) -> Frame:
        keys = in_common(arms)
        items = sorted({item for item, _ in keys})
        some = {item: arms[0].cells[item, seed] for item, seed in keys}
        return cls(
            tuple(keys),
            tuple(items),
            tuple(some[i].task for i in items),
            tuple(some[i].cluster for i in items),
            tuple(some[i].held_out for i in items),
        )

    @property
    def parts(self) -> dict[str, Array]:
        """Places of the held-out and of the in-distribution items, where there are both."""
        kinds = {"held out": True, "in distribution": False}
        out = {
            name: np.flatnonzero([h is kind for h in self.held_out]) for name, kind in kinds.items()
        }
        return out if all(len(places) for places in out.values()) else {}

    def part(self, places: Array) -> Frame:
        """The same of these items alone."""
        chosen = [int(i) for i in places]
        kept = {self.items[i] for i in chosen}
        return Frame(
            tuple(key for key in self.keys if key[0] in kept),
            tuple(self.items[i] for i in chosen),
            tuple(self.tasks[i] for i in chosen),
            tuple(self.clusters[i] for i in chosen),
            tuple(self.held_out[i] for i in chosen),
        )

    def values(self, arm: Arm) -> Array:
        """Each item's success, the mean over its seeds."""
        return self.by_item(np.array([arm.cells[key].score for key in self.keys]))

    def by_item(self, cells: Array) -> Array:
        """From one number for each cell to each item's mean over its seeds."""
        place = {item: i for i, item in enumerate(self.items)}
        index = np.array([place[item] for item, _ in self.keys])
        return np.asarray(np.bincount(index, cells) / np.bincount(index))

    def estimate(self, values: Array, level: float) -> Estimate:
        return estimate(values, self.tasks, self.clusters, level=level)

    def difference(self, values: Array, baseline: Array, level: float) -> Difference:
        return difference(values, baseline, self.tasks, self.clusters, level=level)

    @property
    def groups(self) -> Groups:
        return Groups.of(self.tasks, self.clusters)
