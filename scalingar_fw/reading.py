"""Text that somebody else wrote, as plain data: one door for every YAML and JSON file."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from scalingar_fw.errors import ScalingarError


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScalingarError(f"{path} is not a text file in UTF-8: {error.reason}.") from error


class _Loader(yaml.SafeLoader):
    """YAML's safe subset; a key that is given twice is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else math.nan)
        return super().construct_mapping(node, deep)


def load_yaml(text: str, where: str) -> Any:
    """Plain data from YAML; `ScalingarError` names `where` and the line."""
    try:
        return yaml.load(text, _Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ScalingarError(f"{where}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ScalingarError(f"{where} is not valid YAML: {error}.") from error


__all__ = ["load_yaml", "read_text"]
