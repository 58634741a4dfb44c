"""docs/architecture.md cannot lie: its drawings are the import graph, its walk names every file."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {
    "scalingar_analysis": ROOT / "analysis",
    "scalingar_strategies": ROOT / "strategies",
    "scalingar_plugins": ROOT / "plugins",
    "scalingar_fw": ROOT,
}
#: Holds files that are copied, and no code that runs.
LEFT_OUT = {"scalingar_fw": {"templates"}}


def imports(path: Path) -> set[str]:
    """The full names that a file imports, wherever in it, but not for type checkers alone."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{node.module}.{a.name}" for a in node.names)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.orelse if typing else ast.iter_child_nodes(node):  # type: ignore[attr-defined]
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


def inside(package: str) -> dict[str, set[str]]:
    """The folders and single files of a package, and which of the others each imports."""
    root = PACKAGES[package] / package
    folders = {p.name for p in root.iterdir() if any(p.glob("*.py"))}
    files = {p.stem for p in root.glob("*.py") if not p.stem.startswith("__")}
    units = (folders | files) - LEFT_OUT.get(package, set())
    out: dict[str, set[str]] = {unit: set() for unit in units}
    for path in root.rglob("*.py"):
        unit = path.relative_to(root).parts[0].removesuffix(".py")
        named = {n.split(".")[1] for n in imports(path) if n.startswith(f"{package}.")}
        if unit in out:
            out[unit] |= (named & units) - {unit}
    return out


def between() -> dict[str, set[str]]:
    """The four packages, and which of the others each imports."""
    return {
        name: {
            other
            for path in (root / name).rglob("*.py")
            for other in (i.split(".")[0] for i in imports(path))
            if other in PACKAGES and other != name
        }
        for name, root in PACKAGES.items()
    }


def drawing(title: str) -> dict[str, list[str]]:
    """The lines of a drawing, top to bottom: what has arrows, and where they lead."""
    found = re.search(rf"<!-- arrows: {title} -->\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None, f"no drawing of {title}"
    out = {}
    for line in found[1].splitlines():
        start, _, ends = re.sub(r" ─*▶ ", "▶", line).partition("▶")
        out[start.split()[0]] = ends.split()
    return out


GRAPHS = {
    "the four packages": between,
    **{
        name: lambda name=name: inside(name)
        for name in ("scalingar_fw", "scalingar_plugins", "scalingar_analysis")
    },
}


@pytest.mark.parametrize("title", GRAPHS)
def test_a_drawing_has_the_arrows_that_the_source_has(title: str) -> None:
    assert {start: set(ends) for start, ends in drawing(title).items()} == GRAPHS[title]()


@pytest.mark.parametrize("title", GRAPHS)
def test_no_arrow_points_upwards(title: str) -> None:
    floors = list(drawing(title))
    for start, ends in drawing(title).items():
        assert all(floors.index(end) > floors.index(start) for end in ends), start


def test_the_walk_and_what_lies_beside_it_name_every_file_of_the_core_in_one_place() -> None:
    walk, rest = TEXT.split("\n## The folders and their arrows")
    beside = rest.partition("\n## Beside the path")[2].partition("\n## ")[0]
    places = [*walk.split("\n\n"), *beside.splitlines()]
    named = Counter(
        file for place in places for file in set(re.findall(r"`(scalingar_fw/[\w/]+\.py)", place))
    )
    source = (ROOT / "scalingar_fw").rglob("*.py")
    files = {p.relative_to(ROOT).as_posix() for p in source if p.name != "__init__.py"}
    assert set(named) == files
    assert [file for file, times in named.items() if times > 1] == []


def test_a_folder_that_the_page_names_exists() -> None:
    folders = re.findall(r"`([\w./-]+/)`", TEXT)
    assert len(folders) > 5
    near = [ROOT, ROOT / "analysis" / "scalingar_analysis"]
    for folder in folders:
        assert any((place / folder).is_dir() for place in near), folder
