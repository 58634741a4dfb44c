"""The decoder-only transformer of LlamaGen: the trunk of `shapes`, LlamaGen and AR-GRPO.

A sequence is `prefix_len` conditioning vectors followed by `rows * cols` image tokens in raster
order; the logits at sequence index `prefix_len - 1 + t` choose token `t`. Parameter names equal
those of the official checkpoints (`layers.{i}.attention.wqkv.weight`, ...), so that one class
loads them strictly.

Source: LlamaGen (arXiv 2406.06525), `autoregressive/models/gpt.py`, reimplemented.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from attrs import field, frozen, validators
from torch import Tensor, nn

from scalingar_plugins.models.slots import bytes_of, grow_all, keep_all, room_for

PrefixRotation = Literal["zero", "identity"]


def find_multiple(n: int, k: int) -> int:
    """The smallest multiple of `k` that is at least `n`."""
    return -(-n // k) * k


@frozen
class DecoderConfig:
    """Geometry of a `Decoder`.

    `prefix_rotation` says what the rotary table holds at conditioning positions. LlamaGen's has
    cos = sin = 0 there ("zero"), which sets the queries and keys of the whole prefix to 0: every
    image token attends uniformly to the caption. That suits T5 features, whose every vector knows
    the sentence, but not single words, so "identity" (no rotation) exists beside it.
    """

    vocab_size: int = field(validator=validators.ge(1))
    dim: int = field(validator=validators.ge(4))
    n_layer: int = field(validator=validators.ge(1))
    n_head: int = field(validator=validators.ge(1))
    rows: int = field(validator=validators.ge(1))
    cols: int = field(validator=validators.ge(1))
    prefix_len: int = field(default=1, validator=validators.ge(1))
    n_kv_head: int | None = field(default=None)
    ffn_hidden: int | None = field(default=None)
    rope_base: float = field(default=10_000.0, validator=validators.gt(0))
    norm_eps: float = field(default=1e-5, validator=validators.gt(0))
    prefix_rotation: PrefixRotation = field(
        default="zero", validator=validators.in_(("zero", "identity"))
    )

    def __attrs_post_init__(self) -> None:
        if self.dim % self.n_head or (self.dim // self.n_head) % 4:
            raise ValueError(
                f"dim={self.dim} with n_head={self.n_head} must give a head size that is a "
                "multiple of 4 (two axes of rotated pairs): change dim or n_head."
            )
        if self.n_head % self.kv_heads:
            raise ValueError(
                f"n_kv_head={self.n_kv_head} must divide n_head={self.n_head}: use a divisor."
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_head

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer; LlamaGen rounds 8/3 dim up to a multiple of 256."""
        return self.ffn_hidden or find_multiple(int(8 * self.dim / 3), 256)

    @property
    def n_tokens(self) -> int:
        """T: image tokens per grid."""
        return self.rows * self.cols


