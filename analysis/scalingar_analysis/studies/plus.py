"""What `scalingar-plus` prunes by and when, decided by measurement (docs/decisions.md).

    python -m scalingar_analysis.studies.plus --splits validation,seen --scales 1,1.5,2

Complete candidates are recorded once for each guidance scale. Under constant guidance a policy
changes no survivor's tokens, so every signal, set of rungs and way of choosing is then simulated
on the same candidates, exactly. The test split is not touched.

1. AUROC within prompts of each running signal after a share of the tokens.
2. Accuracy and tokens of successive halving by each signal.
3. The ladder: one sample, the oracle of N, and pass@k at the tokens that halving used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import click
import numpy as np
from attrs import evolve, frozen

from scalingar_analysis.statistics.intervals import auroc_within, estimate, estimate_difference
from scalingar_analysis.statistics.subsets import between, oracle_at
from scalingar_fw.benchmark import Benchmark, Item
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.experiments.evaluate import run_split
from scalingar_fw.registry import default_registry
from scalingar_plugins.termination.halving import SuccessiveHalving

#: Shares of the tokens at which signals are compared.
SHARES = (1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)

#: What a token adds to a candidate's score, of a step's recorded signals; summed over the tokens
#: so far. `surprise` is the log-probability less its expectation under p_c.
PER_TOKEN: Mapping[str, Callable[[Mapping[str, Array]], Array]] = {
    "log-prob": lambda s: s["log_prob_cond"],
    "log-prob (guided)": lambda s: s["log_prob_guided"],
    "pmi": lambda s: s["log_prob_cond"] - s["log_prob_uncond"],
    "surprise": lambda s: s["log_prob_cond"] + s["entropy_nats"],
    "-entropy": lambda s: -s["entropy_nats"],
    "margin": lambda s: s["margin"],
    "kl": lambda s: s["kl"],
}


@frozen(eq=False)
class Pool:
    """Complete candidates: `running[name] [P, N, T]` sums so far, `correct [P, N]`."""

    items: Sequence[Item]
    running: Mapping[str, Array]
    correct: Array

    @property
    def tasks(self) -> list[str]:
        return [i.task for i in self.items]

    @property
    def clusters(self) -> list[str]:
        return [i.cluster for i in self.items]


def record(
    model: ModelAdapter,
    benchmark: Benchmark,
    splits: Sequence[str],
    sampling: Sampling,
    n: int,
    limit: int | None,
) -> Pool:
    """Complete candidates of all the splits' items under one way of sampling."""
    found = [
        result
        for split in splits
        for result in run_split(
            model, Strategy(name="record"), benchmark, split, n=n, sampling=sampling, limit=limit
        )
    ]
    running = {
        name: np.cumsum(
            [[per_token(t.signals) for t in r.trajectories] for r in found],
            axis=-1,
            dtype=np.float64,
        )
        for name, per_token in PER_TOKEN.items()
    }
    return Pool([r.item for r in found], running, np.array([r.scores for r in found]) > 0.5)


def halved(score: Array, policy: SuccessiveHalving) -> tuple[Array, float]:
    """Whom halving by `score [P, N, T]` leaves, as `[P, N]` bool, and its tokens in images."""
    prompts, n, total = score.shape
    alive = np.ones((prompts, n), dtype=bool)
    tokens, before = 0, 0
    for rung in policy.rungs(total):
        live = int(alive[0].sum())
        if live <= policy.min_survivors:
            break
        tokens += live * (rung - before)
        before = rung
        keep = max(policy.min_survivors, math.ceil(live / policy.reduction))
        at = np.where(alive, score[:, :, rung - 1], -np.inf)
        best = np.argsort(-at, axis=1, kind="stable")[:, :keep]
        alive = np.zeros_like(alive)
        np.put_along_axis(alive, best, True, axis=1)
    tokens += int(alive[0].sum()) * (total - before)
    return alive, tokens / total


def answers(score: Array, alive: Array, correct: Array) -> Array:
    """Whether the highest final score among `alive` is right, `[P]`."""
    pick = np.where(alive, score[:, :, -1], -np.inf).argmax(axis=1)
    picked: Array = correct[np.arange(len(correct)), pick].astype(np.float64)
    return picked


def pass_at(correct: Array, k: float) -> Array:
    """Unbiased chance that one of k of the N candidates is right, `[P]`; interpolated in k."""
    scores = np.asarray(correct, dtype=np.float64)
    return between(lambda count: oracle_at(scores, count), k, scores.shape[1])


