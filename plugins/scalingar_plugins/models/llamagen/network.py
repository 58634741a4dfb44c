"""LlamaGen's networks: a conditioner that writes the prefix, and the decoder that reads it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalingar_plugins.models.checkpoints import STRAY, load_strictly, without
from scalingar_plugins.models.decoder import Decoder, DecoderConfig
from scalingar_plugins.models.llamagen.sizes import SIZES


class ClassEmbedder(nn.Module):
    """`[classes + 1, dim]`: one vector per class, the last for "no class"."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, dim)

    @property
    def classes(self) -> int:
        return self.embedding_table.num_embeddings - 1

    def forward(self, labels: Tensor) -> Tensor:
        """`labels [P]` int64 to the prefix `[2P, 1, dim]`: the classes, then P times none."""
        null = torch.full_like(labels, self.classes)
        out: Tensor = self.embedding_table(torch.cat([labels, null]))[:, None]
        return out


class CaptionProjection(nn.Module):
    """Text features to the decoder's width: linear, GELU (tanh), linear; no biases."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, dim, bias=False)
        self.fc2 = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class CaptionEmbedder(nn.Module):
    """Text features `[P, tokens, features]`; "no caption" is learned in the same space."""

    def __init__(self, tokens: int, features: int, dim: int) -> None:
        super().__init__()
        self.cap_proj = CaptionProjection(features, dim)
        # A buffer in LlamaGen's files and a parameter in AR-GRPO's: the name is the same.
        self.uncond_embedding = nn.Parameter(torch.empty(tokens, features), requires_grad=False)

    @property
    def features(self) -> int:
        return self.uncond_embedding.shape[1]

    def forward(self, captions: Tensor) -> Tensor:
        """The prefix `[2P, tokens, dim]`: the captions, then P times none."""
        null = self.uncond_embedding.expand_as(captions)
        out: Tensor = self.cap_proj(torch.cat([captions, null]))
        return out


class LlamaGen(nn.Module):
    """Conditioner and decoder together; `fill` loads an official state dict."""

    cls_embedding: ClassEmbedder | CaptionEmbedder

    def __init__(self, config: DecoderConfig, conditioner: ClassEmbedder | CaptionEmbedder) -> None:
        super().__init__()
        self.decoder = Decoder(config)
        self.cls_embedding = conditioner

    @classmethod
    def from_state(
        cls,
        config: DecoderConfig,
        conditioner: ClassEmbedder | CaptionEmbedder,
        state: Mapping[str, Tensor],
        what: str,
    ) -> LlamaGen:
        """The network with the tensors of an official checkpoint.

        Build `conditioner` on the meta device: the file's tensors are assigned.

        Args:
            config: the trunk's geometry.
            conditioner: class or caption embedder.
            state: tensors by official name; recomputed buffers are dropped here.
            what: names the file in the error.

        Raises:
            ScalingarError: names or shapes that do not fit, with a guess at what the file is.
        """
        with torch.device("meta"):
            network = cls(config, conditioner)
        # Official files have no "decoder." before the trunk's names.
        named = {
            name if name.startswith("cls_embedding.") else f"decoder.{name}": value
            for name, value in without(state, STRAY).items()
        }
        load_strictly(network, named, what, describe(state), ours="decoder.")
        return network.eval()


def describe(state: Mapping[str, Tensor]) -> str:
    """What an official state dict seems to be, as advice; empty where nothing is recognised."""
    if "norm.weight" not in state:
        if any(name.startswith(("decoder.conv_in", "encoder.")) for name in state):
            return "This looks like an image tokenizer: pass the generator's file here."
        return "This does not look like a LlamaGen generator."
    dim = state["norm.weight"].shape[0]
    layers = len({n.split(".")[1] for n in state if n.startswith("layers.")})
    size = next((n for n, s in SIZES.items() if (s.dim, s.layers) == (dim, layers)), None)
    task = "c2i" if "cls_embedding.embedding_table.weight" in state else "t2i"
    known = f" (size {size})" if size else ""
    return f"This looks like a {task} generator with {layers} layers of width {dim}{known}."
