"""Accuracy of one sample of the embedded model, per task, by guidance scale and truncation.

    python -m scalingar_analysis.studies.model_card --split validation --scales 1,1.5,2 --top-p 0.85
    python -m scalingar_analysis.studies.model_card --split test

The first, for several values, chooses the default; the second, at that scale and at 1, fills the
model card.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
from attrs import evolve

from scalingar_analysis.statistics.intervals import Estimate, estimate, estimate_difference
from scalingar_fw.benchmark import Benchmark
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.experiments.evaluate import ItemResult, run_split
from scalingar_fw.registry import default_registry


def one_sample(
    model: ModelAdapter,
    benchmark: Benchmark,
    split: str,
    sampling: Sampling,
    *,
    seed: int = 0,
    samples: int = 1,
    limit: int | None = None,
) -> list[ItemResult]:
    """`samples` independent candidates of every item under one setting, all scored."""
    strategy = Strategy(name="base")
    return list(
        run_split(
            model,
            strategy,
            benchmark,
            split,
            n=samples,
            seed=seed,
            sampling=sampling,
            limit=limit,
            batch=max(1, 48 // samples),
        )
    )


def means(results: Sequence[ItemResult]) -> np.ndarray:
    """The mean score of each item's candidates, `[items]`."""
    return np.array([r.scores.mean() for r in results])


def by_task(results: Sequence[ItemResult]) -> dict[str, Estimate]:
    """Accuracy overall and for each task, with clustered intervals."""
    values = means(results)
    tasks = [r.item.task for r in results]
    clusters = [r.item.cluster for r in results]
    table = {"overall": estimate(values, tasks, clusters)}
    for task in dict.fromkeys(tasks):
        inside = [i for i, t in enumerate(tasks) if t == task]
        table[task] = estimate(values[inside], [task] * len(inside), [clusters[i] for i in inside])
    return table


def print_table(title: str, table: dict[str, Estimate]) -> None:
    click.echo(
        f"\n{title}\n| task | accuracy [95 %] | items | clusters |\n| --- | --- | --- | --- |"
    )
    for task, e in table.items():
        click.echo(f"| {task} | {e} | {e.items} | {e.clusters} |")


@click.command(help=__doc__)
@click.option("--model", "model_name", default="shapes", show_default=True)
@click.option("--weights", default=None, help="Folder with other weights than the shipped ones.")
@click.option("--split", default="validation", show_default=True)
@click.option("--scales", default=None, help="Comma-separated; default: 1 and the model's own.")
@click.option("--top-p", default=None, type=float, help="Default: the model's own.")
@click.option("--temperature", default=None, type=float, help="Default: the model's own.")
@click.option("--samples", default=1, show_default=True, help="Independent samples of each item.")
@click.option("--limit", default=None, type=int, help="Items in all, taken in turn from the tasks.")
@click.option("--seed", default=0, show_default=True)
def main(
    model_name: str,
    weights: str | None,
    split: str,
    scales: str | None,
    top_p: float | None,
    temperature: float | None,
    samples: int,
    limit: int | None,
    seed: int,
) -> None:
    registry = default_registry()
    model = registry.get("model", model_name)(device="cpu", weights=weights)
    benchmark = registry.get("benchmark", model_name)()
    given = {k: v for k, v in {"top_p": top_p, "temperature": temperature}.items() if v is not None}
    base = evolve(model.preset, **given)
    wanted = [float(s) for s in scales.split(",")] if scales else [1.0, base.guidance]
    runs = {}
    for scale in wanted:
        sampling = evolve(base, guidance=scale)
        runs[scale] = one_sample(
            model, benchmark, split, sampling, seed=seed, samples=samples, limit=limit
        )
        title = (
            f"{split}, guidance {scale:g}, top-p {base.top_p:g}, temperature {base.temperature:g}"
        )
        print_table(f"{title}, {samples} sample(s)", by_task(runs[scale]))
    if 1.0 in runs:
        for scale, results in runs.items():
            if scale != 1.0:
                tasks = [r.item.task for r in results]
                clusters = [r.item.cluster for r in results]
                gap = estimate_difference(means(results) - means(runs[1.0]), tasks, clusters)
                click.echo(f"\nguidance {scale:g} minus guidance 1, paired: {gap}")


if __name__ == "__main__":
    main()
