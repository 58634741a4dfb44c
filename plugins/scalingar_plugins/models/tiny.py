"""Every supported architecture with a few thousand random weights, for tests and demonstrations.

Images are noise; logits, caches, forced tokens and masks behave as those of the real models do.
All are made from a seed without touching the global random state.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_plugins.models.chameleon import ANOLE, LUMINA, ChameleonModel, Marks
from scalingar_plugins.models.chameleon import from_transformers as chameleon_from
from scalingar_plugins.models.decoder import DecoderConfig
from scalingar_plugins.models.descriptions import described
from scalingar_plugins.models.emu3 import Emu3Model
from scalingar_plugins.models.emu3 import from_transformers as emu3_from
from scalingar_plugins.models.hf import need_transformers
from scalingar_plugins.models.hf_causal import HFCausalModel
from scalingar_plugins.models.hf_causal import from_transformers as causal_from
from scalingar_plugins.models.janus import JanusModel
from scalingar_plugins.models.janus import from_transformers as janus_from
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.llamagen.text import Padding
from scalingar_plugins.models.simplear import SimpleARModel
from scalingar_plugins.models.simplear import from_transformers as simplear_from
from scalingar_plugins.models.vq import VQConfig, VQDecoder

CPU = torch.device("cpu")


@frozen
class HashedText:
    """Text features without an encoder: one vector per word, drawn from the word's hash."""

    tokens: int = 6
    width: int = 12

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        features = torch.zeros(len(texts), self.tokens, self.width)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        for row, text in enumerate(texts):
            words = (text.split()[: self.tokens - 1] + ["</s>"])[: self.tokens]
            mask[row, : len(words)] = True
            for place in range(self.tokens):  # padding is not zero, as T5's is not
                word = words[place] if place < len(words) else f"pad {place} {text}"
                features[row, place] = _hashed(word, self.width)
        return features, mask


