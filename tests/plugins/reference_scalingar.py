"""ScalingAR once more, slowly: one candidate at a time, in float64, straight from the formulas.

Written from the specification alone and sharing no code with the plugins: histories are lists, and
every statistic is computed anew from the whole history at every step. Tests compare the plugins
with this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Series = list[float]


def share_of(share: float, count: int) -> int:
    """ceil(share * count), the share being the decimal number that was written."""
    return math.ceil(Fraction(str(share)) * count)


# --- signals of one row --------------------------------------------------------------------------


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def signals(
    cond: np.ndarray, uncond: np.ndarray, read: np.ndarray | None = None
) -> dict[str, float]:
    """Signals of one row's logits `[V]`; -inf is forbidden. `read`: whose entropy and margin."""
    permitted = np.isfinite(cond)
    log_c = log_softmax(cond[permitted].astype(np.float64))
    log_u = log_softmax(uncond[permitted].astype(np.float64))
    log_p = log_c if read is None else log_softmax(read[permitted].astype(np.float64))
    p = np.exp(log_p)
    count = len(p)
    nats = -float(sum(p * log_p))
    ordered = sorted(p, reverse=True)
    return {
        "entropy_nats": nats,
        "entropy": nats / math.log(count) if count > 1 else 0.0,
        "margin": float(ordered[0] - ordered[1]) if count > 1 else 1.0,
        "kl": float(sum(np.exp(log_c) * (log_c - log_u))),
    }


# --- statistics of one candidate's history -------------------------------------------------------


def moving_average(values: Sequence[float], rate: float) -> Series:
    out: Series = []
    for value in values:
        out.append(value if not out else (1 - rate) * out[-1] + rate * value)
    return out


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def same(values: Sequence[float]) -> bool:
    """Whether there is no variance, but for the rounding of the last binary digits."""
    return max(values) - min(values) <= 1e-13 * max(map(abs, values))


def last_z(history: Sequence[float]) -> float:
    """The logistic z-score of the last value in its own history."""
    if len(history) < 2 or same(history):
        return 0.5
    mean = sum(history) / len(history)
    variance = sum((x - mean) ** 2 for x in history) / len(history)
    return logistic((history[-1] - mean) / math.sqrt(variance))


def last_min_max(history: Sequence[float]) -> float:
    low, high = min(history), max(history)
    return 0.5 if len(history) < 2 or same(history) else (history[-1] - low) / (high - low)


def rolling(values: Sequence[float], kind: str) -> Series:
    rule = {"z-score": last_z, "min-max": last_min_max}[kind]
    return [rule(values[: t + 1]) for t in range(len(values))]


def cohort_z(value: float, live: Sequence[float]) -> float:
    """The logistic z-score of one candidate's value among those of its prompt's live ones."""
    if len(live) < 2 or same(live):
        return 0.5
    return logistic((value - float(np.mean(live))) / float(np.std(live)))


def quantile(values: Sequence[float], p: float) -> float:
    """By linear interpolation between order statistics."""
    ordered = sorted(values)
    place = p * (len(ordered) - 1)
    low = math.floor(place)
    if low + 1 == len(ordered):
        return ordered[low]
    return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])


# --- the profile of one candidate ----------------------------------------------------------------


