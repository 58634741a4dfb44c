"""Published architectures at their real size with random weights: memory and seconds per step.

`python -m scalingar_plugins.models.realsize llamagen-t2i-512 --device cuda --dtype bfloat16` prints
one row of a Markdown table (docs/performance.md says what is in it). No weights are needed: none of
the numbers depends on their values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
import torch
from attrs import frozen

from scalingar_fw.decoding.memory_budget import show_bytes
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import unknown_name
from scalingar_plugins.models import chameleon, emu3, hf_causal, janus, simplear
from scalingar_plugins.models.descriptions import described
from scalingar_plugins.models.hf import need_transformers
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.sizes import CAPTION_DIM, CAPTION_TOKENS, CLASSES, VARIANTS
from scalingar_plugins.models.tiny import HashedText, word_ids
from scalingar_plugins.models.vq import VQConfig, VQDecoder

PROMPTS = {True: Prompt(class_id=1), False: Prompt("a red circle left of a blue square")}


def _llamagen(name: str, device: torch.device, dtype: torch.dtype) -> LlamaGenModel:
    v = VARIANTS[name]
    texts = None if v.task == "c2i" else HashedText(CAPTION_TOKENS, CAPTION_DIM)
    with device:
        conditioner = (
            ClassEmbedder(CLASSES, v.config.dim)
            if texts is None
            else CaptionEmbedder(CAPTION_TOKENS, CAPTION_DIM, v.config.dim)
        )
        network = LlamaGen(v.config, conditioner).to(dtype)
        tokenizer = VQDecoder(v.vq)
    _fill(network)
    return LlamaGenModel(
        name=name,
        network=network.eval(),
        tokenizer=tokenizer.requires_grad_(False).eval(),
        device=device,
        dtype=dtype,
        preset=next(iter(v.presets.values())),
        texts=texts,
    )


def _fill(module: torch.nn.Module) -> None:
    """Small random weights, so that logits are finite in any precision."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.02)
    module.requires_grad_(False)


def _built(cls: Any, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # else 8 billion parameters are made in float32 first
    try:
        with device:
            model = cls(config)
    finally:
        torch.set_default_dtype(before)
    _fill(model)
    return model.eval()


def _janus(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    transformers = need_transformers(name)
    layers, width, heads, inner = (24, 2048, 16, 5632) if "1b" in name else (30, 4096, 32, 11008)
    config = transformers.JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": 102400,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
        },
        # The vision encoder is not used for drawing: one small layer.
        vision_config={"num_hidden_layers": 1, "projection_dim": width, "num_image_tokens": 576},
        vq_config={"projection_dim": width, "image_token_embed_dim": width, "num_patches": 24},
    )
    model = _built(transformers.JanusForConditionalGeneration, config, device, dtype)
    tokenize = word_ids(5, 100_000, bos=1, end=2)
    return janus.from_transformers(model, tokenize, (1, 0, 2), name=name)