def _hashed(text: str, count: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return torch.randn(count, generator=torch.Generator().manual_seed(seed % (1 << 63)))


def randomize(module: nn.Module, seed: int, scale: float = 0.25) -> None:
    """Normal weights from `seed`; norms near one. LlamaGen's own initialisation has a zero output
    layer, with which every comparison of logits would pass."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            norm = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.1 * noise if norm else scale * noise)
    module.requires_grad_(False).eval()


def image_tokenizer(codes: int = 40, seed: int = 1, vqgan: bool = False) -> VQDecoder:
    """Two levels: 2 x 2 pixels per token. `vqgan`: codes as they are, no attention beside the
    middle's."""
    config = VQConfig(
        normalize_codes=not vqgan,
        attention=not vqgan,
        codebook_size=codes,
        z_channels=8,
        base_channels=8,
        channel_mult=(1, 1),
        res_blocks=1,
        groups=4,
    )
    decoder = VQDecoder(config)
    randomize(decoder, seed, 0.1)
    return decoder


def llamagen_c2i(rows: int = 4, cols: int = 4, classes: int = 10, seed: int = 0) -> LlamaGenModel:
    """Class-conditional; classes 0 to `classes - 1`."""
    config = DecoderConfig(vocab_size=40, dim=32, n_layer=2, n_head=4, rows=rows, cols=cols)
    network = LlamaGen(config, ClassEmbedder(classes, config.dim))
    return _llamagen("tiny-llamagen-c2i", network, seed)


def llamagen_t2i(
    rows: int = 4, cols: int = 4, padding: Padding = "left", seed: int = 0
) -> LlamaGenModel:
    """Text-conditional on hashed words; any text."""
    texts = HashedText()
    config = DecoderConfig(
        vocab_size=40,
        dim=32,
        n_layer=2,
        n_head=4,
        rows=rows,
        cols=cols,
        prefix_len=texts.tokens,
    )
    network = LlamaGen(config, CaptionEmbedder(texts.tokens, texts.width, config.dim))
    return _llamagen("tiny-llamagen-t2i", network, seed, texts, padding)


def ar_grpo(seed: int = 0) -> LlamaGenModel:
    """LlamaGen with AR-GRPO's prompt padding."""
    return llamagen_t2i(padding="right_raw", seed=seed)


def _llamagen(
    name: str,
    network: LlamaGen,
    seed: int,
    texts: HashedText | None = None,
    padding: Padding = "left",
) -> LlamaGenModel:
    randomize(network, seed)
    preset = Sampling(guidance=3.0)
    return LlamaGenModel(
        name=name,
        network=network,
        tokenizer=image_tokenizer(),
        device=CPU,
        dtype=torch.float32,
        preset=preset,
        texts=texts,
        padding=padding,
        presets={"demo": preset},
        settings={"padding": padding, "seed": seed},
    )


def word_ids(
    low: int, high: int, bos: int | None = None, end: int | None = None
) -> Callable[[str], list[int]]:
    """A tokenizer without a vocabulary: words hashed into [low, high), one id each."""

    def tokenize(text: str) -> list[int]:
        ids = []
        for word in text.replace("<|", " <|").replace("|>", "|> ").split():
            digest = hashlib.sha256(word.encode()).digest()
            ids.append(low + int.from_bytes(digest[:4], "little") % (high - low))
        return [x for x in (bos, *ids, end) if x is not None]

    return tokenize


_TEXT = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _random(build: Callable[[], Any], seed: int) -> Any:
    """A transformers model made and initialised without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    randomize(model, seed, 0.1)
    return model


@functools.cache
def janus_network(seed: int = 0) -> Any:
    """A `JanusForConditionalGeneration` with 4 x 4 image tokens of a codebook of 40."""
    transformers = need_transformers("The tiny Janus")
    config = transformers.JanusConfig(
        text_config=dict(_TEXT, model_type="llama", vocab_size=64),
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "projection_dim": 48,
            "num_image_tokens": 16,
            "depth": 2,
            "mlp_ratio": 2.0,
        },
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 40,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "projection_dim": 48,
            "num_hidden_layers": 2,
            "image_token_embed_dim": 48,
            "num_patches": 4,
        },
        image_token_id=60,
    )
    return _random(lambda: transformers.JanusForConditionalGeneration(config), seed)


def janus(seed: int = 0) -> JanusModel:
    """Ids: padding 0, first token 1, image marker 61."""
    return janus_from(
        janus_network(seed),
        word_ids(5, 60, bos=1, end=61),
        (1, 0, 61),
        name="tiny-janus",
        prompt_tokens=12,
        settings={"seed": seed},
    )


@functools.cache
def emu3_network(seed: int = 0) -> Any:
    """An `Emu3ForConditionalGeneration` with 24 image codes in a vocabulary of 70."""
    transformers = need_transformers("The tiny Emu3")
    named = {
        "<image>": 30,
        "<|extra_200|>": 31,
        "<|image start|>": 32,
        "<|image token|>": 33,
        "<|image end|>": 34,
        "<|extra_201|>": 35,
    }
    config = transformers.Emu3Config(
        vocabulary_map=named | {f"<|visual token {i:06d}|>": 40 + i for i in range(24)},
        text_config=dict(_TEXT, vocab_size=70),
        vq_config={
            "codebook_size": 24,
            "embed_dim": 4,
            "latent_channels": 4,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "hidden_size": 32,
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "num_attention_heads": 1,
            "temporal_downsample_factor": 1,
        },
    )
    return _random(lambda: transformers.Emu3ForConditionalGeneration(config), seed)


def emu3(rows: int = 3, cols: int = 4, seed: int = 0) -> Emu3Model:
    """An end of line after every `cols` tokens; words have ids 5 to 29."""
    return emu3_from(
        emu3_network(seed),
        word_ids(5, 30, bos=1),
        grid=Grid(rows, cols),
        name="tiny-emu3",
        prompt_tokens=30,
        settings={"seed": seed},
    )


def code_name(code: int) -> str:
    """Chameleon's name of an image code: its digits as letters."""
    return f"IMGIMG{str(code).translate(str.maketrans('0123456789', 'ABCDEFGHIJ'))}Z"


@functools.cache
def chameleon_network(seed: int = 0) -> Any:
    """A `ChameleonForConditionalGeneration` with 24 image codes in a vocabulary of 80."""
    transformers = need_transformers("The tiny Chameleon")
    # From 40 on, in another order than the codes': a mapping that is ignored shows.
    named = {code_name(code): 40 + (code * 7 + 3) % 24 for code in range(24)}
    config = transformers.ChameleonConfig(
        **_TEXT,
        vocab_size=80,
        vocabulary_map=named | {"<image>": 39},
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 24,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "resolution": 32,
        },
    )
    return _random(lambda: transformers.ChameleonForConditionalGeneration(config), seed)