def policies(n: int) -> list[SuccessiveHalving]:
    """Schedules to compare, down to one candidate or to a pair of which the end decides."""
    return [
        SuccessiveHalving(reduction=reduction, first_rung=first, min_survivors=left)
        for left in (1, 2)
        for reduction in (1.5, 2.0, 3.0, float(n))
        for first in (1 / 24, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3)
    ]


def report(pool: Pool, top: int) -> list[str]:
    """The study's lines for one pool."""
    lines = ["AUROC within prompts of running signals, by share of the tokens:"]
    lines.append("| signal | " + " | ".join(f"{s:.2f}" for s in SHARES) + " |")
    lines.append("| --- |" + " --- |" * len(SHARES))
    for name, running in pool.running.items():
        total = running.shape[-1]
        cells = [
            auroc_within(list(running[:, :, math.ceil(s * total) - 1]), list(pool.correct))[0]
            for s in SHARES
        ]
        lines.append(f"| {name} | " + " | ".join(f"{c:.3f}" for c in cells) + " |")
    _, used, dropped = auroc_within(list(pool.running["pmi"][:, :, -1]), list(pool.correct))
    lines.append(f"{used} prompts used; {dropped} with one outcome only dropped.")

    n = pool.correct.shape[1]
    single = pool.correct.mean(axis=1)
    tasks, clusters = pool.tasks, pool.clusters
    lines += [
        "",
        f"one sample {estimate(single, tasks, clusters)}",
        f"oracle of {n} {estimate(pass_at(pool.correct, n), tasks, clusters)}",
    ]
    everybody = np.ones_like(pool.correct)
    for name, running in pool.running.items():
        best = answers(running, everybody, pool.correct)
        lines.append(f"best of {n} by {name} {estimate(best, tasks, clusters)}")

    rows = []
    for policy in policies(n):
        for by, running in pool.running.items():
            alive, images = halved(running, policy)
            if images > 0.38 * n:
                continue
            for final, last in pool.running.items():
                if alive[0].sum() == 1 and final != by:
                    continue  # one is left: nothing to choose
                right = answers(last, alive, pool.correct)
                gain = estimate_difference(right - single, tasks, clusters)
                ceiling = estimate(pass_at(pool.correct, images), tasks, clusters).mean
                closed = gain.mean / max(1e-9, ceiling - estimate(single, tasks, clusters).mean)
                rows.append((gain.mean, policy, by, final, images, gain, closed, right))
    rows.sort(key=lambda r: -r[0])
    lines += [
        "",
        "| first rung | reduction | left | by | chosen by | tokens / T | accuracy | "
        "minus one sample | share of the gap to pass@(tokens / T) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for _, policy, by, final, images, gain, closed, right in rows[:top]:
        lines.append(
            f"| {policy.first_rung:.3f} | {policy.reduction:g} | {policy.min_survivors} | {by} | "
            f"{final} | {images:.2f} | "
            f"{estimate(right, tasks, clusters)} | {gain} | {closed:.2f} |"
        )
    return lines


@click.command(help=__doc__)
@click.option("--splits", default="validation,seen", show_default=True)
@click.option("--scales", default=None, help="Comma-separated; default: the model's own.")
@click.option("--top-p", default=None, type=float, help="Default: the model's own.")
@click.option("-n", "n", default=8, show_default=True)
@click.option(
    "--limit", default=None, type=int, help="Items of each split, in turn from the tasks."
)
@click.option("--top", default=12, show_default=True, help="Rows of the last table.")
@click.option("--weights", default=None, help="Folder with other weights than the shipped ones.")
def main(
    splits: str,
    scales: str | None,
    top_p: float | None,
    n: int,
    limit: int | None,
    top: int,
    weights: str | None,
) -> None:
    if "test" in splits.split(",") or "beyond" in splits.split(","):
        raise click.UsageError("Choose on seen and validation: the test splits confirm, once.")
    registry = default_registry()
    model = registry.get("model", "shapes")(device="cpu", weights=weights)
    benchmark = registry.get("benchmark", "shapes")()
    for scale in [float(s) for s in scales.split(",")] if scales else [model.preset.guidance]:
        sampling = evolve(model.preset, guidance=scale)
        if top_p is not None:
            sampling = evolve(sampling, top_p=top_p)
        pool = record(model, benchmark, splits.split(","), sampling, n, limit)
        click.echo(
            f"\n## {splits}, guidance {scale:g}, top-p {sampling.top_p:g}, {len(pool.items)} items\n"
        )
        click.echo("\n".join(report(pool, top)))


if __name__ == "__main__":
    main()
