"""Key and value buffers that grow by blocks of positions and move their rows buffer by buffer.

A buffer is `[R, heads, room, head_dim]`, filled up to a length. Attention wants a row's positions
in one piece, so a fuller buffer is a larger one into which the old is copied; with blocks of
`GROWTH` positions an image of 1024 tokens copies each layer 16 times, against the 1024 times that
its attention reads it. What an early end of a candidate saves is memory as well as time: rooms
that it never reaches are never made.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

#: Positions by which a buffer grows.
GROWTH = 64


def room_for(length: int, most: int) -> int:
    """Positions to make room for so that `length` fit: whole blocks, `most` at the most (or
    `length` itself, where that is more)."""
    return max(length, min(most, -(-length // GROWTH) * GROWTH))


def grown(buffer: Tensor, filled: int, room: int) -> Tensor:
    """A buffer with `room` positions and the first `filled` of `buffer`'s; zeros behind them.

    Zeros, not whatever lay there: a NaN in unused memory must not reach a masked product.
    """
    larger = buffer.new_empty((*buffer.shape[:2], room, buffer.shape[3]))
    larger[:, :, :filled] = buffer[:, :, :filled]
    larger[:, :, filled:].zero_()
    return larger


def grow_all(buffers: list[Tensor], filled: int, room: int) -> None:
    """Each of `buffers` replaced by a grown one; beside them one old buffer exists at a time."""
    for i in range(len(buffers)):
        buffers[i] = grown(buffers[i], filled, room)


def keep_all(buffers: list[Tensor], rows: Tensor) -> None:
    """Each of `buffers` replaced by its rows `rows [M]`, one after the other: beside the whole
    there is never more than a copy of one buffer."""
    for i in range(len(buffers)):
        buffers[i] = buffers[i].index_select(0, rows)


def bytes_of(buffers: Any) -> int:
    return sum(b.numel() * b.element_size() for b in buffers)
