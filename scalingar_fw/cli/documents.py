"""What `--json` prints: one document with its schema's version (docs/json.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

#: Raised when a key goes or changes its meaning; a key that is added raises nothing.
SCHEMA = 1


def document(data: Mapping[str, Any]) -> str:
    """`data` as JSON, with "schema" in front; JSON has no NaN and no infinity, so those are null."""
    whole = _plain({"schema": SCHEMA, **data})
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["SCHEMA", "document"]
