"""`hf-causal` against a plain loop over transformers' model, without a cache, each branch alone."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra hf")

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models import tiny

SHORT = Prompt("a red circle")
LONG = Prompt("two green squares left of a blue star", negative="ugly")


@pytest.mark.parametrize("line", [None, 39], ids=["bare rows", "closed rows"])
def test_tokens_and_logits_are_those_of_the_models_own_forward(line: int | None) -> None:
    rows, cols, scale = 2, 3, 4.0
    model, network = tiny.hf_causal(rows, cols, end_of_line=line), tiny.causal_network()
    row = list(model.tokenize(f"{LONG.text} in {rows} by {cols}"))
    twin = list(model.tokenize("without ugly"))
    drawn: list[int] = []
    seen = []
    with torch.inference_mode():
        while len(drawn) < rows * cols:
            both = [
                network(input_ids=torch.tensor([ids])).logits[0, -1, 40:] for ids in (row, twin)
            ]
            seen.append(both)
            drawn.append(int((both[1] + scale * (both[0] - both[1])).argmax()))
            for ids in (row, twin):
                ids.append(40 + drawn[-1])
                if line is not None and len(drawn) % cols == 0:
                    ids.append(line)
        cache, found = model.prefill(model.encode([LONG]), 1)
        for index, (cond, uncond) in enumerate(seen):
            assert torch.allclose(found.cond[0], cond, atol=1e-5)
            assert torch.allclose(found.uncond[0], uncond, atol=1e-5)
            if index + 1 < len(drawn):
                found = model.step(cache, torch.tensor([drawn[index]]), index)
    greedy = Sampling(guidance=scale, temperature=0.0)
    result = decode(model, Strategy(), [SHORT, LONG], n=1, seed=0, sampling=greedy)
    assert result.trajectories[1].tokens.tolist() == drawn, "beside a prompt of another length"


def test_a_model_that_caps_its_logits_behind_the_output_layer_is_refused() -> None:
    import transformers

    from scalingar_plugins.models.hf_causal import from_transformers

    known = tiny.hf_causal()
    config = transformers.Gemma2Config(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        final_logit_softcapping=0.5,
    )
    network = transformers.Gemma2ForCausalLM(config)
    tiny.randomize(network, 0, 0.1)
    with pytest.raises(ScalingarError, match="differ by"):
        from_transformers(
            network, known.tokenize, known.description, torch.arange(40, 64), known.decoder
        )
