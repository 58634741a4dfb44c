"""The paper's experiments as sweeps: what to decode, on which split, into which store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from scalingar_fw.errors import ScalingarError, unknown_name

#: Settings of the sensitivity studies: a label for each value, and what it sets. The preset's own
#: value is `scalingar` itself.
SENSITIVITY: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "termination.quantile": {
        str(p): {"termination.quantile": p} for p in (0.05, 0.1, 0.2, 0.3, 0.4)
    },
    "termination.recovery_threshold": {
        str(d): {"termination.recovery_threshold": d} for d in (0.01, 0.02, 0.05, 0.1, 0.2)
    },
    "w_I / w_D": {
        f"{i:g} / {d:g}": {"confidence.intrinsic_weight": i, "confidence.drift_weight": d}
        for i, d in ((1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75))
    },
    "w_tok / w_blk": {
        f"{t:g} / {b:g}": {
            "confidence.intrinsic.token_weight": t,
            "confidence.intrinsic.block_weight": b,
        }
        for t, b in ((0.8, 0.2), (0.65, 0.35), (0.5, 0.5), (0.35, 0.65))
    },
}

CHANNELS = (
    "scalingar-without-drift",
    "scalingar-without-intrinsic",
    "scalingar-without-blocks",
    "scalingar-without-token",
)
POLICIES = ("scalingar-termination", "scalingar-scheduler")
METHODS = ("importance-sampling", "best-of-n", "scalingar-literal", "scalingar")
ROBUST = ("best-of-n", "scalingar-literal", "scalingar")

#: A complete pool that records what the method's confidence says of every candidate.
WATCHED = "scalingar, watched only"

EXPERIMENTS = {
    "overall": "Table 1: the methods at N",
    "channels": "Table 2: the profile's channels",
    "policies": "Table 4: the policies",
    "cost": "Table 5: what it costs",
    "sensitivity": "Figures 9 to 11: p, delta_rec and the weights",
    "width": "Width: from N = 1 to twice N",
    "ladder": "Oracle ladder: what a better selector could win",
    "robustness": "Robustness: prompts beyond training",
    "signals": "Signals: what they know of a candidate",
}


def setting_label(study: str, value: str) -> str:
    """How a setting's arm is called in its store."""
    return f"scalingar, {study} = {value}"


@frozen
class Plan:
    """What a model is compared on. `split`: of the tables; `studied`: of what looks for the best
    value or signal, never the split of the tables where there is another; `hard`: of robustness,
    None where the benchmark has none."""

    split: str
    studied: str
    hard: str | None

    @classmethod
    def of(cls, splits: Sequence[str], split: str = "test") -> Plan:
        if split not in splits:
            raise unknown_name("split", split, splits)
        studied = "validation" if "validation" in splits else split
        hard = "beyond" if "beyond" in splits and split != "beyond" else None
        return cls(split, studied, hard)


def chosen(only: Sequence[str]) -> list[str]:
    """Names of experiments in their own order; all where none is given."""
    for name in only:
        if name not in EXPERIMENTS:
            raise unknown_name("experiment", name, EXPERIMENTS)
    return [name for name in EXPERIMENTS if not only or name in only]


def sweeps(plan: Plan, names: Sequence[str], n: int) -> list[tuple[str, dict[str, Any]]]:
    """(store's folder, keys of a sweep) in the order in which they are done.

    Experiments of one split share a store, so what two of them need is decoded once.
    """
    if n < 2:
        raise ScalingarError(f"n={n} must be at least 2: one candidate leaves nothing to compare.")
    base = {"strategy": "base", "n": [1]}
    out: list[tuple[str, dict[str, Any]]] = []

    def add(store: str, split: str, strategies: Sequence[Any], **more: Any) -> None:
        wanted = {"strategies": list(strategies), "n": [n], "record": False}
        out.append((store, {"split": split, **wanted, **more}))

    if {"overall", "cost", "ladder"} & set(names):
        add(plan.split, plan.split, [base, *METHODS])
    if "channels" in names:
        add(plan.split, plan.split, [base, "scalingar", *CHANNELS])
    if "policies" in names:
        add(plan.split, plan.split, [base, "scalingar", *POLICIES])
    if "width" in names:
        widths = [2**i for i in range((2 * n).bit_length()) if 2**i <= 2 * n]
        add(plan.split, plan.split, [base, "best-of-n", "scalingar"], n=widths)
    if "sensitivity" in names:
        entries: list[Any] = [base, "scalingar"]
        for study, values in SENSITIVITY.items():
            for value, settings in values.items():
                label = setting_label(study, value)
                entries.append({"strategy": "scalingar", "name": label, "set": dict(settings)})
        add(f"{plan.studied}-sensitivity", plan.studied, entries)
    if "robustness" in names and plan.hard is not None:
        add(plan.split, plan.split, [base, *ROBUST])
        add(plan.hard, plan.hard, [base, *ROBUST])
    if "signals" in names:
        watched = {
            "strategy": "scalingar",
            "name": WATCHED,
            "set": {"guidance": "constant", "termination": "never"},
        }
        add(f"{plan.studied}-signals", plan.studied, [watched], record=True)
    return out
