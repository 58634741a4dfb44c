"""`--prompts FILE`: a prompt on each line, or JSON Lines with "prompt"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import load_json, read_text


def read_prompts(path: Path) -> list[Any]:
    """The prompts of a file, as `generate` takes them; blank lines are skipped.

    A file whose name ends in .jsonl, or whose first character is `{`, is JSON Lines: each object
    has "prompt", may have "class_id" and "negative", and anything else in it is ignored, so that
    benchmarks' metadata files work as they are.
    """
    text = read_text(path)
    # Not splitlines(): it also breaks at characters that a prompt may contain.
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    is_json = path.suffix.lower() in (".jsonl", ".ndjson") or text.lstrip().startswith("{")
    prompts = [
        _record(line, f"{path}, line {number}") if is_json else line
        for number, line in enumerate(lines, 1)
        if line
    ]
    if not prompts:
        raise ScalingarError(f"{path} holds no prompt: write one on each line.")
    return prompts


def _record(line: str, where: str) -> Any:
    record = load_json(line, where)
    if not isinstance(record, dict) or not ({"prompt", "class_id"} & record.keys()):
        raise ScalingarError(f'{where} must be an object with "prompt".')
    known = {"text": record.get("prompt", "")}
    return known | {k: record[k] for k in ("class_id", "negative") if record.get(k) is not None}