def worst_blocks(
    nats: Sequence[float],
    rows: int,
    cols: int,
    block: int = 4,
    fraction: float = 0.1,
    min_filled: int = 1,
) -> list[float | None]:
    """The mean of E_k over W_t at each step; None where no block counts yet."""
    out: list[float | None] = []
    for t in range(len(nats)):
        inside: dict[tuple[int, int], Series] = {}
        for place in range(t + 1):
            row, col = divmod(place, cols)
            assert row < rows
            inside.setdefault((row // block, col // block), []).append(nats[place])
        means = [sum(v) / len(v) for v in inside.values() if len(v) >= min_filled]
        means.sort(reverse=True)
        worst = means[: max(1, share_of(fraction, len(means)))]
        out.append(sum(worst) / len(worst) if worst else None)
    return out


def stability(raw: Sequence[float | None], kind: str) -> Series:
    """B_t; 0.5 until a block counts, and those steps enter no statistic."""
    seen = [x for x in raw if x is not None]
    scores = iter(rolling(seen, kind))
    return [0.5 if x is None else 1 - next(scores) for x in raw]


def token_confidence(
    entropy: Sequence[float],
    margin: Sequence[float],
    a_h: float = 0.5,
    a_m: float = 0.5,
    rate: float = 0.2,
) -> tuple[Series, Series]:
    """u_t and s_t."""
    u = [a_h * h + a_m * (1 - m) for h, m in zip(entropy, margin, strict=True)]
    return u, moving_average([1 - x for x in u], rate)


def intrinsic(
    s: Sequence[float],
    b: Sequence[float],
    w_tok: float = 0.65,
    w_blk: float = 0.35,
    rate: float = 0.2,
) -> Series:
    return moving_average([w_tok * x + w_blk * y for x, y in zip(s, b, strict=True)], rate)


def drift(kl: Sequence[float], smoothing: float = 0.2, kind: str = "z-score") -> Series:
    return moving_average(rolling(kl, kind), smoothing)


def unified(
    i: Sequence[float],
    d: Sequence[float],
    w_i: float = 0.75,
    w_d: float = 0.25,
    eps: float = 1e-6,
    start: int = 0,
) -> tuple[Series, Series]:
    """C_t and R_t, whose minimum starts at step `start`."""
    c = [w_i * x + w_d * y for x, y in zip(i, d, strict=True)]
    r = []
    for t in range(len(c)):
        low = min(c[min(start, t) : t + 1])
        r.append((c[t] - low) / (abs(low) + eps))
    return c, r


def profile(
    said: Mapping[str, Sequence[float]],
    rows: int,
    cols: int,
    smoothing: float = 0.2,
    rebound_warmup: float = 0.0,
) -> dict[str, Series]:
    """Everything with the paper's numbers, from the signals of one candidate."""
    u, s = token_confidence(said["entropy"], said["margin"])
    b = stability(worst_blocks(said["entropy_nats"], rows, cols), "z-score")
    i = intrinsic(s, b)
    d = drift(said["kl"], smoothing)
    c, r = unified(i, d, start=share_of(rebound_warmup, rows * cols))
    return {
        "uncertainty": u,
        "token_confidence": s,
        "block_stability": b,
        "intrinsic": i,
        "drift": d,
        "confidence": c,
        "rebound": r,
    }


# --- the policies --------------------------------------------------------------------------------


def scales(
    d: Sequence[float],
    i: Sequence[float],
    r: Sequence[float],
    base: float,
    *,
    alpha: float = 0.3,
    beta: float = 0.4,
    gamma: float = 0.4,
    window: int = 32,
    mode: str = "additive",
    s_min: float | None = None,
    s_max: float | None = None,
) -> Series:
    """s_t of one candidate."""
    low = min(1.0, base) if s_min is None else s_min
    high = max(1.0, 2 * base) if s_max is None else s_max
    out = []
    for t in range(len(d)):
        recent = i[max(0, t + 1 - window) : t + 1]
        push = alpha * (1 - d[t]) + beta * float(np.var(recent)) - gamma * r[t]
        scale = base + push if mode == "additive" else base * (1 + push)
        out.append(min(high, max(low, scale)))
    return out


def terminate(
    c: Mapping[int, Sequence[float]],
    r: Mapping[int, Sequence[float]],
    total: int,
    *,
    p: float = 0.2,
    rate: float = 0.2,
    warmup: float = 0.125,
    window: int = 32,
    threshold: float = 0.05,
    reference: str = "flag",
    rule: str = "any",
    min_survivors: int = 1,
    eps: float = 1e-6,
) -> dict[str, Any]:
    """One prompt's candidates (by id) under adaptive termination.

    `ended`: id to the step at which it was terminated; `theta`: step to threshold; `flagged`,
    `recovered`: step to the ids; `closest`: the smallest difference that a comparison turned on
    (exact equality apart), so that a caller knows whether float32 could have decided otherwise.
    """
    live = sorted(c)
    flag: dict[int, int] = {}
    theta: float | None = None
    out: dict[str, Any] = {"ended": {}, "theta": {}, "flagged": {}, "recovered": {}}
    closest = math.inf

    def below(x: float, y: float) -> bool:
        nonlocal closest
        if x != y:
            closest = min(closest, abs(x - y))
        return x < y

    for t in range(share_of(warmup, total), total):
        now = quantile([c[k][t] for k in live], p)
        theta = now if theta is None else theta + rate * (now - theta)
        out["theta"][t] = theta = theta if p > 0 else -math.inf
        recovered, failed = set(), []
        for k in live:
            if k not in flag and below(c[k][t], theta):
                flag[k] = t
            if k not in flag:
                continue
            rebound = r[k][t]
            if reference == "flag" and window > 0:
                low = min(c[k][flag[k] : t + 1])
                rebound = (c[k][t] - low) / (abs(low) + eps)
            over = t >= flag[k] + window
            if (over or rule == "any") and not below(rebound, threshold):
                del flag[k]
                recovered.add(k)
            elif over:
                failed.append(k)
        if t < total - 1:
            failed.sort(key=lambda k: (c[k][t], -k))  # the worst first; of equals the higher id
            for k in failed[: max(0, len(live) - min_survivors)]:
                out["ended"][k] = t
        out["flagged"][t] = set(flag)
        out["recovered"][t] = recovered
        live = [k for k in live if k not in out["ended"]]
        flag = {k: when for k, when in flag.items() if k in live}
    out["closest"] = closest
    return out
