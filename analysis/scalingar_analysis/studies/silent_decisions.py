"""What the paper leaves open, decided by measurement (docs/decisions.md).

    python -m scalingar_analysis.studies.silent_decisions

1. Complete candidates of the train and validation prompts are recorded once, at constant guidance.
2. Every reading of the termination policy and of the confidence is replayed on them (exact: under
   constant guidance a policy changes no survivor's tokens).
3. Readings of the guidance scale are decoded for real, since a scale changes the tokens.
4. The presets as shipped are decoded for real beside `base`.

The test split is not touched.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import click
import numpy as np
from attrs import evolve

from scalingar_analysis.recordings.recording import Candidates, Recording
from scalingar_analysis.replay.replay import replay
from scalingar_analysis.statistics.intervals import auroc_within, estimate
from scalingar_fw.benchmark import Benchmark
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.strategy import ConstantGuidance, NeverTerminate, Strategy
from scalingar_fw.experiments.evaluate import REPLICA_STEP, ItemResult, run_split
from scalingar_fw.registry import default_registry
from scalingar_plugins.confidence.blocks import WorstBlockStability
from scalingar_plugins.confidence.drift import PromptDrift
from scalingar_plugins.confidence.intrinsic import IntrinsicConfidence
from scalingar_plugins.confidence.normalize import Normalizer
from scalingar_plugins.confidence.unified import UnifiedConfidence
from scalingar_plugins.guidance.adaptive import AdaptiveGuidance
from scalingar_plugins.termination.quantile import QuantileTermination
from scalingar_strategies.base import base
from scalingar_strategies.scalingar import scalingar, scalingar_literal

#: Signals whose within-prompt AUROC is reported: does it tell a right candidate from a wrong one?
SIGNALS = (
    "confidence",
    "intrinsic",
    "drift",
    "token_confidence",
    "block_stability",
    "entropy",
    "margin",
    "kl",
    "log_prob_cond",
    "log_prob_guided",
)

#: Complete candidates, with the confidence's parts beside what every decode records.
WATCHER = Strategy(name="record", confidence=scalingar().confidence)

NORMALIZERS: tuple[Normalizer, ...] = ("z-score", "min-max", "cohort")


def confidence(normalizer: Normalizer, smoothing: float) -> UnifiedConfidence:
    """The unified confidence under one reading of its normaliser and smoothing."""
    return UnifiedConfidence(
        intrinsic=IntrinsicConfidence(blocks=WorstBlockStability(normalizer=normalizer)),
        drift=PromptDrift(normalizer=normalizer, drift_smoothing=smoothing),
    )


def termination_readings() -> list[tuple[str, Strategy]]:
    """The readings that change who is pruned.

    The paper's 32 steps of probation are 3 % of its T = 1024; shorter windows follow T down.
    """
    rules: tuple[Literal["any", "final"], ...] = ("any", "final")
    references: list[tuple[Literal["start", "flag"], int]] = [("start", 32)]
    references += [("flag", window) for window in (32, 16, 8, 5)]
    out = []
    for normalizer, smoothing, (reference, window), rule in itertools.product(
        NORMALIZERS, (1.0, 0.2), references, rules
    ):
        label = f"{normalizer} | {smoothing:g} | {reference} | {rule} | {window}"
        strategy = evolve(
            scalingar(),
            confidence=confidence(normalizer, smoothing),
            termination=QuantileTermination(
                rebound_reference=reference, recovery_rule=rule, recovery_window=window
            ),
        )
        out.append((label, strategy))
    return out


def scale_readings() -> list[tuple[str, Strategy]]:
    """The readings that decide which way the scale moves."""
    out = []
    for smoothing, warmup in itertools.product((1.0, 0.2), (0.0, 0.03, 0.05, 0.07, 0.1, 0.125)):
        unified = evolve(confidence("z-score", smoothing), rebound_warmup=warmup)
        strategy = evolve(scalingar(), confidence=unified, termination=NeverTerminate())
        out.append((f"{smoothing:g} | {warmup:g}", strategy))
    return out


def guidance_readings() -> list[tuple[str, Strategy]]:
    """The schedule alone (nothing pruned), under the readings that move it."""
    modes: tuple[Literal["additive", "multiplicative"], ...] = ("additive", "multiplicative")
    readings: list[tuple[Normalizer, float, float, Literal["additive", "multiplicative"]]] = [
        ("z-score", smoothing, warmup, mode)
        for smoothing, warmup, mode in itertools.product((1.0, 0.2), (0.0, 0.05), modes)
    ]
    readings += [(other, 0.2, 0.05, "additive") for other in NORMALIZERS[1:]]
    out = []
    for normalizer, smoothing, warmup, mode in readings:
        strategy = Strategy(
            name="schedule",
            confidence=evolve(confidence(normalizer, smoothing), rebound_warmup=warmup),
            guidance=AdaptiveGuidance(mode=mode),
        )
        out.append((f"{normalizer} | {smoothing:g} | {warmup:g} | {mode}", strategy))
    return out


def record(
    model: ModelAdapter, benchmark: Benchmark, split: str, n: int, limit: int | None
) -> list[ItemResult]:
    """Complete candidates at constant guidance, with the confidence's parts recorded."""
    return list(run_split(model, WATCHER, benchmark, split, n=n, limit=limit))


