"""The caption cleaning that LlamaGen's text encoder was trained behind.

Its image captions came from the web, and its script passes every prompt through the same cleaning,
twice. Results of official checkpoints therefore belong to the cleaned text: "a 512x512 photo" is
"a photo" to the model, and Chinese characters vanish. `clean` reproduces it; a user who wants the
prompt as typed switches it off.

The rules are those of DeepFloyd IF's caption cleaning, which LlamaGen adopts, written as a table:
they are part of the models' input format. Each was compared with `language/t5.py` of
FoundationVision/LlamaGen, and the whole with it on made-up captions.
"""

from __future__ import annotations

import html
import re
import urllib.parse
import warnings
from typing import Literal

from scalingar_fw.errors import ScalingarError

Cleaning = Literal["official", "lower", "none"]

_FILES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"
_HOST = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b\/?(?!@)"
_CJK = "\u31c0-\u31ef\u31f0-\u31ff\u3200-\u32ff\u3300-\u33ff\u3400-\u4dbf\u4dc0-\u4dff\u4e00-\u9fff"
_DASHES = (
    "\\-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030"
    "\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_SYMBOLS = "#\u00ae\u2022\u00a9\u2122&@\u00b7\u00ba\u00bd\u00be\u00bf\u00a1\u00a7~"

#: Before HTML is stripped: web addresses.
_ADDRESSES = (
    (r"\b(?:https?:(?:\/{1,3}|[a-zA-Z0-9%])|" + _HOST + ")", ""),
    (r"\b(?:www:(?:\/{1,3}|[a-zA-Z0-9%])|" + _HOST + ")", ""),
)
#: After it, in this order: names and other scripts, punctuation, numbers, file names.
_CHARACTERS = (
    (r"@[\w\d]+\b", ""),
    (f"[{_CJK}]+", ""),
    (f"[{_DASHES}]+", "-"),
    ("[`\u00b4\u00ab\u00bb\u201c\u201d\u00a8]", '"'),
    ("[\u2018\u2019]", "'"),
    (r"&quot;?", ""),
    (r"&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # network addresses
    (r"\d:\d\d\s+$", ""),  # a trailing article number
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"[\S]+\.(?:{_FILES})", ""),
    (r"[\"\']{2,}", '"'),
    (r"[\.]{2,}", " "),
    (rf"[{_SYMBOLS}\)\(\]\[\}}\{{\|\\\/\*]{{1,}}", " "),
    (r"\s+\.\s+", " "),
)
#: After encoding damage is mended: catalogue numbers and the words of web shops.
_WORDS = (
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(worldwide\s+)?(free\s+)?shipping", ""),
    (r"(free\s)?download(\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILES})(\simage[s]?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    ("\\b\\d+\\.?\\d*[x\u0445\u00d7]\\d+\\.?\\d*\\b", ""),  # Latin x, Cyrillic x, times sign
    (r"\b\s+\:\s+", ": "),
    (r"(\D[,\./])\b", r"\1 "),
    (r"\s+", " "),
)
#: Last: quotes around all of it, and loose punctuation at its ends.
_ENDS = (
    (r"^[\"\']([\w\W]+)[\"\']$", r"\1"),
    (r"^[\'\_,\-\:;]", ""),
    (r"[\'\_,\-\:\-\+]$", ""),
    (r"^\.\S+$", ""),
)


def clean(text: str, cleaning: Cleaning = "official") -> str:
    """The prompt as the text encoder shall see it.

    Args:
        text: the prompt.
        cleaning: "official" cleans twice, as LlamaGen's scripts do by default; "lower" is what
            they do with cleaning off (lower case, outer spaces removed); "none" changes nothing.

    Raises:
        ScalingarError: "official" without the packages of the extra `hf`.
    """
    if cleaning == "none":
        return text
    if cleaning == "lower":
        return text.lower().strip()
    return _clean_once(_clean_once(text))


def _clean_once(text: str) -> str:
    try:
        import ftfy
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise ScalingarError(
            "The official caption cleaning needs ftfy and beautifulsoup4: pip install "
            "'scalingar-fw[hf]', or switch it off with --option caption_cleaning=none."
        ) from error
    text = urllib.parse.unquote_plus(text).strip().lower().replace("<person>", "person")
    text = _apply(_ADDRESSES, text)
    with warnings.catch_warnings():  # a prompt may look like a file name or an address
        warnings.simplefilter("ignore")
        text = BeautifulSoup(text, features="html.parser").text
    text = _apply(_CHARACTERS, text)
    # A text with more than three hyphens or underscores joins its words by them.
    if len(re.findall(r"[\-_]", text)) > 3:
        text = re.sub(r"[\-_]", " ", text)
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    # Not stripped in between: a space at an end keeps the rules for ends from matching.
    return _apply(_ENDS, _apply(_WORDS, text)).strip()


def _apply(rules: tuple[tuple[str, str], ...], text: str) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text