def rotary_table(config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines per position, each `[prefix_len + T, head_dim]`, float32.

    The first half of a head turns with the row index, the second with the column index; pairs
    are interleaved (x0, x1), and the sine carries the sign of its pair member, so that
    `rotate(x) = x * cos + swap_pairs(x) * sin`.
    """
    half = config.head_dim // 2
    # On the CPU whatever the default device is: a decoder made on the meta device, to be filled
    # from a file, must still have its table.
    real: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    frequency = config.rope_base ** -(torch.arange(0, half, 2, **real)[: half // 2] / half)
    row = torch.arange(config.rows, **real).repeat_interleave(config.cols)
    col = torch.arange(config.cols, **real).repeat(config.rows)
    angle = torch.cat([row[:, None] * frequency, col[:, None] * frequency], dim=-1)
    cos = angle.cos().repeat_interleave(2, dim=-1)
    sin = torch.stack([-angle.sin(), angle.sin()], dim=-1).flatten(-2)
    prefix = torch.zeros(config.prefix_len, config.head_dim, **real)
    still = torch.ones_like(prefix) if config.prefix_rotation == "identity" else prefix
    return torch.cat([still, cos]), torch.cat([prefix, sin])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x [B, S, heads, head_dim]` by `cos`, `sin` `[S, 1, head_dim]`, in float32."""
    wide = x.float()
    swapped = wide.view(*wide.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.addcmul(wide * cos, swapped, sin).type_as(x)


class RMSNorm(nn.Module):
    """Root-mean-square norm; in float32, cast back, then times the weight, as LlamaGen does."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:  # one fused kernel; equal to the general case
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.rms_norm(x.float(), self.weight.shape, None, self.eps).type_as(x) * self.weight


class KVCache:
    """Keys and values of R rows, written in place; they grow by blocks as the sequence does.

    `keys[i]`, `values[i]`: `[R, kv_heads, room, head_dim]`; `length`: positions filled so far;
    `most`: positions of a whole sequence, beyond which no room is made in advance;
    `prefix_mask`: `[R, prefix_len]` bool, or None where every prefix position may be read.
    """

    def __init__(
        self,
        keys: list[Tensor],
        values: list[Tensor],
        length: int,
        most: int,
        prefix_mask: Tensor | None,
    ) -> None:
        self.keys, self.values = keys, values
        self.length, self.most = length, most
        self.prefix_mask = prefix_mask

    @classmethod
    def empty(
        cls, config: DecoderConfig, rows: int, like: Tensor, prefix_mask: Tensor | None
    ) -> KVCache:
        # The last image token is chosen and never read.
        most = config.prefix_len + config.n_tokens - 1
        room = room_for(config.prefix_len + 1, most)
        shape = (rows, config.kv_heads, room, config.head_dim)
        keys = [like.new_zeros(shape) for _ in range(config.n_layer)]
        values = [like.new_zeros(shape) for _ in range(config.n_layer)]
        return cls(keys, values, 0, most, prefix_mask)

    @property
    def room(self) -> int:
        """Positions that fit before the buffers grow."""
        return self.keys[0].shape[2]

    def reserve(self, length: int) -> None:
        """Room for `length` positions."""
        if length > self.room:
            room = room_for(length, self.most)
            grow_all(self.keys, self.length, room)
            grow_all(self.values, self.length, room)

    def take(self, rows: Tensor) -> KVCache:
        """The cache of `rows [M]` (int64, duplicates allowed: a fork), copied."""
        copy = KVCache(list(self.keys), list(self.values), self.length, self.most, self.prefix_mask)
        copy.keep(rows)
        return copy

    def keep(self, rows: Tensor) -> None:
        """`take` in place: the cache becomes that of `rows`, without a second one beside it."""
        keep_all(self.keys, rows)
        keep_all(self.values, rows)
        if self.prefix_mask is not None:
            self.prefix_mask = self.prefix_mask.index_select(0, rows)

    @property
    def nbytes(self) -> int:
        return bytes_of((*self.keys, *self.values))


def cache_bytes(config: DecoderConfig, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of one row's keys and values at the end of a sequence, and of the largest buffer
    that lies beside them while they grow or move (one layer's keys)."""
    positions = config.prefix_len + config.n_tokens - 1
    one = config.kv_heads * config.head_dim * positions * dtype.itemsize
    return 2 * config.n_layer * one, one


class Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        width = (config.n_head + 2 * config.kv_heads) * config.head_dim
        self.wqkv = nn.Linear(config.dim, width, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        cache: tuple[Tensor, Tensor] | None,
        start: int,
        causal: bool,
    ) -> Tensor:
        batch, length, _ = x.shape
        turned = (self.heads + self.kv_heads) * self.head_dim
        qkv: Tensor = self.wqkv(x)
        qk = rotate(qkv[..., :turned].view(batch, length, -1, self.head_dim), cos, sin).transpose(
            1, 2
        )
        query, key = qk[:, : self.heads], qk[:, self.heads :]
        value = qkv[..., turned:].view(batch, length, -1, self.head_dim).transpose(1, 2)
        if cache is not None:
            end = start + length
            cache[0][:, :, start:end] = key
            cache[1][:, :, start:end] = value
            key, value = cache[0][:, :, :end], cache[1][:, :, :end]
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=causal,
            enable_gqa=self.kv_heads != self.heads,
        )
        out: Tensor = self.wo(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden, bias=False)
        self.w2 = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        cache: tuple[Tensor, Tensor] | None,
        start: int,
        causal: bool,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, mask, cache, start, causal)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class Decoder(nn.Module):
    """Prefix vectors and image tokens in, logits over the codebook out (float32)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        cos, sin = rotary_table(config)
        # Not in the state dict (official files lack it) and kept in float32 under .to(bfloat16):
        # rounded angles at far positions would change which cell a token believes to be in.
        self._rotary = (cos[:, None, :], sin[:, None, :])

    def _table(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._rotary[0].device != device:
            self._rotary = (self._rotary[0].to(device), self._rotary[1].to(device))
        return self._rotary[0][start:end], self._rotary[1][start:end]

    def rotation(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of the first `length` positions, `[length, 1, head_dim]`."""
        return self._table(0, length, device)

    def _run(
        self, x: Tensor, mask: Tensor | None, cache: KVCache | None, start: int, causal: bool
    ) -> Tensor:
        cos, sin = self._table(start, start + x.shape[1], x.device)
        for index, layer in enumerate(self.layers):
            pair = None if cache is None else (cache.keys[index], cache.values[index])
            x = layer(x, cos, sin, mask, pair, start, causal)
        out: Tensor = self.norm(x)
        return out

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(x)
        return logits.float()

    def forward(self, prefix: Tensor, tokens: Tensor, prefix_mask: Tensor | None = None) -> Tensor:
        """Teacher forcing, without a cache.

        Args:
            prefix: `[B, prefix_len, dim]` conditioning vectors.
            tokens: `[B, t]` int64 image tokens, t <= T.
            prefix_mask: `[B, prefix_len]` bool, True where the prefix may be attended.

        Returns:
            `[B, t + 1, V]` float32 logits; index i predicts token i (the last one only where
            t < T; it is dropped at t = T, so that `[B, T, V]` comes back for a whole grid).
        """
        if tokens.shape[1] == self.config.n_tokens:
            tokens = tokens[:, :-1]
        x = torch.cat([prefix, self.tok_embeddings(tokens)], dim=1)
        mask = None
        if prefix_mask is not None:
            mask = causal_mask(prefix_mask, x.shape[1])
        x = self._run(x, mask, None, 0, causal=mask is None)
        return self._logits(x[:, self.config.prefix_len - 1 :])

    def prefill(self, prefix: Tensor, prefix_mask: Tensor | None = None) -> tuple[KVCache, Tensor]:
        """Read the prefix `[R, prefix_len, dim]`; return the cache and `[R, V]` logits."""
        cache = KVCache.empty(self.config, prefix.shape[0], prefix, prefix_mask)
        mask = None if prefix_mask is None else causal_mask(prefix_mask, prefix.shape[1])
        x = self._run(prefix, mask, cache, 0, causal=mask is None)
        cache.length = prefix.shape[1]
        return cache, self._logits(x[:, -1])

    def step(self, cache: KVCache, tokens: Tensor) -> Tensor:
        """Read one token `[R]` per row (written into `cache` in place); `[R, V]` logits."""
        cache.reserve(cache.length + 1)
        mask = None
        if cache.prefix_mask is not None:
            ones = cache.prefix_mask.new_ones(
                tokens.shape[0], cache.length + 1 - self.config.prefix_len
            )
            mask = torch.cat([cache.prefix_mask, ones], dim=1)[:, None, None, :]
        x = self.tok_embeddings(tokens[:, None])
        x = self._run(x, mask, cache, cache.length, causal=False)
        cache.length += 1
        return self._logits(x[:, 0])


def causal_mask(prefix_mask: Tensor, length: int) -> Tensor:
    """`[B, 1, S, S]` bool: causal, masked prefix columns off, the diagonal always on.

    The diagonal keeps the softmax of a masked (padding) row finite, as in the official code.
    """
    batch, prefix_len = prefix_mask.shape
    mask = torch.ones(length, length, dtype=torch.bool, device=prefix_mask.device).tril()
    mask = mask.expand(batch, length, length).clone()
    mask[:, :, :prefix_len] &= prefix_mask[:, None, :]
    mask |= torch.eye(length, dtype=torch.bool, device=prefix_mask.device)
    return mask[:, None]
