"""Turns the documents, as they read on a forge, into pages of the site.

Documents link to files by their place in the repository (`../CONTRIBUTING.md`,
`../plugins/.../sources.py`) and name code as `` `folder/file.py:Symbol` ``. Here the Markdown files
outside docs/ that are worth a page become pages under project/, each source file that a page names
becomes a page under source/, and both kinds of reference become links. What leads nowhere is a
warning, and `mkdocs build --strict` fails for it.
"""

from __future__ import annotations

import ast
import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).parents[2]

#: Documents outside docs/, and their pages.
PROJECT = {
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code_of_conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "tests/README.md": "project/tests.md",
    "plugins/scalingar_plugins/models/shapes/MODEL_CARD.md": "project/model_card.md",
}
#: Files of which no page is made; a link to one stays text.
PLAIN = ("CITATION.cff", "LICENSE", "README.md", "pyproject.toml", "constraints.txt", "Dockerfile")

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_PLACE = re.compile(r"(\[?)`([\w./-]+\.py)(?::([\w.]+))?`(\]?)")
_COMMENT = re.compile(r"^ *<!-- [^\n]*? -->\n(?= *(```|\|))", re.MULTILINE)
_FENCE = re.compile(r"^( *)(```|~~~)[^\n]*\n.*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)


def source_page(path: str) -> str:
    return f"source/{path}.md"


def line_of(path: str, symbol: str) -> int | None:
    """The line on which `symbol` (a name, or Class.method) of a source file is defined."""
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    line = None
    for name in symbol.split("."):
        for node in body:
            names = (
                [t.id for t in node.targets if isinstance(t, ast.Name)]
                if isinstance(node, ast.Assign)
                else [
                    getattr(node, "name", None),
                    getattr(getattr(node, "target", None), "id", None),
                ]
            )
            if name in names:
                decorators = getattr(node, "decorator_list", [])
                line = min([node.lineno, *(d.lineno for d in decorators)])
                body = getattr(node, "body", [])
                break
        else:
            return None
    return line


def source_text(path: str, symbols: set[str]) -> str:
    """A source file as a page: a heading before each symbol that some document names."""
    lines = (ROOT / path).read_text(encoding="utf-8").replace("```", "` ` `").splitlines()
    cuts = {line: s for s in symbols if (line := line_of(path, s)) is not None}
    out = ["---", "search:", "  exclude: true", "---", "", f"# {path}", ""]
    starts = sorted({1, *cuts})
    for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        if start in cuts:
            out += [f"## `{cuts[start]}` {{ #{cuts[start]} }}", ""]
        body = "\n".join(lines[start - 1 : end - 1])
        if body.strip():
            out += [f'``` python linenums="{start}"', body, "```", ""]
    return "\n".join(out)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of docs/."""
    for path, uri in PROJECT.items():
        if (ROOT / path).is_file():
            content = (ROOT / path).read_text(encoding="utf-8")
            files.append(File.generated(config, uri, content=content))
    named: dict[str, set[str]] = {}
    for file in list(files.documentation_pages()):
        text = file.content_string
        for _, path, symbol, _ in _PLACE.findall(text):
            if "/" in path:
                named.setdefault(path, set()).add(symbol)
        for _, target in _LINK.findall(text):
            place = resolve(target.partition("#")[0], origin(file.src_uri))
            if place and place.endswith(".py"):
                named.setdefault(place, set())
    for path, symbols in sorted(named.items()):
        if (ROOT / path).is_file():
            content = source_text(path, symbols - {""})
            files.append(File.generated(config, source_page(path), content=content))
        else:
            log.warning("a document names %s, which does not exist", path)
    return files


def origin(uri: str) -> str:
    """Where a page's text lies in the repository."""
    for path, page in PROJECT.items():
        if page == uri:
            return path
    return f"docs/{uri}"


def resolve(target: str, place: str) -> str | None:
    """A link's target as a path in the repository; None for what is no relative path."""
    if not target or re.match(r"[a-z]+:|/", target):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), target))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Comments for the tests go; links and places in the code lead to pages."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    here = origin(uri)

    def to_page(target_uri: str, anchor: str = "") -> str:
        return os.path.relpath(target_uri, posixpath.dirname(uri) or ".") + anchor

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        target, _, heading = target.partition("#")
        anchor = f"#{heading}" if heading else ""
        place = resolve(target, here)
        if place is None:
            return match[0]
        if place in PROJECT:
            if not (ROOT / place).is_file():
                log.warning("%s links to %s, which does not exist", here, place)
            return f"[{text}]({to_page(PROJECT[place], anchor)})"
        if place.endswith(".py"):
            return f"[{text}]({to_page(source_page(place))})"
        if (ROOT / place).is_dir() or place in PLAIN:
            return f"{text} (`{place}`)" if text.strip("`") != place else text
        if place.startswith("docs/"):
            return f"[{text}]({to_page(place.removeprefix('docs/'), anchor)})"
        if not (ROOT / place).exists():
            log.warning("%s links to %s, which does not exist", here, place)
        else:
            log.warning("%s links to %s, of which docs/site/hooks.py makes no page", here, place)
        return match[0]

    def code(match: re.Match[str]) -> str:
        before, path, symbol, after = match.groups()
        if before and after or not (ROOT / path).is_file():
            return match[0]
        anchor = ""
        if symbol:
            if line_of(path, symbol) is None:
                log.warning("%s names %s:%s, which does not exist", here, path, symbol)
                return match[0]
            anchor = f"#{symbol}"
        shown = symbol or path
        return f'{before}[`{shown}`]({to_page(source_page(path), anchor)} "{path}"){after}'

    def prose(text: str) -> str:
        return _PLACE.sub(code, _LINK.sub(link, text))

    out, last = [], 0
    markdown = _COMMENT.sub("", markdown)
    for block in _FENCE.finditer(markdown):
        out += [prose(markdown[last : block.start()]), block[0]]
        last = block.end()
    return "".join([*out, prose(markdown[last:])])
