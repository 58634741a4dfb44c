"""Run a strategy over items of a benchmark: prompts in batches, every completed candidate scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from attrs import field, frozen
from pluggy import HookRelay

from scalingar_fw.benchmark import Benchmark, Item, controls_of
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.loop import decode, to_images
from scalingar_fw.decoding.noise import REPLICA_STEP as REPLICA_STEP
from scalingar_fw.decoding.result import Array, Ledger, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class ItemResult:
    """One item's candidates, the chosen one's place among them, and their scores.

    `scores [n]`: NaN for a candidate that was not completed. `images [k, H, W, 3]` uint8: of the
    completed ones, in their order. `ledger` is of the batch that the item was decoded in. `index`:
    the item's place in the benchmark's full split. `controls`: the benchmark's crude numbers by
    name, `[n]` and NaN like `scores`.
    """

    item: Item
    index: int
    trajectories: Sequence[Trajectory]
    chosen: int
    scores: Array
    images: Array
    ledger: Ledger
    controls: Mapping[str, Array] = field(factory=dict)

    @property
    def score(self) -> float:
        """The answer's score."""
        return float(self.scores[self.chosen])

    @property
    def tokens(self) -> int:
        """Tokens sampled for this item, over all its candidates."""
        return sum(len(t) - t.forked_at for t in self.trajectories)


def in_turn(items: Sequence[Item], limit: int | None = None) -> list[int]:
    """Places of the first `limit` items, taken in turn from each task.

    A small run covers all tasks, and a larger one begins with what the smaller one did.
    """
    if limit is not None and limit < 1:
        raise ScalingarError(f"limit={limit} must be at least 1.")
    by_task: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        by_task.setdefault(item.task, []).append(place)
    longest = max(map(len, by_task.values()), default=0)
    order = [g[turn] for turn in range(longest) for g in by_task.values() if turn < len(g)]
    return order[:limit]


def decode_items(
    model: ModelAdapter,
    strategy: Strategy,
    benchmark: Benchmark,
    items: Sequence[tuple[int, Item]],
    *,
    n: int | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    hooks: HookRelay | None = None,
) -> list[ItemResult]:
    """Decode items, given with their places in the split, as one batch; score what was completed.

    The same item has the same noise under every strategy (common random numbers).
    """
    result = decode(
        model,
        strategy,
        [item.prompt for _, item in items],
        n=n,
        seed=[seed + REPLICA_STEP * item.replica for _, item in items],
        sampling=sampling,
        hooks=hooks,
    )
    out = []
    seconds = result.ledger.seconds
    for number, (index, item) in enumerate(items):
        candidates = result.of_prompt(number)
        done = [i for i, t in enumerate(candidates) if t.completed]
        start = time.perf_counter()
        images = to_images(model, [candidates[i] for i in done])
        decoded = time.perf_counter()
        scores = np.full(len(candidates), np.nan)
        scores[done] = benchmark.score([item] * len(done), images)
        controls = {}
        for name, values in controls_of(benchmark, [item] * len(done), images).items():
            controls[name] = np.full(len(candidates), np.nan)
            controls[name][done] = values
        seconds["image"] = seconds.get("image", 0.0) + decoded - start
        seconds["score"] = seconds.get("score", 0.0) + time.perf_counter() - decoded
        chosen = next(i for i, t in enumerate(candidates) if t is result.answer(number))
        out.append(
            ItemResult(item, index, candidates, chosen, scores, images, result.ledger, controls)
        )
    return out


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
    """Decode and score a split in this process, `batch` prompts at a time; nothing is stored.

    Without a limit items come in the split's order, with one as `in_turn` takes them.
    """
    items = benchmark.items(split)
    order = list(range(len(items))) if limit is None else in_turn(items, limit)
    for start in range(0, len(order), batch):
        part = [(place, items[place]) for place in order[start : start + batch]]
        yield from decode_items(model, strategy, benchmark, part, n=n, seed=seed, sampling=sampling)
