"""The decoder with and without its cache, whole and after prunings and forks, on official logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from safetensors import safe_open
from torch import Tensor

from scalingar_plugins.models import slots
from scalingar_plugins.models.checkpoints import load_strictly
from scalingar_plugins.models.decoder import Decoder, DecoderConfig, KVCache, causal_mask

FILES = sorted((Path(__file__).parent / "golden").glob("llamagen_?2i.safetensors"))
TOLERANCE = 1e-4  # official code, float16 weights read as float32, another order of sums


class Case:
    """One file: a decoder, the prefixes of both branches, forced tokens, official logits."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        weights = {
            key.removeprefix("weights."): value.float()
            for key, value in tensors.items()
            if key.startswith("weights.")
        }
        embedder = {k: weights.pop(k) for k in list(weights) if k.startswith("cls_embedding.")}
        self.mask: Tensor | None = None
        if meta["model_type"] == "c2i":
            labels = tensors["in.labels"]
            null = torch.full_like(labels, int(meta["num_classes"]))
            table = embedder["cls_embedding.embedding_table.weight"]
            self.prefix = table[torch.cat([labels, null])][:, None]
        else:
            captions = tensors["in.caption_embeddings"].float()
            null = embedder["cls_embedding.uncond_embedding"].expand_as(captions)
            hidden = torch.cat([captions, null]) @ embedder["cls_embedding.cap_proj.fc1.weight"].T
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
            self.prefix = hidden @ embedder["cls_embedding.cap_proj.fc2.weight"].T
            # Both branches read the caption's mask, as in the official code.
            self.mask = tensors["in.caption_mask"].bool().repeat(2, 1)
        side = int(meta["grid"])
        config = DecoderConfig(
            vocab_size=int(meta["vocab_size"]),
            dim=int(meta["dim"]),
            n_layer=int(meta["n_layer"]),
            n_head=int(meta["n_head"]),
            n_kv_head=int(meta.get("n_kv_head", 0)) or None,
            rows=side,
            cols=side,
            prefix_len=self.prefix.shape[1],
        )
        with torch.device("meta"):
            self.decoder = Decoder(config)
        load_strictly(self.decoder, weights, path.name)
        self.decoder.eval()
        self.tokens = tensors["in.forced_tokens"].repeat(2, 1)
        self.official = torch.cat([tensors["out.cond_logits"], tensors["out.uncond_logits"]])


@pytest.fixture(params=FILES, ids=lambda path: path.stem, scope="module")
def case(request: Any) -> Case:
    return Case(request.param)


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


def cached(case: Case, cache: KVCache, logits: Tensor, rows: Tensor, start: int, end: int) -> Any:
    """Logits that choose tokens `start` to `end - 1` of `rows`."""
    out = [logits]
    for t in range(start, end - 1):
        out.append(case.decoder.step(cache, case.tokens[rows, t]))
    return torch.stack(out, dim=1)


def test_there_are_both_kinds_of_files() -> None:
    assert [path.stem for path in FILES] == ["llamagen_c2i", "llamagen_t2i"]


def test_logits_without_a_cache_are_the_official_ones(case: Case) -> None:
    ours = case.decoder(case.prefix, case.tokens, case.mask)
    assert ours.shape == case.official.shape
    assert float((ours - case.official).abs().max()) <= TOLERANCE


def test_logits_with_a_cache_are_the_official_ones(case: Case) -> None:
    total = case.tokens.shape[1]
    cache, first = case.decoder.prefill(case.prefix, case.mask)
    ours = cached(case, cache, first, torch.arange(len(case.tokens)), 0, total)
    assert float((ours - case.official).abs().max()) <= TOLERANCE


