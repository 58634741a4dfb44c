"""FLOPs are those of the adapter's own passes: by hand on paper, and against whole decodes."""

from __future__ import annotations

import pytest
from attrs import evolve

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.flops import counted, model_flops
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.models import tiny
from scalingar_plugins.models.shapes.adapter import load
from scalingar_plugins.termination.quantile import QuantileTermination


def by_hand(config, positions: int, attended: int, outputs: int) -> int:
    """LlamaGen's decoder for one branch: `positions` read at once, over `attended` keys each."""
    kv = config.kv_heads * config.head_dim
    projections = config.dim * (config.dim + 2 * kv) + config.dim * config.dim
    feed_forward = 3 * config.dim * config.hidden
    attention = 2 * attended * config.dim
    layer = positions * (projections + feed_forward + attention)
    return 2 * (config.n_layer * layer + outputs * config.dim * config.vocab_size)


def test_the_embedded_model_costs_what_a_count_by_hand_says():
    model = load()
    config = model.generator.decoder.config
    flops = model_flops(model)
    for step in (0, 1, 31, 62):
        seen = config.prefix_len + step + 1
        assert flops.step_row(step) == pytest.approx(2 * by_hand(config, 1, seen, 1), rel=1e-12)
    prefix = config.prefix_len
    assert flops.prefill_row == 2 * by_hand(config, prefix, prefix, 1)
    assert flops.decode_image == 0  # the tokenizer's codes are cells: a lookup
    # The text encoder reads the prompt and the null prompt.
    assert flops.encode_prompt > 0


@pytest.mark.parametrize("strategy", ["base", "best-of-n", "beam", "smc", "pruning"])
@pytest.mark.parametrize("make", [tiny.llamagen_c2i, tiny.llamagen_t2i])
def test_the_sum_over_candidates_is_what_a_whole_decode_does(make, strategy):
    model = make()
    if strategy == "pruning":
        full = default_registry().get("strategy", "scalingar")()
        eager = QuantileTermination(quantile=0.5, recovery_window=0)
        found = evolve(full, name=strategy, termination=eager)
    else:
        found = default_registry().get("strategy", strategy)()
    named = make is tiny.llamagen_c2i
    prompts = [Prompt(class_id=k) if named else Prompt(f"a {k}") for k in (1, 2)]
    flops = model_flops(model)
    measured, result = counted(lambda: decode(model, found, prompts, n=4))
    candidates = [(len(t), t.forked_at, t.status.value) for t in result.trajectories]
    if strategy in ("beam", "pruning"):
        assert any(status != "completed" for _, _, status in candidates)
    assert flops.decode(len(prompts), candidates) == pytest.approx(measured, rel=1e-12)


def test_forced_tokens_are_counted_where_they_are_read():
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    model = tiny.emu3()
    flops = model_flops(model, Prompt("a house"))
    measured, result = counted(lambda: decode(model, Strategy(), [Prompt("a house")], n=1))
    assert max(flops.calls) == 2
    # Two calls share one step, so attention is not quite linear in the step here.
    assert flops.decode(1, [(12, 0, "completed")]) == pytest.approx(measured, rel=5e-3)
    assert len(result.trajectories) == 1


def test_a_model_is_measured_once(monkeypatch):
    model = ReferenceModel(vocab_size=11)
    first = model_flops(model)
    monkeypatch.setattr(ReferenceModel, "step", None)
    assert model_flops(ReferenceModel(vocab_size=11)) is first
    with pytest.raises(TypeError):
        model_flops(ReferenceModel(vocab_size=12))


def test_an_image_of_one_token_reads_none():
    flops = model_flops(ReferenceModel(grid=Grid(1, 1)))
    assert flops.calls == () and flops.candidate(1) == 0
    with pytest.raises(ValueError, match="step=0"):
        flops.step_row(0)


def test_a_model_that_reads_none_of_the_prompts_says_why():
    with pytest.raises(ScalingarError, match="No prompt to count the FLOPs of 'tiny-llamagen-c2i'"):
        model_flops(tiny.llamagen_c2i(seed=5), Prompt("words"))
