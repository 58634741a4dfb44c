"""Ratios of linear combinations of task means, with Fieller's interval.

A ratio is inside its interval if the linear combination "numerator - ratio x denominator" could be
0 by the same t-test that a difference has, so ratios need no estimator of their own (Fieller 1954).
Where the denominator itself could be 0 the ratio could be anything, and has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scalingar_analysis.statistics.clusters import NOTHING, Groups, Means
from scalingar_analysis.statistics.intervals import unseen_error
from scalingar_analysis.statistics.student import t_quantile
from scalingar_fw.decoding.result import Array


def ratio(
    columns: Array,
    groups: Groups,
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    level: float = 0.95,
    scores: bool = True,
) -> tuple[float, float, float]:
    """A ratio of two combinations of task means, and its bounds.

    Args:
        columns: `[items, K]`.
        numerator, denominator: weights of the K columns' means.
        level: coverage.
        scores: the columns are scores in [0, 1], so that a combination without any spread still
            has the error of `unseen_error`; of unbounded quantities nothing is known then.

    Returns:
        The ratio (infinite or NaN where the denominator is 0) and its bounds: NaN where the
        clusters are too few, or the denominator's own interval holds 0.
    """
    found = Means.of(columns, groups)
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    a, b = float(found.values @ top), float(found.values @ bottom)
    if b == 0:
        return (math.nan if a == 0 else math.copysign(math.inf, a)), math.nan, math.nan
    value = a / b
    if groups.reason:
        return value, math.nan, math.nan
    contrast = top - value * bottom
    t2 = t_quantile(level, found.df(contrast)) ** 2
    cov = found.covariance()
    aa, ab, bb = (float(x @ cov @ y) for x, y in ((top, top), (top, bottom), (bottom, bottom)))
    if scores and found.variance(contrast) <= NOTHING:
        aa += unseen_error(found.units) ** 2
    # (a - r b)^2 <= t^2 (aa - 2 r ab + r^2 bb): between its roots, if the parabola opens upwards.
    leading = b * b - t2 * bb
    if leading <= 0:
        return value, math.nan, math.nan
    half, last = a * b - t2 * ab, a * a - t2 * aa
    root = math.sqrt(max(0.0, half * half - leading * last))
    return value, (half - root) / leading, (half + root) / leading