def test_a_part_of_the_tokens_gives_a_part_of_the_logits(case: Case) -> None:
    some = case.decoder(case.prefix, case.tokens[:, :5], case.mask)
    assert some.shape[1] == 6
    assert float((some - case.official[:, :6]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("rows", [[1], [2, 0], [0, 0, 1, 3], [3, 2, 1, 0]])
def test_rows_that_were_pruned_or_forked_go_on_as_if_nothing_had_happened(
    case: Case, rows: list[int]
) -> None:
    total, cut = case.tokens.shape[1], 9
    everyone, kept = torch.arange(len(case.tokens)), torch.tensor(rows)
    cache, first = case.decoder.prefill(case.prefix, case.mask)
    before = cached(case, cache, first, everyone, 0, cut + 1)
    moved = cache.take(kept)
    after = cached(case, moved, before[kept, -1], kept, cut, total)
    assert float((after - case.official[kept, cut:]).abs().max()) <= TOLERANCE
    # The rows left behind are as they were: a fork shares nothing with its parent.
    again = cached(case, cache, before[:, -1], everyone, cut, total)
    assert float((again - case.official[:, cut:]).abs().max()) <= TOLERANCE


def test_a_taken_cache_holds_the_filled_part_and_nothing_else(case: Case) -> None:
    cache, _ = case.decoder.prefill(case.prefix, case.mask)
    moved = cache.take(torch.tensor([1, 1]))
    assert moved.length == cache.length == case.prefix.shape[1]
    assert moved.nbytes * len(case.tokens) == cache.nbytes * 2
    assert all(bool((k[:, :, moved.length :] == 0).all()) for k in moved.keys)
    assert moved.keys[0].data_ptr() != cache.keys[0].data_ptr()


def test_a_cache_grows_by_blocks_and_keeps_its_rows_in_place(case: Case) -> None:
    """Blocks of three: small enough for these grids to grow more than once."""
    total, cut = case.tokens.shape[1], 9
    everyone, kept = torch.arange(len(case.tokens)), torch.tensor([2, 0, 0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "GROWTH", 3)
        cache, first = case.decoder.prefill(case.prefix, case.mask)
        rooms = {cache.room}
        before = cached(case, cache, first, everyone, 0, cut + 1)
        cache.keep(kept)
        out = [before[kept, -1]]
        for t in range(cut, total - 1):
            out.append(case.decoder.step(cache, case.tokens[kept, t]))
            rooms.add(cache.room)
    assert float((torch.stack(out, 1) - case.official[kept, cut:]).abs().max()) <= TOLERANCE
    assert len(rooms) > 2, "it never grew"
    assert cache.room == cache.length == cache.most == case.prefix.shape[1] + total - 1


def test_the_prefix_is_read_uniformly_unless_it_is_rotated_by_the_identity(case: Case) -> None:
    """LlamaGen's table is 0 at the prefix, so its keys vanish; `identity` keeps them."""
    cache, _ = case.decoder.prefill(case.prefix, case.mask)
    length = case.prefix.shape[1]
    assert all(bool((k[:, :, :length] == 0).all()) for k in cache.keys)
    other = Decoder(evolve(case.decoder.config, prefix_rotation="identity"))
    load_strictly(other, case.decoder.state_dict(), "identity")
    turned, logits = other.prefill(case.prefix, case.mask)
    assert float(turned.keys[0][:, :, :length].abs().max()) > 0.01
    if length > 1:  # a prefix of one is read with weight 1 either way
        assert float((logits - case.official[:, 0]).abs().max()) > 1e-3


def test_padding_is_never_attended_and_never_nan() -> None:
    mask = causal_mask(torch.tensor([[False, False, True]]), 5)[0, 0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_head": 3}, "must give a head size that is a multiple of 4"),
        ({"n_kv_head": 3}, "n_kv_head=3 must divide n_head=4"),
        ({"rows": 0}, "rows"),
        ({"prefix_rotation": "none"}, "prefix_rotation"),
    ],
)
def test_an_impossible_geometry_is_refused(changes: dict[str, Any], expected: str) -> None:
    values = {"vocab_size": 8, "dim": 64, "n_layer": 1, "n_head": 4, "rows": 2, "cols": 2}
    with pytest.raises(ValueError, match=expected):
        DecoderConfig(**{**values, **changes})


def test_grouped_queries_agree_with_and_without_a_cache() -> None:
    """No official weights have fewer key heads than query heads; ours may."""
    torch.manual_seed(0)
    config = DecoderConfig(
        vocab_size=11, dim=32, n_layer=2, n_head=4, n_kv_head=2, rows=2, cols=3, prefix_len=2
    )
    decoder = Decoder(config).eval()
    prefix, tokens = torch.randn(3, 2, 32), torch.randint(11, (3, 6))
    whole = decoder(prefix, tokens)
    cache, first = decoder.prefill(prefix)
    steps = [first] + [decoder.step(cache, tokens[:, t]) for t in range(5)]
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-5, atol=1e-5)
