"""How often do intervals hold the truth? Simulated, for few clusters of unequal size.

    python -m scalingar_analysis.studies.coverage

Each world has C clusters with 1 to 15 items; a cluster's items are right with a probability of its
own, drawn from a Beta distribution with mean p and intra-cluster correlation rho. The share of
right items has a nominal 95 % interval by each of these methods:

* `used`: what this package reports (`scalingar_analysis.statistics.intervals.estimate`);
* `percentile`: the percentile bootstrap over clusters;
* `scaled`: the same, its deviations scaled by sqrt(C / (C - 1));
* `bootstrap-t`: quantiles of the studentised mean over resamples, with a linearised error (CR1);
* `CR2 t`: mean +- Student's t with C - 1 degrees of freedom times the CR2 error;
* `CR2 Satterthwaite`: the same with the degrees of freedom of Bell & McCaffrey (2002);
* `wild`: the mean tested by sign-flipped residuals of clusters (Webb's six points) under each
  null hypothesis on a grid, inverted to an interval (Cameron, Gelbach & Miller 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click
import numpy as np
from attrs import frozen

from scalingar_analysis.statistics.intervals import estimate
from scalingar_analysis.statistics.student import t_quantile
from scalingar_fw.decoding.result import Array

CLUSTERS = (5, 6, 10, 18, 60, 149)
SHARES = (0.1, 0.5, 0.9)

#: An interval's ends, from each cluster's right answers and items, and a generator to resample by.
Method = Callable[[Array, Array, np.random.Generator], tuple[float, float]]


@frozen(eq=False)
class Worlds:
    """`sizes`, `right` `[worlds, clusters]`: items and right answers of each cluster."""

    sizes: Array
    right: Array


def draw(
    rng: np.random.Generator,
    worlds: int,
    clusters: int,
    share: float,
    correlation: float,
    largest: int = 15,
) -> Worlds:
    """Worlds of clusters with 1 to `largest` items.

    Args:
        share: of right items in expectation, in (0, 1).
        correlation: of two items of a cluster, in [0, 1).
    """
    sizes = rng.integers(1, largest + 1, size=(worlds, clusters))
    chance = np.full((worlds, clusters), share)
    if correlation:
        k = (1 - correlation) / correlation
        chance = rng.beta(share * k, (1 - share) * k, size=(worlds, clusters))
    right = rng.binomial(sizes, chance)
    return Worlds(sizes.astype(np.float64), right.astype(np.float64))


def used(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Each cluster as one item of its weight: the mean and its influences are the same."""
    names = [str(i) for i in range(len(sizes))]
    found = estimate(right / sizes, ["t"] * len(sizes), names, weights=sizes)
    return found.low, found.high


def _resampled(sizes: Array, rng: np.random.Generator, draws: int = 999) -> Array:
    return rng.integers(0, len(sizes), size=(draws, len(sizes)))


