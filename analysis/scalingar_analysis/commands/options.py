"""Options that the commands on recordings share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scalingar_fw.cli.group import app_of

if TYPE_CHECKING:
    from scalingar_analysis.recordings.recording import Recording
    from scalingar_analysis.statistics.intervals import Estimate
    from scalingar_fw.decoding.strategy import Strategy

F = TypeVar("F", bound=Callable[..., Any])


def recording_options(function: F) -> F:
    """RUN, `--recorded`, `-n` and `--seed`: which candidates are read."""
    run = click.argument("run", type=click.Path(path_type=Path))
    label = click.option(
        "--recorded",
        metavar="LABEL",
        help="Whose candidates, where RUN holds those of several strategies.",
    )
    n = click.option(
        "-n",
        "n",
        type=click.IntRange(1),
        metavar="N",
        help="The first N candidates (default: the strategy's own number, else all).",
    )
    seed = click.option("--seed", type=int, metavar="S", help="Those of one seed (default: all).")
    return run(label(n(seed(function))))


def strategy_options(function: F) -> F:
    """`--strategy` and `--set`."""
    strategy = click.option(
        "--strategy", required=True, metavar="NAME", help="The strategy to replay."
    )
    settings = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a setting of it: termination.quantile=0.2 (repeatable).",
    )
    return strategy(settings(function))


def load_recording(
    ctx: click.Context,
    run: Path,
    recorded: str | None,
    n: int | None,
    seed: int | None,
    strategy: Strategy | None = None,
) -> Recording:
    """The recording that the options name, with as many candidates as `strategy` takes by itself
    where nobody said how many."""
    from scalingar_analysis.recordings.reading import read_recording

    whole = read_recording(run, app_of(ctx).registry, label=recorded, n=n, seed=seed)
    if n is None and strategy is not None:
        return whole.first(min(strategy.default_n, whole.n))
    return whole


def load_strategy(ctx: click.Context, strategy: str, settings: tuple[str, ...]) -> Strategy:
    """The strategy that the options name."""
    from scalingar_fw.cli.generate import parse_set
    from scalingar_fw.config.serialization import build
    from scalingar_fw.config.settings import override

    registry = app_of(ctx).registry
    built: Strategy = build("strategy", strategy, registry)
    return override(built, parse_set(settings), registry)


def lines(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    return "\n".join(f"{name:12}{value}" for name, value in rows)


def known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(value)


def plain(estimate: Estimate) -> dict[str, Any]:
    """A mean with its interval as plain data."""
    return {"mean": known(estimate.mean), "low": known(estimate.low), "high": known(estimate.high)}


def headline(recording: Recording) -> str:
    """What was read, in a line."""
    size = recording.grid.size
    return (
        f"{recording.source}: {len(recording)} prompts x {recording.n} candidates of {size} "
        f"tokens, guidance {recording.sampling.guidance:g}"
    )
