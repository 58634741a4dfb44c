"""Code blocks of Markdown files, and what the comment above each says about running it.

    <!-- ci: run -->              run it in an empty folder (bash or python)
    <!-- ci: run --limit 4 -->    the same, with these words added to each `scalingar` command
    <!-- ci: parse -->            check it without running: syntax, known commands and options
    <!-- ci: readme install -->   .ci/run runs it, word for word, in a fresh environment

Blocks of a file run in order, in one folder. The pages in docs/backends are generated and need
weights that nobody ships, so their blocks are parsed without saying so.
`python tests/docs/blocks.py README.md "readme install"` prints a block's text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:<!-- ci: (?P<tag>[^\n]*?) -->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```",
    flags=re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `tag` is what the comment above it says, or None."""

    path: Path
    line: int
    language: str
    tag: str | None
    text: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a file, in order."""
    content = path.read_text(encoding="utf-8")
    default = "parse" if path.parent.name == "backends" else None
    for match in _BLOCK.finditer(content):
        line = content.count("\n", 0, match.start("language")) + 1
        text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        yield Block(path, line, match["language"], match["tag"] or default, text)


def documents() -> list[Path]:
    """README, CONTRIBUTING and docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    file, tag = Path(sys.argv[1]).resolve(), sys.argv[2]
    found = [b.text for b in blocks(file) if b.tag == tag]
    if not found:
        sys.exit(f"{file.name} has no block tagged <!-- ci: {tag} -->")
    print("".join(found), end="")
