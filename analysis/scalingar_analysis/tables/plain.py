"""Numbers as JSON can hold them."""

from __future__ import annotations

import math
from typing import Any

from scalingar_analysis.statistics.intervals import Estimate
from scalingar_analysis.statistics.paired import Difference


def interval(e: Estimate) -> dict[str, Any]:
    """An estimate as plain data; bounds that are not known are None."""
    low, high = number(e.low), number(e.high)
    counts = {"items": e.items, "clusters": e.clusters}
    return {"mean": e.mean, "low": low, "high": high, **counts, "no_interval": e.reason or None}


def gap(d: Difference) -> dict[str, Any]:
    """A paired difference as plain data, with its p-value."""
    change, low, high = map(number, d.relative)
    return {
        "difference": d.estimate.mean,
        "low": number(d.estimate.low),
        "high": number(d.estimate.high),
        "relative": {"mean": change, "low": low, "high": high},
        "p": d.p,
    }


def number(value: float) -> float | None:
    """A finite number, or None: JSON has no NaN."""
    return value if math.isfinite(value) else None
