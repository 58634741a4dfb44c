"""How a result looks in a notebook, and its candidates as a data frame."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError
from scalingar_fw.generation.pictures import png_bytes

if TYPE_CHECKING:
    import pandas as pd


#: What a picture's longer side is brought up to, in pixels, where it is smaller.
USEFUL = 288


def enlarged(pixels: Array, least: int = USEFUL) -> Array:
    """`pixels [H, W, 3]`, every pixel repeated so often that the longer side has at least `least`:
    nearest neighbour by a whole factor, so that pixel art keeps its edges. Others stay."""
    factor = -(-least // max(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else pixels


def figure(pixels: Array, label: str, words: str) -> str:
    """A picture `[H, W, 3]` with a caption of two lines, as HTML; both texts are escaped."""
    picture = np.ascontiguousarray(enlarged(pixels))
    source = base64.b64encode(png_bytes(picture)).decode()
    label = html.escape(label)
    return (
        f'<figure style="margin: 0"><img alt="{label}" style="image-rendering: pixelated; '
        f'max-width: 100%" src="data:image/png;base64,{source}">'
        f"<figcaption>{label}<br><small>{html.escape(words)}</small></figcaption></figure>"
    )


def data_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as pandas' table.

    Raises:
        ScalingarError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ScalingarError("to_pandas() needs pandas: pip install pandas.") from error
    return pd.DataFrame([dict(row) for row in rows])


__all__ = ["data_frame", "enlarged", "figure"]
