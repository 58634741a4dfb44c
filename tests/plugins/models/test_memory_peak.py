"""What a decode holds at its peak, counted by torch's allocator on the CPU, and what was stated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from attrs import evolve
from torch.profiler import ProfilerActivity, profile

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.memory_budget import Cost
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.strategy import NeverTerminate
from scalingar_fw.registry import load_registry
from scalingar_plugins.models import tiny
from scalingar_plugins.models.decoder import DecoderConfig, KVCache
from scalingar_plugins.models.llamagen.network import ClassEmbedder, LlamaGen

PROMPT = Prompt(class_id=3)


class Peak:
    """`bytes`: the most that was held at once beyond what was held before."""

    bytes = 0


@contextmanager
def counted() -> Iterator[Peak]:
    """Every allocation of a tensor's storage, and every release, in the order they happened."""
    peak = Peak()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        yield peak
    assert record.profiler is not None
    held = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak.bytes = max(peak.bytes, held)


@pytest.fixture(scope="module")
def model() -> Any:
    """LlamaGen-B's proportions at a tenth of its width: the caches outweigh all else."""
    config = DecoderConfig(vocab_size=256, dim=64, n_layer=8, n_head=4, rows=10, cols=10)
    network = LlamaGen(config, ClassEmbedder(10, config.dim))
    tiny.randomize(network, seed=0, scale=0.1)
    return evolve(tiny.llamagen_c2i(), network=network)


def peak_of(model: Any, strategy: Any, n: int) -> int:
    decode(model, strategy, [PROMPT], n=n)  # constants and tables that are made once
    with counted() as peak:
        decode(model, strategy, [PROMPT], n=n)
    return peak.bytes


def nobody_leaves(strategy: Any) -> Any:
    return evolve(strategy, termination=NeverTerminate())


@pytest.mark.parametrize(("name", "n"), [("base", 2), ("base", 6), ("scalingar", 6), ("beam", 6)])
def test_the_stated_bytes_are_the_peak_within_15_percent(model: Any, name: str, n: int) -> None:
    strategy = nobody_leaves(load_registry().get("strategy", name)())
    stated = Cost.of(model, strategy).bytes(n)
    measured = peak_of(model, strategy, n)
    assert abs(stated - measured) <= 0.15 * measured, f"{stated} stated, {measured} measured"


def test_a_policy_that_prunes_needs_less_than_stated_and_less_than_if_nobody_left(
    model: Any,
) -> None:
    strategy = load_registry().get("strategy", "scalingar")()
    lengths = [len(t) for t in decode(model, strategy, [PROMPT], n=6).trajectories]
    assert min(lengths) < model.grid.size // 2, "nobody left early"
    pruned = peak_of(model, strategy, 6)
    assert pruned <= 1.15 * Cost.of(model, strategy).bytes(6)
    assert pruned < 0.8 * peak_of(model, nobody_leaves(strategy), 6)


@pytest.mark.parametrize("move", [KVCache.keep, KVCache.take])
def test_rows_are_kept_without_a_second_cache(model: Any, move: Callable[..., Any]) -> None:
    config, rows = model.network.decoder.config, torch.tensor([4, 1, 0])
    with torch.inference_mode(), counted() as peak:
        cache = KVCache.empty(config, 6, torch.zeros(0), None)
        cache.reserve(90)
        whole = cache.nbytes
        kept = move(cache, rows)
    buffer = whole / (2 * config.n_layer)
    if move is KVCache.keep:
        assert cache.nbytes == whole // 2
        assert peak.bytes <= whole + buffer + 1024, "more than one buffer beside the cache"
    else:  # the old cache stays: what the measurement shows where `keep` would copy
        assert kept.nbytes == whole // 2
        assert peak.bytes >= whole + whole // 2
