"""The pages under docs/write show whole plugins, small ones, that use the public surface alone.

That they run, and pass their checks, is `test_documents.py`'s business.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scalingar_fw.hooks import EVENTS

PAGES = Path(__file__).parents[2] / "docs" / "write"
#: Each kind of part has a page; a model has fourteen members to show.
LINES = {
    "benchmark": 30, "confidence": 30, "guidance": 30, "model": 36, "observer": 30,
    "reward": 30, "sampler": 30, "selector": 30, "strategy": 30, "termination": 30,
}  # fmt: skip
ALLOWED = {"scalingar_fw", "scalingar_fw.testing", "attrs", "numpy", "torch", "math", "json", "sys"}


def plugin(name: str) -> str:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    found = re.findall(r"^cat > \w+\.py <<'EOF'\n(.*?)^EOF$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{name}: one plugin to a page"
    return str(found[0])


def test_every_kind_of_part_has_a_page() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} == {*LINES, "index"}


@pytest.mark.parametrize("name", LINES)
def test_a_plugin_fits_on_a_screen(name: str) -> None:
    lines = [line for line in plugin(name).splitlines() if line.strip()]
    assert 10 <= len(lines) <= LINES[name]


@pytest.mark.parametrize("name", LINES)
def test_a_plugin_imports_public_names_only(name: str) -> None:
    tree = ast.parse(plugin(name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {a.name for a in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom):
            assert node.module in ALLOWED
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name == "observer":  # it has nothing to register: what is loaded is heard
        assert "scalingar_register" not in names and names & set(EVENTS)
    else:
        assert "scalingar_register" in names


@pytest.mark.parametrize("name", sorted(set(LINES) - {"benchmark"}))
def test_a_page_names_the_check_that_its_plugin_passes(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    command = r"\w+\.py$" if name == "observer" else r"--plugin (\w+)\.py \w+"
    assert re.search(rf"^scalingar check {command}", text, flags=re.MULTILINE)
