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
    """The cells that all arms have, as items: `values(arm) [items]` means over seeds."""

    keys: tuple[Key, ...]
    items: tuple[int, ...]
    tasks: tuple[str, ...]
    clusters: tuple[str, ...]

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