def as_recording(model: ModelAdapter, pool: Sequence[ItemResult]) -> Recording:
    """What replay reads."""
    pools = [
        Candidates(
            prompt=r.item.prompt,
            trajectories=r.trajectories,
            seed=REPLICA_STEP * r.item.replica,
            item=r.index,
            task=r.item.task,
            cluster=r.item.cluster,
            scores=r.scores,
        )
        for r in pool
    ]
    return Recording.of(pools, model.grid, model.preset, WATCHER, "the recorded pool")


def signal_table(pool: Sequence[ItemResult]) -> None:
    """Within-prompt AUROC of each signal's mean over all steps and over the last quarter."""
    click.echo("\n| signal | AUROC, mean over steps | last value |\n| --- | --- | --- |")
    used = dropped = 0
    for name in SIGNALS:
        sign = -1.0 if name == "entropy" else 1.0
        mean = [np.array([sign * t.signals[name].mean() for t in r.trajectories]) for r in pool]
        last = [np.array([sign * t.final(name) for t in r.trajectories]) for r in pool]
        by_mean, used, dropped = auroc_within(mean, [r.scores for r in pool])
        by_last, _, _ = auroc_within(last, [r.scores for r in pool])
        click.echo(f"| {name}{' (negated)' if sign < 0 else ''} | {by_mean:.3f} | {by_last:.3f} |")
    click.echo(f"{used} prompts with mixed outcomes; {dropped} with one outcome dropped.")


