"""What README and docs show works: every code block is run or checked, every link leads somewhere."""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

HERE = Path(__file__).parent
_BLOCKS = runpy.run_path(str(HERE / "blocks.py"))
ROOT: Path = _BLOCKS["ROOT"]
DOCUMENTS: list[Path] = _BLOCKS["documents"]()

#: Languages whose blocks must say how they are checked; others are output or data.
CODE = ("bash", "sh", "console", "python")


def found(path: Path) -> list[Any]:
    return list(_BLOCKS["blocks"](path))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def all_blocks(kind: str) -> list[Any]:
    return [
        pytest.param(b, id=b.where)
        for path in DOCUMENTS
        for b in found(path)
        if (b.tag or "").split()[:1] == [kind]
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_code_block_says_how_it_is_checked(path: Path) -> None:
    for block in found(path):
        if block.language in CODE:
            kinds = ("run", "parse", "readme")
            assert block.tag and block.tag.split()[0] in kinds, (
                f"{block.where}: put <!-- ci: run -->, <!-- ci: parse --> or <!-- ci: readme ... "
                "--> above the block (tests/docs/blocks.py explains them)"
            )


RUNNABLE = [p for p in DOCUMENTS if any((b.tag or "").startswith("run") for b in found(p))]


@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_blocks_run_in_order_in_one_empty_folder(path: Path, tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for block in found(path):
        kind, *extra = (block.tag or "none").split()
        if kind != "run":
            continue
        if block.language == "python":
            command = [sys.executable, "-W", "error", "-c", block.text]
        else:
            command = ["bash", "-euo", "pipefail", "-c", with_words(block.text, extra)]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        missing = re.search(
            r"^Error: .*pip install 'scalingar-fw\[\w+\]'.*$", done.stderr, re.MULTILINE
        )
        if done.returncode == 2 and missing:  # the blocks behind it may read what it writes
            pytest.skip(f"{block.where}: {missing[0]}")
        assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"


def with_words(text: str, extra: list[str]) -> str:
    """`extra` behind each `scalingar` command: full-size commands in print, small ones here."""
    words = " ".join(map(shlex.quote, extra))
    joined = text.replace("\\\n", " ")
    return re.sub(r"^(scalingar [^#\n]*)", rf"\1 {words} ", joined, flags=re.MULTILINE)


@pytest.mark.parametrize("block", all_blocks("parse") + all_blocks("readme"))
def test_blocks_that_are_not_run_are_at_least_well_formed(
    block: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if block.language == "python":
        ast.parse(block.text)
        return
    done = subprocess.run(
        ["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block.where}: {done.stderr}"
    for line in re.split(r"\n|&&|\|", block.text.replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        if words[:1] == ["scalingar"]:
            understand(words[1:], block.where)


def understand(words: list[str], where: str) -> None:
    """Fail for a command or option that does not exist; files need not."""
    from scalingar_fw.cli import main

    command: click.Command = main
    context = None
    try:
        while True:
            context = command.make_context(command.name or "scalingar", words, parent=context)
            if not isinstance(command, click.Group) or not (rest := remaining(context)):
                return
            _, child, words = command.resolve_command(context, rest)
            assert child is not None, f"{where}: {rest[0]}"
            command = child
    except click.exceptions.Exit:
        return  # --help, --version
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise AssertionError(f"{where}: {error.format_message()}") from error
    except click.UsageError as error:
        raise AssertionError(f"{where}: {error.format_message()}") from error


def remaining(context: click.Context) -> list[str]:
    return [*context._protected_args, *context.args]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_relative_links_lead_to_files_and_headings(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{name(path)} links to {target}"
        if heading and there.suffix == ".md":
            assert heading in anchors(there), f"{name(path)} links to {target}"


def anchors(path: Path) -> set[str]:
    """GitHub's names of a file's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_places_in_the_code_exist(path: Path) -> None:
    """`folder/file.py:name` in a document is a class, function or method of that file."""
    text = path.read_text(encoding="utf-8")
    for file, symbol in re.findall(r"`([\w./-]+\.py)(?::([\w.]+))?`", text):
        there = ROOT / file
        assert there.is_file(), f"{name(path)} names {file}"
        if symbol:
            assert symbol in symbols(there), f"{name(path)} names {file}:{symbol}"


#: All that a reader may copy from: templates of new plugins and the strategies' pages included.
COPIED = [
    *DOCUMENTS,
    *sorted((ROOT / "docs").rglob("*.ipynb")),
    *sorted((ROOT / "scalingar_fw" / "templates").rglob("*.txt")),
    *sorted((ROOT / "strategies").rglob("*.py")),
]
PUBLIC = ("scalingar_fw", "scalingar_fw.testing")


def imports_of_the_core(text: str) -> list[tuple[str, list[str]]]:
    """Each module of the core that a text imports (also in a notebook's JSON), and the names."""
    text = text.replace('\\n",\n', "\n")
    text = re.sub(r"{{imports}}", "", text)  # of a template, filled in when it is used
    found: list[tuple[str, list[str]]] = [
        (module, [])
        for module in re.findall(r"^\W*import (scalingar_fw[\w.]*)", text, re.MULTILINE)
    ]
    for module, listed in re.findall(
        r"^\W*from (scalingar_fw[\w.]*) import (\([^)]*\)|[^\n]*)", text, re.MULTILINE
    ):
        plain = re.sub(r"#[^\n]*|\bas \w+|[\"\\(),]", " ", listed)
        found.append((module, plain.split()))
    return found


def test_imports_are_seen_wherever_they_are_written() -> None:
    assert imports_of_the_core(
        "import scalingar_fw as sar\n"
        "    from scalingar_fw.files import slug as s, write_json  # comment\n"
        "from scalingar_fw import (\n    decode,\n    take,\n)\n"
        '    "from scalingar_fw.registry import Registry\\n",\n    "x = 1"'
    ) == [
        ("scalingar_fw", []),
        ("scalingar_fw.files", ["slug", "write_json"]),
        ("scalingar_fw", ["decode", "take"]),
        ("scalingar_fw.registry", ["Registry"]),
    ]


@pytest.mark.parametrize("path", COPIED, ids=name)
def test_a_document_imports_the_core_by_its_public_names(path: Path) -> None:
    for module, names in imports_of_the_core(path.read_text(encoding="utf-8")):
        assert module in PUBLIC, f"{name(path)} imports {module}: export what it needs"
        assert set(names) <= set(importlib.import_module(module).__all__)


def symbols(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    out = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            out.add(node.name)
            if isinstance(node, ast.ClassDef):
                out |= {f"{node.name}.{m.name}" for m in node.body if hasattr(m, "name")}
        elif isinstance(node, ast.Assign):
            out |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return out
