"""Run the code cells of notebooks, in order and in one process, and keep what they show.

    python tests/docs/notebooks.py docs/notebooks/read_a_run.ipynb       # write outputs into it
    python tests/docs/notebooks.py --check docs/notebooks/...            # run it, write nothing

A cell shows what it prints and the value of its last expression, as text and, where the value
knows how, as PNG. Cells are plain Python: no magics, no kernel, so that no Jupyter is needed here.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def run_cell(text: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell; what it printed, and the value of its last expression (or None)."""
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    return printed.getvalue(), value


def outputs(printed: str, value: Any, number: int) -> list[dict[str, Any]]:
    """In the notebook format, version 4."""
    out: list[dict[str, Any]] = []
    if printed:
        text = printed.splitlines(keepends=True)
        out.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
        picture = getattr(value, "_repr_png_", lambda: None)()
        if picture is not None:
            data = {"image/png": base64.b64encode(picture).decode(), "text/plain": ["<image>"]}
        result = {"output_type": "execute_result", "metadata": {}, "execution_count": number}
        out.append({**result, "data": data})
    return out


def execute(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of a fresh run, in an empty folder."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            for number, cell in enumerate(code_cells(notebook), start=1):
                printed, value = run_cell(source(cell), names)
                cell["execution_count"] = number
                cell["outputs"] = outputs(printed, value, number)
        finally:
            os.chdir(before)
    return notebook


if __name__ == "__main__":
    check = "--check" in sys.argv
    for argument in sys.argv[1:]:
        if argument != "--check":
            done = execute(Path(argument).resolve())
            if not check:
                text = json.dumps(done, indent=1, ensure_ascii=False) + "\n"
                Path(argument).write_text(text, encoding="utf-8")
