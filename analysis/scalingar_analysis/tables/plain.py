"""Numbers as JSON can hold them."""

from __future__ import annotations

import math
from typing import Any

from scalingar_analysis.statistics.intervals import Estimate


def interval(e: Estimate) -> dict[str, Any]:
    """An estimate as plain data; bounds that are not known are None."""
    low, high = number(e.low), number(e.high)
    return {"mean": e.mean, "low": low, "high": high, "items": e.items, "clusters": e.clusters}


def number(value: float) -> float | None:
    """A finite number, or None: JSON has no NaN."""
    return value if math.isfinite(value) else None