def replay_table(model: ModelAdapter, pool: Sequence[ItemResult]) -> None:
    """Tokens, prunings, recoveries and accuracy of each reading."""
    click.echo(
        "\n| normaliser | drift smoothing | rebound since | rebound counts | window | "
        "tokens / T | pruned of 8 | recoveries | accuracy [95 %] |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    recording = as_recording(model, pool)
    for label, strategy in termination_readings():
        outcome = replay(evolve(strategy, guidance=ConstantGuidance()), recording)
        tokens = outcome.tokens.mean() / model.grid.size
        pruned = (~outcome.completed).sum() / len(recording)
        click.echo(
            f"| {label} | {tokens:.2f} | {pruned:.2f} | {outcome.recoveries.mean():.2f} | "
            f"{estimate(outcome.score, recording.tasks, recording.clusters)} |"
        )


def scale_table(model: ModelAdapter, pool: Sequence[ItemResult]) -> None:
    """What each reading would ask for at each recorded step."""
    click.echo(
        "\n| drift smoothing | R from | mean scale | 5 % | 95 % | share above base |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    base_scale = model.preset.guidance
    recording = as_recording(model, pool)
    for label, strategy in scale_readings():
        scale = replay(strategy, recording, schedule=True).signals["scale_asked"]
        low, high = np.quantile(scale, [0.05, 0.95])
        above = float((scale > base_scale + 1e-6).mean())
        click.echo(f"| {label} | {scale.mean():.3f} | {low:.3f} | {high:.3f} | {above:.2f} |")


def scale_columns(results: Sequence[ItemResult], base_scale: float) -> str:
    """Mean, 5 % and 95 % quantiles of the scale, and the share of steps above the base."""
    scale = np.concatenate([t.signals["scale"] for r in results for t in r.trajectories])
    low, high = np.quantile(scale, [0.05, 0.95])
    above = float((scale > base_scale + 1e-6).mean())
    return f"{scale.mean():.3f} | {low:.3f} | {high:.3f} | {above:.2f}"


def describe(results: Sequence[ItemResult], grid_size: int) -> str:
    """Accuracy, tokens / T, prunings and recoveries of a decoded strategy."""
    accuracy = estimate(
        [r.score for r in results],
        [r.item.task for r in results],
        [r.item.cluster for r in results],
    )
    tokens = np.mean([r.tokens for r in results]) / grid_size
    pruned = np.mean([sum(t.status is Status.PRUNED for t in r.trajectories) for r in results])
    recovered = np.mean(
        [
            sum(
                np.nansum(t.signals["recovered"])
                for t in r.trajectories
                if "recovered" in t.signals
            )
            for r in results
        ]
    )
    return f"{accuracy} | {tokens:.2f} | {pruned:.2f} | {recovered:.2f}"


@click.command(help=__doc__)
@click.option("--model", "model_name", default="shapes", show_default=True)
@click.option("--weights", default=None, help="Folder with other weights than the shipped ones.")
@click.option("--splits", default="seen,validation", show_default=True)
@click.option("--limit", default=180, show_default=True, help="Items of each split.")
@click.option("-n", default=8, show_default=True)
@click.option("--online/--replay-only", default=True, show_default=True)
def main(
    model_name: str, weights: str | None, splits: str, limit: int, n: int, online: bool
) -> None:
    registry = default_registry()
    model = registry.get("model", model_name)(device="cpu", weights=weights)
    benchmark = registry.get("benchmark", model_name)()
    for split in splits.split(","):
        pool = record(model, benchmark, split, n, limit)
        alone = np.mean([r.scores.mean() for r in pool])
        oracle = np.mean([r.scores.max() for r in pool])
        click.echo(f"\n## {split}: {len(pool)} prompts, {n} candidates each")
        click.echo(f"one candidate {alone:.3f}, oracle of {n} {oracle:.3f}")
        signal_table(pool)
        replay_table(model, pool)
        scale_table(model, pool)
        if not online:
            continue
        click.echo(
            "\n| normaliser | drift smoothing | R from | mode | accuracy [95 %] | tokens / T | pruned | "
            "recoveries | mean scale | 5 % | 95 % | share above base |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for label, strategy in guidance_readings():
            results = list(run_split(model, strategy, benchmark, split, n=1, limit=limit, batch=48))
            columns = scale_columns(results, model.preset.guidance)
            click.echo(f"| {label} | {describe(results, model.grid.size)} | {columns} |")
        click.echo(
            "\n| strategy | accuracy [95 %] | tokens / T | pruned | recoveries | mean scale | 5 % "
            "| 95 % | share above base |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for strategy in (
            base(),
            scalingar_literal(),
            scalingar(),
            evolve(scalingar(), name="scalingar, scheduler only", termination=NeverTerminate()),
        ):
            results = list(run_split(model, strategy, benchmark, split, limit=limit))
            columns = scale_columns(results, model.preset.guidance)
            click.echo(f"| {strategy.name} | {describe(results, model.grid.size)} | {columns} |")


if __name__ == "__main__":
    main()
