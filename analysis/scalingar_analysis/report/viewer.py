"""What the time-travel viewer reads: a prompt's candidates, their curves, maps and events."""

from __future__ import annotations

import base64
import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from scalingar_analysis.plots.confidence import has_confidence, probations
from scalingar_analysis.plots.maps import LOW_IS_BAD
from scalingar_analysis.plots.signals import label_of
from scalingar_analysis.plots.steps import median_over_live, pairs_of
from scalingar_analysis.plots.style import MAP_COLOURS
from scalingar_analysis.runs.example import Example
from scalingar_fw.decoding.result import Array, Status

#: Signals whose maps the viewer offers, and whose values it tells of a cell.
MAPS = ("entropy", "margin", "kl")


def colours() -> list[str]:
    """The maps' colour scale in 32 steps, from good to worrying."""
    scale = matplotlib.colormaps[MAP_COLOURS]
    return [to_hex(scale(x)) for x in np.linspace(0, 1, 32)]


def number(value: float, digits: int = 4) -> float | None:
    """JSON has no NaN."""
    return None if not math.isfinite(value) else round(float(value), digits)


def _bytes(values: Array, low: float, high: float) -> str:
    """Values as bytes between `low` and `high`, in base64: a token costs 1.4 characters."""
    share = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    return base64.b64encode(
        np.clip(np.rint(255 * share), 0, 255).astype(np.uint8).tobytes()
    ).decode()


def _words(values: Array) -> dict[str, Any]:
    """Whole numbers in base64, two bytes each where they fit, else four; little-endian."""
    size = 2 if not len(values) or int(values.max()) < 2**16 else 4
    data = np.asarray(values).astype(f"<u{size}").tobytes()
    return {"size": size, "data": base64.b64encode(data).decode()}


def _probabilities(signals: Any) -> dict[str, Any] | None:
    """The probability that each token was drawn with, in steps of 1/65535."""
    logs = signals.get("log_prob_guided")
    if logs is None or not np.isfinite(logs).all():
        return None
    return _words(np.rint(65535 * np.exp(np.minimum(logs, 0.0))))


def limits(example: Example, signal: str) -> tuple[float, float] | None:
    """The smallest and the largest value of a signal over a prompt's candidates."""
    known = [t.signals[signal] for t in example.decoded.trajectories if signal in t.signals]
    values = np.concatenate([v[np.isfinite(v)] for v in known]) if known else np.zeros(0)
    return (float(values.min()), float(values.max())) if len(values) else None


def events(example: Example) -> list[dict[str, Any]]:
    """Flags, recoveries and ends in the order of steps; `step` counts the tokens decoded by then.

    A candidate that stays flagged to its last token has no end of its probation.
    """
    found = []
    for t in example.decoded.trajectories:
        own = np.arange(len(t)) >= t.forked_at
        flagged = np.nan_to_num(t.signals.get("flagged", np.zeros(len(t)))) * own
        recovered = np.nan_to_num(t.signals.get("recovered", np.zeros(len(t)))) * own
        for first, _ in probations(flagged):
            found.append(_event(first + 1, "flagged", t.candidate, "fell below the threshold"))
        for at in np.flatnonzero(recovered > 0):
            found.append(_event(int(at) + 1, "recovered", t.candidate, "rebounded"))
        if t.status is not Status.COMPLETED:
            found.append(_event(len(t), t.status.value.replace("_", " "), t.candidate, t.reason))
        if t.parent is not None:
            text = f"continues candidate {t.parent}"
            found.append(_event(t.forked_at, "forked", t.candidate, text))
    return sorted(found, key=lambda e: (e["step"], e["candidate"], e["kind"]))


def _event(step: int, kind: str, candidate: int, text: str) -> dict[str, Any]:
    return {"step": step, "kind": kind, "candidate": candidate, "text": text}


def viewer_data(example: Example) -> dict[str, Any]:
    """All that the viewer shows of a prompt but its images, which stand in the gallery."""
    total = example.decoded.total_tokens
    scales = {name: limits(example, name) for name in MAPS}
    known = {name: ends for name, ends in scales.items() if ends is not None}
    threshold = median_over_live(pairs_of(example), "threshold", total, least=1)
    confident = has_confidence(example)
    candidates = []
    for c in example.candidates:
        curve = c.signals.get("confidence")
        candidates.append(
            {
                "id": c.id,
                "status": c.status.value.replace("_", " "),
                "length": len(c.tokens),
                "from": c.trajectory.forked_at,
                "chosen": c.chosen,
                "score": number(c.score),
                "tokens": _words(c.tokens),
                "probability": _probabilities(c.signals),
                "confidence": []
                if curve is None or not confident
                else [number(v) for v in curve.tolist()],
                "maps": {
                    name: _bytes(c.signals[name], *ends)
                    for name, ends in known.items()
                    if name in c.signals
                },
            }
        )
    return {
        "prompt": example.prompt.label,
        "strategy": example.strategy,
        "n": example.n,
        "seed": example.config.seed,
        "rows": example.grid.rows,
        "cols": example.grid.cols,
        "total": total,
        "threshold": [number(v) for v in threshold.tolist()]
        if np.isfinite(threshold).any()
        else [],
        "maps": {
            name: {
                "label": label_of(name),
                "low": number(ends[0]),
                "high": number(ends[1]),
                "reversed": name in LOW_IS_BAD,
            }
            for name, ends in known.items()
        },
        "candidates": candidates,
        "events": events(example),
    }
