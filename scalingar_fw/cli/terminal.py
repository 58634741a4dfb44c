"""What reaches a terminal is text: control characters of labels, prompts and files are written out.

A label may come from a store that somebody sent. Printed as it is, `\\x1b[2J` in it would clear the
screen, and a sequence of a few more characters rename the window or type at some terminals. So the
whole command line writes through `Shown`, which lets through the few sequences that it uses itself.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

#: C0 but for tab and newline, delete, C1, and what reverses the order of a line's characters.
_CONTROLS = {
    code: f"\\u{code:04x}"
    for codes in (
        range(0x09),
        range(0x0B, 0x20),
        range(0x7F, 0xA0),
        range(0x202A, 0x202F),
        range(0x2066, 0x206A),
    )
    for code in codes
}
#: Bold, dim and back (click.style); at the beginning, a line that is written over.
_OURS = re.compile(r"\x1b\[[012]m")
_AGAIN = re.compile(r"\r(?:\x1b\[K)?")


def plain(text: str) -> str:
    """`text` with its control characters written out, as JSON writes them."""
    return text.translate(_CONTROLS)


class Shown:
    """A text stream that writes `plain` text; all else is the stream's own.

    Escapes have the form that JSON gives them, so that what is valid JSON stays so.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str | bytes) -> int:
        if isinstance(text, bytes):  # click's way to tell a shell what it may complete
            text = text.decode("utf-8", "backslashreplace")
        styled = self.stream.isatty()
        again = _AGAIN.match(text)
        out, place = [], 0
        if again is not None:
            out, place = [again[0]], again.end()
        for match in _OURS.finditer(text, place):
            out += [plain(text[place : match.start()]), match[0] if styled else ""]
            place = match.end()
        self.stream.write("".join([*out, plain(text[place:])]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # whoever looks for it would write past this
            raise AttributeError(name)
        return getattr(self.stream, name)


def console(stream: Any, width: int | None = None) -> Any:
    """Rich's console on stdout or stderr: it draws by sequences of its own, so what it is given
    must be `plain` already."""
    from rich.console import Console

    return Console(file=stream.stream if isinstance(stream, Shown) else stream, width=width)


@contextlib.contextmanager
def showing_text() -> Iterator[None]:
    """In the block, stdout and stderr are `Shown`."""
    before = sys.stdout, sys.stderr
    ours = tuple(Shown(_that_can_write(stream)) for stream in before)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        # Click puts another one in place of a pipe that was closed: that one stays.
        if sys.stdout is ours[0]:
            sys.stdout = before[0]
        if sys.stderr is ours[1]:
            sys.stderr = before[1]


def _that_can_write(stream: Any) -> Any:
    """A stream that takes any text: what no encoding has (names of files that are no text) is
    written out. ASCII is what a misconfigured system says; click takes it for UTF-8 as well."""
    if hasattr(stream, "reconfigure"):
        ascii_ = codecs.lookup(stream.encoding or "utf-8").name == "ascii"
        encoding = "utf-8" if ascii_ else stream.encoding
        stream.reconfigure(encoding=encoding, errors="backslashreplace")
    return stream


__all__ = ["console", "plain", "showing_text"]
