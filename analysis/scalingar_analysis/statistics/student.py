"""Quantiles of Student's t distribution, for any number of degrees of freedom."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np

from scalingar_fw.errors import ScalingarError

#: Beyond it t and the normal distribution differ by less than 1e-6 in any quantile used here.
NORMAL = 1e6

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@functools.lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """The `x` with P(|t| <= x) = `level`, to about 1e-9 relative.

    With t = sqrt(df) tan(a), the density of the angle is proportional to cos(a) ** (df - 1), so the
    probability is a smooth integral over a bounded range, which Gauss-Legendre does exactly enough.

    Args:
        level: coverage of the two-sided interval, in (0, 1).
        df: degrees of freedom, at least 1; need not be whole (Satterthwaite's are not).

    Raises:
        ScalingarError: an argument outside of its range.
    """
    if not 0 < level < 1:
        raise ScalingarError(f"level={level} must be in (0, 1): coverage, such as 0.95.")
    if not df >= 1:
        raise ScalingarError(f"df={df} must be at least 1: degrees of freedom.")
    normal = NormalDist().inv_cdf((1 + level) / 2)
    if df > NORMAL:
        return normal
    scale = 2 * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)

    def inside(angle: float) -> float:
        at = angle * (_NODES + 1) / 2
        return float(scale * angle / 2 * (_WEIGHTS * np.cos(at) ** (df - 1)).sum())

    low, high = math.atan(normal / math.sqrt(df)), math.pi / 2  # t is wider than the normal
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return math.sqrt(df) * math.tan(low)
