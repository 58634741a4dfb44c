"""What every recorded signal knows of a candidate, at shares of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scalingar_analysis.reproduce import sweeps
from scalingar_analysis.reproduce.findings import Section
from scalingar_analysis.statistics.signal_quality import FRACTIONS, Auroc, auroc_over_steps
from scalingar_analysis.tables.arms import Arm, Key, complete
from scalingar_analysis.tables.render import ci
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.tables import STEP_INDEX, signal_of

if TYPE_CHECKING:
    from scalingar_fw.experiments import Store


def recorded(store: Store, arm: Arm) -> tuple[list[Key], dict[str, Array]]:
    """Every signal of an arm's complete candidates: keys, and `[cells, N, T]` by name.

    Raises:
        ScalingarError: a candidate was ended, so that its signals stop there.
    """
    import pyarrow.compute as pc

    if not complete(arm.cells.values()):
        raise ScalingarError(
            f"{arm.name} ended candidates: what signals know is asked of complete ones only. "
            "Record with termination=never."
        )
    steps = store.steps(arm.label)
    steps = steps.filter(pc.equal(steps["n"], arm.n))
    keys = list(
        dict.fromkeys(zip(steps["item"].to_pylist(), steps["seed"].to_pylist(), strict=True))
    )
    out = {}
    for column in steps.column_names:
        if column in STEP_INDEX or steps[column].null_count:
            continue
        values = steps[column].to_numpy().reshape(len(keys), arm.n, arm.total)
        if np.isfinite(values).all():
            out[signal_of(column)] = values
    return keys, out


def quality(store: Store, arm: Arm) -> dict[str, list[tuple[Auroc, Auroc]]]:
    """`auroc_over_steps` of every recorded signal that is not constant."""
    keys, signals = recorded(store, arm)
    moving = {name: v for name, v in signals.items() if np.ptp(v) > 0}
    scores = np.stack([arm.cells[key].scores for key in keys])
    return auroc_over_steps(moving, scores, [arm.cells[key].cluster for key in keys])


def section(found: Mapping[str, Sequence[tuple[Auroc, Auroc]]], name: str) -> Section:
    """AUROC of the mean so far at each share of the tokens, and of the last value."""
    rows = []
    for signal, row in sorted(found.items(), key=lambda p: -abs(p[1][-1][0].value - 0.5)):
        rows.append([signal, *(_text(mean) for mean, _ in row), _text(row[-1][1])])
    any_row = next(iter(found.values()))[-1][0]
    columns = ["signal", *(f"mean at {100 * f:g} %" for f in FRACTIONS), "last value"]
    return Section(
        "signals",
        f"{sweeps.EXPERIMENTS['signals']}: within-prompt AUROC, {name}",
        columns,
        rows,
        [
            f"0.5 is chance, below it lower is better; {any_row.used} pools with mixed outcomes, "
            f"{any_row.dropped} with one outcome dropped."
        ],
    )


def _text(a: Auroc) -> str:
    known = {"mean": a.value, "low": a.low, "high": a.high}
    return ci({k: None if np.isnan(v) else v for k, v in known.items()}, 2)
