"""Prompts kept out of tuning: by cluster, within tasks, by a hash that knows no order."""

from __future__ import annotations

import hashlib

from scalingar_analysis.recordings.recording import Asked, Recording
from scalingar_fw.errors import ScalingarError


def halves(recording: Recording, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the prompts to fit on, and of those held out, about `share` of each task's clusters.

    A cluster (items that hang together) lies on one side whole. Which side does not depend on the
    order of the prompts, nor on which others were recorded, beyond the number of clusters.

    Raises:
        ScalingarError: a side would be empty.
    """
    by_task: dict[str, set[str]] = {}
    for asked in recording.asked:
        by_task.setdefault(asked.task, set()).add(_name(asked))
    held: set[tuple[str, str]] = set()
    for task, clusters in by_task.items():
        order = sorted(
            clusters, key=lambda c: hashlib.sha256(f"{seed}:{task}:{c}".encode()).digest()
        )
        held |= {(task, c) for c in order[: round(share * len(order))]}
    sides: tuple[list[int], list[int]] = ([], [])
    for place, asked in enumerate(recording.asked):
        sides[(asked.task, _name(asked)) in held].append(place)
    if not all(sides):
        raise ScalingarError(
            f"{recording.source} has {sum(map(len, by_task.values()))} clusters in {len(by_task)} "
            f"tasks: too few to hold out {share:.0%} of each. Record more prompts."
        )
    return sides


def _name(asked: Asked) -> str:
    """The cluster, or the prompt itself where clusters were not recorded."""
    return asked.cluster or repr(asked.prompt)
