"""GenEval's 553 official prompts and what each asks for."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


@functools.cache
def metadata_lines() -> tuple[str, ...]:
    """The official `evaluation_metadata.jsonl`, a line for each prompt, character for character."""
    folder = files("scalingar_plugins.benchmarks") / "data"
    return tuple((folder / "geneval_metadata.jsonl").read_text(encoding="utf-8").splitlines())


@functools.cache
def metadata() -> Mapping[str, Mapping[str, Any]]:
    """What each prompt asks for, by its text (all 553 differ)."""
    entries = (json.loads(line) for line in metadata_lines())
    return {entry["prompt"]: entry for entry in entries}


def class_names() -> list[str]:
    """The 80 classes of objects that the prompts name or exclude."""
    clauses = (c for e in metadata().values() for k in ("include", "exclude") for c in e.get(k, ()))
    return sorted({str(clause["class"]) for clause in clauses})