def percentile(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    pick = _resampled(sizes, rng)
    spread = right[pick].sum(1) / sizes[pick].sum(1)
    low, high = np.quantile(spread, [0.025, 0.975])
    return float(low), float(high)


def scaled(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    low, high = percentile(right, sizes, rng)
    mean = right.sum() / sizes.sum()
    factor = np.sqrt(len(sizes) / (len(sizes) - 1))
    return float(mean + factor * (low - mean)), float(mean + factor * (high - mean))


def _cr1(right: Array, sizes: Array) -> tuple[Array, Array]:
    """Means and their errors over the last axis."""
    total, count = sizes.sum(-1), sizes.shape[-1]
    mean = right.sum(-1) / total
    residual = right - mean[..., None] * sizes
    return mean, np.sqrt((residual**2).sum(-1) * count / (count - 1)) / total


def bootstrap_t(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    pick = _resampled(sizes, rng)
    mean, error = _cr1(right, sizes)
    means, errors = _cr1(right[pick], sizes[pick])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (means - mean) / errors
    t = t[np.isfinite(t)]  # a resample without spread has no t
    if not len(t):
        return float(mean), float(mean)
    low, high = np.quantile(t, [0.025, 0.975])
    return float(mean - high * error), float(mean - low * error)


def _cr2(right: Array, sizes: Array) -> tuple[float, float]:
    share = sizes / sizes.sum()
    mean = right.sum() / sizes.sum()
    residual = (right - mean * sizes) / np.sqrt(1 - share)
    return float(mean), float(np.sqrt((residual**2).sum()) / sizes.sum())


def cr2_t(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    mean, error = _cr2(right, sizes)
    half = t_quantile(0.95, len(sizes) - 1) * error
    return mean - half, mean + half


def cr2_satterthwaite(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    mean, error = _cr2(right, sizes)
    share = sizes / sizes.sum()
    # Residuals are M y with var y = diag(sizes) under independence; CR2 scales their rows.
    maker = np.eye(len(sizes)) - np.outer(sizes, np.ones(len(sizes))) / sizes.sum()
    rows = maker / np.sqrt(1 - share)[:, None]
    g = rows @ np.diag(sizes) @ rows.T
    half = t_quantile(0.95, float(np.trace(g) ** 2 / (g**2).sum())) * error
    return mean - half, mean + half


_WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))


def wild(right: Array, sizes: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The p-values on a grid of 101 null hypotheses; the interval spans those not rejected."""
    count = len(sizes)
    signs = rng.choice(np.concatenate([_WEBB, -_WEBB]), size=(499, count))
    kept = []
    mean, error = _cr1(right, sizes)
    if error == 0:
        return float(mean), float(mean)
    for null in np.linspace(0, 1, 101):
        pseudo = null * sizes + signs * (right - null * sizes)
        means, errors = _cr1(pseudo, np.broadcast_to(sizes, pseudo.shape))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(means - null) / errors
        if (t >= abs(mean - null) / error - 1e-12).mean() > 0.05:
            kept.append(null)
    return (min(kept), max(kept)) if kept else (float(mean), float(mean))


METHODS: Mapping[str, Method] = {
    "used": used,
    "percentile": percentile,
    "scaled": scaled,
    "bootstrap-t": bootstrap_t,
    "CR2 t": cr2_t,
    "CR2 Satterthwaite": cr2_satterthwaite,
    "wild": wild,
}


def coverage(worlds: Worlds, share: float, method: Method, seed: int = 0) -> tuple[float, float]:
    """The share of worlds whose interval holds `share`, and the mean width of the intervals."""
    rng = np.random.default_rng(seed)
    ends = np.array([method(r, s, rng) for r, s in zip(worlds.right, worlds.sizes, strict=True)])
    held = (ends[:, 0] - 1e-12 <= share) & (share <= ends[:, 1] + 1e-12)
    return float(held.mean()), float((ends[:, 1] - ends[:, 0]).mean())


def table(
    methods: Sequence[str],
    worlds: int,
    clusters: Sequence[int] = CLUSTERS,
    shares: Sequence[float] = SHARES,
    correlations: Sequence[float] = (0.0, 0.1, 0.3),
    seed: int = 0,
) -> list[dict[str, float | int | str]]:
    """A row for each correlation, number of clusters and share: coverage and mean width of each
    method, in per cent and in points of accuracy."""
    rows: list[dict[str, float | int | str]] = []
    for correlation in correlations:
        for count in clusters:
            for share in shares:
                place = [seed, round(1000 * correlation), count, round(1000 * share)]
                made = draw(np.random.default_rng(place), worlds, count, share, correlation)
                row: dict[str, float | int | str] = {
                    "correlation": correlation, "clusters": count, "share": share,
                }  # fmt: skip
                for name in methods:
                    held, width = coverage(made, share, METHODS[name], seed)
                    row[name] = round(100 * held, 1)
                    row[f"{name}, width"] = round(width, 3)
                rows.append(row)
    return rows


@click.command(help=__doc__)
@click.option("--worlds", default=2000, show_default=True, help="Of each kind.")
@click.option("--methods", default=",".join(METHODS), show_default=True, help="Which of them.")
@click.option("--correlations", default="0,0.1,0.3", show_default=True, help="Values of rho.")
@click.option("--seed", default=0, show_default=True)
def main(worlds: int, methods: str, correlations: str, seed: int) -> None:
    names = methods.split(",")
    for name in names:
        if name not in METHODS:
            raise click.UsageError(f"--methods {name}: choose of {', '.join(METHODS)}.")
    rows = table(names, worlds, correlations=[float(c) for c in correlations.split(",")], seed=seed)
    columns = ["correlation", "clusters", "share", *names]
    click.echo("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        click.echo("| " + " | ".join(str(row[c]) for c in columns) + " |")


if __name__ == "__main__":
    main()