def _emu3(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    transformers = need_transformers(name)
    named = {"<image>": 151_646, "<|extra_200|>": 151_847}
    named |= {f"<|visual token {i:06d}|>": 151_854 + i for i in range(32_768)}
    config = transformers.Emu3Config(vocabulary_map=named)
    model = _built(transformers.Emu3ForConditionalGeneration, config, device, dtype)
    tokenize = word_ids(5, 100_000, bos=1)
    return emu3.from_transformers(model, tokenize, grid=Grid(90, 90), name=name)


def _chameleon(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    transformers = need_transformers(name)
    digits = str.maketrans("0123456789", "ABCDEFGHIJ")
    named = {f"IMGIMG{str(i).translate(digits)}Z": 4 + i for i in range(8192)}
    config = transformers.ChameleonConfig(vocabulary_map=named | {"<image>": 8711})
    model = _built(transformers.ChameleonForConditionalGeneration, config, device, dtype)
    with device:
        decoder = VQDecoder(VQConfig(8192, 256, normalize_codes=False, attention=False))
    size = name.rpartition("-")[2]
    marks = chameleon.Marks(0, 8710, 8197)
    grid = Grid(32, 32)
    if size != "7b":
        grid = chameleon.lumina_grid(int(size), int(size))
        marks = chameleon.Marks(0, 8710, 8197, 8803, (8804, 8804))
    presets = chameleon.ANOLE if size == "7b" else chameleon.LUMINA
    return chameleon.from_transformers(
        model,
        word_ids(9000, 60_000),
        decoder.requires_grad_(False).eval(),
        marks,
        grid=grid,
        name=name,
        preset=presets["official"],
        presets=presets,
    )


def _liquid(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    transformers = need_transformers(name)
    config = transformers.GemmaConfig(vocab_size=256_000 + 8192)  # else the defaults: Gemma 7B
    model = _built(transformers.GemmaForCausalLM, config, device, dtype)
    with device:
        decoder = VQDecoder(VQConfig(8192, 256, normalize_codes=False, attention=False))
    about = described(hf_causal.LIQUID, name)
    ids = torch.arange(256_000, 256_000 + 8192, device=device)
    decoder.requires_grad_(False).eval()
    return hf_causal.from_transformers(
        model, word_ids(5, 100_000, bos=2), about, ids, decoder, name=name
    )


def _simplear(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    transformers = need_transformers(name)
    layers, width, heads, inner = (24, 896, 14, 4864) if "0.5b" in name else (28, 1536, 12, 8960)
    first = 151_672
    config = transformers.Qwen2Config(
        vocab_size=first + simplear.CODES,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = _built(transformers.Qwen2ForCausalLM, config, device, dtype)
    return simplear.from_transformers(
        model,
        word_ids(5, 100_000),
        lambda codes: codes.float()[:, :, None].expand(-1, 3, -1, -1, -1) / simplear.CODES,
        first=first,
        grid=Grid(64, 64),
        name=name,
    )


MAKERS: dict[str, Callable[[str, torch.device, torch.dtype], Any]] = {
    **dict.fromkeys(VARIANTS, _llamagen),
    **dict.fromkeys(("janus-pro-1b", "janus-pro-7b"), _janus),
    "emu3-gen": _emu3,
    "liquid-7b": _liquid,
    **dict.fromkeys(
        ("anole-7b", *(f"lumina-mgpt-7b-{size}" for size in (512, 768, 1024))), _chameleon
    ),
    **dict.fromkeys(("simplear-0.5b", "simplear-1.5b"), _simplear),
}


def build(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A published architecture on `device` with random weights; text features are made up."""
    if name not in MAKERS:
        raise unknown_name("architecture", name, MAKERS)
    return MAKERS[name](name, device, dtype)


@frozen
class Measured:
    """`seconds` per step and for the images; peak bytes (0 where the device counts none) of the
    steps, weights included, and of the images."""

    step_seconds: float
    step_bytes: int
    image_seconds: float
    image_bytes: int


def measure(model: Any, n: int, steps: int | None = None) -> Measured:
    """Draw `n` candidates of a prompt greedily, all steps or some, and decode their images."""
    cuda = model.device.type == "cuda"

    def peak() -> int:
        if not cuda:
            return 0
        torch.cuda.synchronize(model.device)
        bytes_ = torch.cuda.max_memory_allocated(model.device)
        torch.cuda.reset_peak_memory_stats(model.device)
        return int(bytes_)

    prompt = PROMPTS[isinstance(model, LlamaGenModel) and model.texts is None]
    most = model.grid.size - 1
    steps = most if steps is None else min(steps, most)
    peak()
    with torch.inference_mode():
        cache, logits = model.prefill(model.encode([prompt]), n)
        token = logits.cond.argmax(-1)
        held = peak()  # the prompt's share of the peak; also waits for it
        start = time.perf_counter()
        for index in range(steps):
            token = model.step(cache, token, index).cond.argmax(-1)
        held = max(held, peak())
        seconds = (time.perf_counter() - start) / steps
        del cache, logits
        codes = torch.arange(n * model.grid.size, device=model.device) % model.vocab_size
        start = time.perf_counter()
        model.decode_images(codes.view(n, -1))
        images = peak()
    return Measured(seconds, held, time.perf_counter() - start, images)


@click.command()
@click.argument("name")
@click.option("--device", default="cpu")
@click.option("--dtype", default="float32")
@click.option("-n", default=8)
@click.option("--steps", type=int, help="Fewer steps than a whole image has.")
def main(name: str, device: str, dtype: str, n: int, steps: int | None) -> None:
    """Measure one architecture; prints a row of the table in docs/performance.md."""
    from scalingar_fw.config.device import resolve_device, resolve_dtype

    model = build(name, resolve_device(device), resolve_dtype(dtype) or torch.float32)
    found = measure(model, n, steps)
    cells = (
        name,
        dtype,
        str(n),
        f"{1000 * found.step_seconds:.1f} ms",
        show_bytes(model.row_bytes()),
        show_bytes(found.step_bytes) if found.step_bytes else "not counted",
        f"{found.image_seconds:.2f} s",
        show_bytes(found.image_bytes) if found.image_bytes else "not counted",
    )
    click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
