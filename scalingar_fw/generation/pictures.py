"""Pixels as PIL's images and as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from scalingar_fw.decoding.result import Array

if TYPE_CHECKING:
    from PIL.Image import Image


def to_pil(pixels: Array) -> Image:
    """`[H, W, 3]` uint8 as PIL's image."""
    import PIL.Image

    return PIL.Image.fromarray(pixels)


def png_bytes(pixels: Array) -> bytes:
    """A PNG without any metadata: equal pixels give equal bytes."""
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


__all__ = ["png_bytes", "to_pil"]
