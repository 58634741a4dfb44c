"""Every definition of the packages has a reader: other code, a registration, or a document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("scalingar_fw", "plugins", "strategies", "analysis")

#: Called by what calls them by name: (decorators, names), each with who that is.
CALLERS = {
    "the command line": (
        ["@click*", "@*.command*", "@*.group*"],
        ["format_commands", "format_options"],
    ),
    "plugin hooks": (["@hookimpl", "@hookspec"], []),
    "the conformance kit's catalogue": (["@check*"], []),
    "Python and notebooks": ([], ["__getattr__", "__dir__", "_repr_png_", "_repr_html_"]),
    "users, of a configuration in YAML": ([], ["from_yaml"]),
    "tests and benchmarks, of the smallest models": ([], ["llamagen_c2i", "ar_grpo"]),
    "numpy": ([], ["writeable"]),
    "transformers, of a cache and a tokenizer": (
        [],
        ["lazy_initialization", "get_seq_length", "get_mask_sizes", "padding_side"],
    ),
    "torch, of an optimiser": ([], ["closure"]),
    "whoever writes to a stream, and whoever asks for the time": ([], ["writelines", "utcnow"]),
    "the kit's fresh process, from the text of its program": ([], ["_child"]),
    "attrs, of a validator": ([], ["instance"]),
    "reading.checked_record, of a TypedDict": ([], ["wall_seconds", "created"]),
}


def test_every_definition_is_read_registered_or_documented() -> None:
    vulture = pytest.importorskip("vulture", reason="needs vulture, of the extra dev")
    search = vulture.Vulture(
        ignore_decorators=[d for decorators, _ in CALLERS.values() for d in decorators],
        ignore_names=[n for _, names in CALLERS.values() for n in names],
    )
    search.scavenge([str(ROOT / name) for name in SOURCES])
    for path in (ROOT / name for name in SOURCES):
        for file in path.rglob("*.py"):  # targets are strings: "module:attribute"
            found = re.findall(r"[\w.]*\w:(\w+)\"", file.read_text(encoding="utf-8"))
            search.used_names.update(found)
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        search.used_names.update(re.findall(r"\w+", document.read_text(encoding="utf-8")))
    dead = [f"{i.filename}:{i.first_lineno}: {i.typ} {i.name}" for i in search.get_unused_code()]
    assert not dead, "nobody reads:\n" + "\n".join(dead)
