"""Benchmarks whose files are the user's: finding and reading them, with errors that help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import load_json, read_text


def need_path(name: str, given: str | None, variable: str, inside: str, where: str) -> Path:
    """`given`, or what is called `inside` in it; it exists.

    Raises:
        ScalingarError: nothing was given, or it is not there; says where to get it.
    """
    remedy = f"{where} with ${variable}, or as the benchmark's option files=PATH."
    if given is None:
        raise ScalingarError(f"Benchmark {name!r} needs its official files. {remedy}")
    path = Path(given).expanduser()
    if (path / inside).exists():
        return path / inside
    # The file or folder itself may be named as well as the folder that holds it.
    if path.exists() and path.name == inside:
        return path
    raise ScalingarError(f"Benchmark {name!r}: there is no {inside} in {str(path)!r}. {remedy}")


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with where it stands (for errors)."""
    text = read_text(path)
    # Not splitlines(): it also breaks at characters that a prompt may contain.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = load_json(line, where)
        if not isinstance(record, dict):
            raise ScalingarError(f"{where} is no JSON object.")
        yield where, record


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """A text of a record that must be there and say something."""
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ScalingarError(f"{where}: {key}={value!r} must be text.")
    return value