def anole(rows: int = 4, cols: int = 4, seed: int = 0) -> ChameleonModel:
    """Words have ids 5 to 29, the end of a turn 30, the start of an image 32."""
    return _chameleon("tiny-anole", Marks(1, 30, 32), Grid(rows, cols), ANOLE, seed)


def lumina(rows: int = 2, cols: int = 4, seed: int = 0) -> ChameleonModel:
    """An end of line (31) after every `cols` codes; sizes in units of two codes from id 33."""
    marks = Marks(1, 30, 32, 31, (32 + rows // 2, 32 + cols // 2))
    return _chameleon("tiny-lumina", marks, Grid(rows, cols), LUMINA, seed)


def _chameleon(
    name: str, marks: Marks, grid: Grid, presets: Mapping[str, Sampling], seed: int
) -> ChameleonModel:
    return chameleon_from(
        chameleon_network(seed),
        word_ids(5, 30),
        image_tokenizer(24, vqgan=True),
        marks,
        grid=grid,
        name=name,
        prompt_tokens=30,
        preset=presets["official"],
        presets=presets,
        settings={"seed": seed},
    )


@functools.cache
def causal_network(seed: int = 0) -> Any:
    """A `GemmaForCausalLM`, as Liquid is one, with 40 words and 24 image codes."""
    transformers = need_transformers("The tiny causal model")
    config = transformers.GemmaConfig(**_TEXT, vocab_size=64, head_dim=12)
    return _random(lambda: transformers.GemmaForCausalLM(config), seed)


def hf_causal(
    rows: int = 3, cols: int = 3, end_of_line: int | None = None, seed: int = 0
) -> HFCausalModel:
    """Words have ids 5 to 39, image codes 40 to 63; `end_of_line`: the id behind each row."""
    about = described(
        {
            "codes": {"first": 40, "count": 24},
            "grid": {"rows": rows, "cols": cols},
            "prompt": "{prompt} in {rows} by {cols}",
            "negative": "without {prompt}",
            "sampling": {"guidance": 3.0},
            "image": {},
            "prompt_tokens": 20,
        },
        "tiny",
    )
    return causal_from(
        causal_network(seed),
        word_ids(5, 39, bos=1),
        about,
        torch.arange(40, 64),
        image_tokenizer(24, vqgan=True),
        end_of_line=end_of_line,
        name="tiny-hf-causal",
        settings={"seed": seed, "end_of_line": end_of_line},
    )


@functools.cache
def simplear_network(seed: int = 0) -> Any:
    """A `Qwen2ForCausalLM` with 50 words and 40 image codes."""
    transformers = need_transformers("The tiny SimpleAR")
    config = transformers.Qwen2Config(**_TEXT, vocab_size=90, tie_word_embeddings=True)
    return _random(lambda: transformers.Qwen2ForCausalLM(config), seed)


def simplear(rows: int = 4, cols: int = 4, official: bool = False, seed: int = 0) -> SimpleARModel:
    """Codes 50 to 89; `official` permits the words as well."""

    def pixels(codes: Tensor) -> Tensor:
        grey = codes.float()[:, :, None].expand(-1, 3, -1, -1, -1) / 19.5 - 1
        return grey.repeat_interleave(2, -1).repeat_interleave(2, -2)

    return simplear_from(
        simplear_network(seed),
        word_ids(5, 50),
        pixels,
        first=50,
        codes=40,
        grid=Grid(rows, cols),
        official=official,
        name="tiny-simplear",
        prompt_tokens=30,
        settings={"seed": seed, "official": official},
    )
