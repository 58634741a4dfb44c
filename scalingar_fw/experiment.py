"""Run a strategy over a benchmark's split: prompts in batches, every candidate scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_fw.benchmark import Benchmark, Item
from scalingar_fw.errors import ScalingarError
from scalingar_fw.loop import decode, to_images
from scalingar_fw.protocols import ModelAdapter
from scalingar_fw.result import Ledger, Trajectory
from scalingar_fw.sampling import Sampling
from scalingar_fw.strategy import Strategy


@frozen(eq=False)
class ItemResult:
    """One item's candidates, the chosen one's place among them, and their scores.

    `scores [n]`: NaN for a candidate that was not completed. `ledger` is of the batch that the
    item was decoded in.
    """

    item: Item
    trajectories: Sequence[Trajectory]
    chosen: int
    scores: np.ndarray[Any, Any]
    ledger: Ledger

    @property
    def score(self) -> float:
        """The answer's score."""
        return float(self.scores[self.chosen])

    @property
    def tokens(self) -> int:
        """Tokens sampled for this item, over all its candidates."""
        return sum(len(t) - t.forked_at for t in self.trajectories)


def limited(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The first `limit` items, taken in turn from each task, so that a small run covers all."""
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise ScalingarError(f"limit={limit} must be at least 1.")
    by_task: dict[str, list[Item]] = {}
    for item in items:
        by_task.setdefault(item.task, []).append(item)
    queues = [iter(group) for group in by_task.values()]
    picked: list[Item] = []
    while queues and len(picked) < limit:
        for queue in list(queues):
            following = next(queue, None)
            if following is None:
                queues.remove(queue)
            elif len(picked) < limit:
                picked.append(following)
    return picked


def run_split(
    model: ModelAdapter,
    strategy: Strategy,
    benchmark: Benchmark,
    split: str,
    *,
    n: int | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    limit: int | None = None,
    batch: int = 8,
) -> Iterator[ItemResult]:
    """Decode and score a split, `batch` prompts at a time; yields items in the split's order.

    An item's seed is `seed + 1000003 * replica`: equal prompts are different draws, and the same
    item has the same noise under every strategy (common random numbers).
    """
    items = limited(benchmark.items(split), limit)
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        seeds = [seed + 1_000_003 * item.replica for item in part]
        result = decode(
            model, strategy, [i.prompt for i in part], n=n, seed=seeds, sampling=sampling
        )
        for number, item in enumerate(part):
            candidates = result.of_prompt(number)
            done = [i for i, t in enumerate(candidates) if t.completed]
            images = to_images(model, [candidates[i] for i in done])
            scores = np.full(len(candidates), np.nan)
            scores[done] = benchmark.score([item] * len(done), images)
            chosen = next(i for i, t in enumerate(candidates) if t is result.answer(number))
            yield ItemResult(item, candidates, chosen, scores, result.ledger)
