"""Images and figures inside the page: data URIs, and SVG that can stand beside other SVG."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import matplotlib
import PIL.Image

from scalingar_analysis.plots.style import our_style, save
from scalingar_analysis.plots.thumbnails import small
from scalingar_fw.decoding.result import Array

#: Longer side, in pixels, of an image that is not tiny anyway.
SIDE = 160


def data_uri(pixels: Array) -> str:
    """`[H, W, 3]` uint8 as a data URI: tiny images exactly, larger ones as thumbnails."""
    buffer = io.BytesIO()
    if max(pixels.shape[:2]) <= 96:
        PIL.Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
        kind = "png"
    else:
        small(pixels, SIDE).save(buffer, format="JPEG", quality=82)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def inline_svg(figure: Any, prefix: str, dark: bool = False) -> str:
    """A figure as an `<svg>` element; `prefix` keeps its ids apart from other figures'.

    Text stays text: it can be selected and read aloud, and a figure is a few kilobytes.
    """
    buffer = io.BytesIO()
    with our_style(dark):
        matplotlib.rcParams["svg.fonttype"] = "none"
        save(figure, buffer, kind="svg")
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # It would hold for the whole page; report.css says the same of figures alone.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    # The size is the style sheet's; the viewBox keeps the proportions.
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="([^"]+)pt"', "", head)
    return f'{head} role="img">{rest}'.strip()
