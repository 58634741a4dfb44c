"""The training loss, computed fast: the same function as the shipped network's, other kernels.

On CPUs, attention's backward pass and the rotation took most of a step: the causal product is
written out (the compiler fuses scale, mask and softmax), pairs are rotated without a flip, and
matrices are multiplied in bfloat16 where the processor has units for it. :func:`training_loss`
agrees with cross entropy on :meth:`Generator.forward` to rounding (a test holds that).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from scalingar_plugins.models.decoder import Attention, Block, Decoder
from scalingar_plugins.models.shapes.generator import Generator


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of `x [B, S, heads, head_dim]`; `cos`, `sin` are `[S, 1, head_dim / 2]`."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)


def _attend(layer: Attention, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
    batch, length, dim = x.shape
    turned = (layer.heads + layer.kv_heads) * layer.head_dim
    qkv = layer.wqkv(x)
    qk = _turn(qkv[..., :turned].view(batch, length, -1, layer.head_dim), cos, sin).to(qkv.dtype)
    query = qk[:, :, : layer.heads].transpose(1, 2)
    key = qk[:, :, layer.heads :].transpose(1, 2)
    value = qkv[..., turned:].view(batch, length, -1, layer.head_dim).transpose(1, 2)
    scores = query @ key.transpose(-2, -1) * layer.head_dim**-0.5 + bias
    mixed = scores.softmax(-1).to(value.dtype) @ value
    out: Tensor = layer.wo(mixed.transpose(1, 2).reshape(batch, length, dim))
    return out


def _hidden(decoder: Decoder, prefix: Tensor, tokens: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
    cos, sin, bias = tables
    x = torch.cat([prefix, decoder.tok_embeddings(tokens)], dim=1)
    for layer in decoder.layers:
        assert isinstance(layer, Block)
        x = x + _attend(layer.attention, layer.attention_norm(x), cos, sin, bias)
        x = x + layer.feed_forward(layer.ffn_norm(x))
    out: Tensor = decoder.norm(x[:, decoder.config.prefix_len - 1 :])
    return out


def _tables(decoder: Decoder, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines and sines of pairs `[S, 1, head_dim / 2]`, and the causal bias `[S, S]`."""
    length = decoder.config.prefix_len + decoder.config.n_tokens - 1
    cos, sin = decoder.rotation(length, device)
    bias = torch.full((length, length), -1e4, device=device).triu(1)
    # The table repeats a pair's cosine, and signs its sine for the even member.
    return cos[..., 0::2].contiguous(), sin[..., 1::2].contiguous(), bias


def training_loss(
    generator: Generator, device: torch.device, *, half: bool, compiled: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as a function of `ids [B, P]` and `tokens [B, T]`: mean cross entropy, nats a token.

    Args:
        generator: Trained in place; needs one head of keys for each head of queries.
        device: Where it is.
        half: Multiply matrices in bfloat16; weights, norms and the loss stay in float32.
        compiled: Through `torch.compile`, for one size of batch.
    """
    decoder = generator.decoder
    tables = _tables(decoder, device)

    def loss(ids: Tensor, tokens: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            hidden = _hidden(decoder, generator.text(ids), tokens[:, :-1], tables)
            logits = decoder.output(hidden)
        return functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())

    return torch.compile(loss, dynamic=False) if compiled else loss
