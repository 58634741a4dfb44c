"""A comparison as one CSV file for each table, ready to be bound to a document.

Each file says what its numbers are of and how a document shows them (`published.py`); the numbers are
whole, not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalingar_analysis.tables.published import write

Row = dict[str, Any]

#: Heading and format of an estimate, a difference and a relative change.
_ACCURACY = "{accuracy:.3f} [{low:.3f}, {high:.3f}] or {accuracy:.3f}"
_GAP = "{difference:+.3f} [{low:+.3f}, {high:+.3f}] or {difference:+.3f}"
_RELATIVE = (
    "{relative:+.1pct} % [{relative_low:+.1pct}, {relative_high:+.1pct}] or {relative:+.1pct} %"
)
_WHO = ["strategy = `{strategy}`", "n = {n}"]


def export(folder: Path, data: Mapping[str, Any], command: str) -> list[Path]:
    """Write the tables of `data` (of `scalingar_analysis.commands.compare.comparison`) into `folder`.

    Args:
        command: what made them.

    Returns:
        The files, one for each table that is not empty.
    """
    about = {
        "command": command,
        "benchmark": f"{data['benchmark']}, split {data['split']}",
        "items": f"{data['items']} items, {data['clusters']} clusters",
        "seeds": ", ".join(map(str, data["seeds"])),
        "weights": "; ".join(data["models"]),
        "level": f"{data['level']:g}",
    }
    made = {
        "accuracy": _strategies(data),
        "tasks": _tasks(data),
        "differences": _differences(data),
        "best_of_k": _best_of_k(data),
        "gaps": _gaps(data),
        "ladder": _ladder(data),
        "auroc": _auroc(data),
    }
    out = []
    for name, (rows, show) in made.items():
        if rows:
            out.append(folder / f"{name}.csv")
            write(out[-1], {**about, "show": show}, rows)
    return out


def _estimate(value: Mapping[str, Any], name: str = "accuracy", before: str = "") -> Row:
    ends = {f"{before}{k}": _known(value[k]) for k in ("low", "high")}
    return {name: _known(value["mean"]), **ends}


def _known(value: Any) -> Any:
    return "" if value is None else value


def _apart(parts: Mapping[str, Mapping[str, Any]], key: str) -> Row:
    """Columns of each part: held_out, held_out_low, held_out_high, and so on."""
    out: Row = {}
    for name, value in parts.items():
        short = name.replace(" ", "_")
        out |= _estimate({**value, "mean": value[key]}, short, f"{short}_")
    return out


def _show_apart(rows: Sequence[Mapping[str, Any]], sign: str = "") -> list[str]:
    if not rows:
        return []
    out = []
    for name in rows[0]["parts"]:
        s = name.replace(" ", "_")
        form = f"{{{s}:{sign}.3f}} [{{{s}_low:{sign}.3f}}, {{{s}_high:{sign}.3f}}]"
        out.append(f"{name} = {form} or {{{s}:{sign}.3f}}")
    return out


def _strategies(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    costs = ("images_of_tokens", "forward_rows", "flops", "seconds", "pruned", "recoveries")
    rows = [
        {
            "strategy": f"one sample, mean of {r['pool']}", "n": 1, "oracle": False,
            **_estimate(r["accuracy"]), **dict.fromkeys(costs, ""),
            **_apart(r["parts"], "mean"),
        }
        for r in data["one_sample"]
    ]  # fmt: skip
    rows += [
        {
            "strategy": r["strategy"], "n": r["n"], "oracle": r["oracle"],
            **_estimate(r["accuracy"]), **{name: _known(r[name]) for name in costs},
            **_apart(r["parts"], "mean"),
        }
        for r in data["strategies"]
    ]  # fmt: skip
    show = [
        *_WHO, f"accuracy = {_ACCURACY}", *_show_apart(data["strategies"]),
        "tokens / T = {images_of_tokens:.2f}", "forward rows = {forward_rows:.0f}",
        "FLOPs = {flops:si}", "pruned = {pruned:.2f}", "recoveries = {recoveries:.2f}",
    ]  # fmt: skip
    return rows, show


def _tasks(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "strategy": r["strategy"], "n": r["n"], "task": task, **_estimate(e),
            "items": e["items"], "clusters": e["clusters"],
            "no_interval": _known(e["no_interval"]),
        }
        for r in data["strategies"]
        for task, e in r["tasks"].items()
    ]  # fmt: skip
    return rows, [*_WHO, "task = {task}", f"accuracy = {_ACCURACY}", "clusters = {clusters}"]


def _gap(row: Mapping[str, Any]) -> Row:
    return {
        **_estimate({**row, "mean": row["difference"]}, "difference"),
        **_estimate(row["relative"], "relative", "relative_"),
        "p": _known(row["p"]),
        "p_holm": _known(row["p_holm"]),
        **_apart(row["parts"], "difference"),
    }


def _differences(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "strategy": r["strategy"], "n": r["n"], "baseline": r["baseline"],
            "baseline_n": r["baseline_n"], **_gap(r),
            "prompts_needed": _known(r["prompts_needed"]),
        }
        for r in data["differences"]
    ]  # fmt: skip
    show = [
        *_WHO, "minus = `{baseline}`, n={baseline_n}", f"difference = {_GAP}",
        f"relative = {_RELATIVE}", *_show_apart(data["differences"], "+"), "p = {p:p}",
        f"p (Holm, {data['family']['tests']} tests) = {{p_holm:p}}",
    ]  # fmt: skip
    return rows, show


def _best_of_k(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "strategy": r["strategy"], "n": r["n"], "axis": r["axis"], "score": r["score"],
            "k": r["k"], "pool": r["pool"], **_estimate(r["baseline"], "best_of_k", "best_of_k_"),
            **_gap(r),
        }
        for r in data["best_of_k"]
    ]  # fmt: skip
    show = [
        *_WHO, "equal = {axis}", "k = {k:.2f}", "chosen by = {score}",
        "best of k = {best_of_k:.3f} [{best_of_k_low:.3f}, {best_of_k_high:.3f}] or {best_of_k:.3f}",
        f"difference = {_GAP}", f"relative = {_RELATIVE}", *_show_apart(data["best_of_k"], "+"),
        f"p (Holm, {data['family']['tests']} tests) = {{p_holm:p}}",
    ]  # fmt: skip
    return rows, show


def _gaps(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "strategy": r["strategy"], "n": r["n"], "k": r["k"], "one_sample": r["random"],
            "accuracy": r["accuracy"], "oracle": r["oracle"], **_estimate(r["closed"], "closed"),
            **_apart(r["parts"], "mean"),
        }
        for r in data["gaps"]
    ]  # fmt: skip
    show = [
        *_WHO, "tokens / T = {k:.2f}", "one sample = {one_sample:.3f}", "oracle there = {oracle:.3f}",
        "closed = {closed:.2f} [{low:.2f}, {high:.2f}] or {closed:.2f}",
        *_show_apart(data["gaps"]),
    ]  # fmt: skip
    return rows, show


def _ladder(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "pool": f"{pool['strategy']}, n={pool['n']}", "items": pool["part"] or "all",
            "k": rung["k"], "chosen_by": name, **_estimate(value),
        }
        for pool in data["ladders"]
        for rung in pool["rungs"]
        for name, value in {"the judge: no method": rung["oracle"], **rung["selected"]}.items()
    ]  # fmt: skip
    show = ["pool = `{pool}`", "items = {items}", "k = {k}", "chosen by = {chosen_by}",
            f"accuracy = {_ACCURACY}"]  # fmt: skip
    return rows, show


def _auroc(data: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    rows = [
        {
            "pool": f"{pool['strategy']}, n={pool['n']}", "items": pool["part"] or "all",
            "signal": name, **_estimate({**q, "mean": q["value"]}, "auroc"),
            "used": q["used"], "dropped": q["dropped"],
        }
        for pool in data["ladders"]
        for name, q in pool["auroc"].items()
    ]  # fmt: skip
    show = ["signal = {signal}", "items = {items}",
            "AUROC within prompts = {auroc:.2f} [{low:.2f}, {high:.2f}] or {auroc:.2f}",
            "prompts = {used}"]  # fmt: skip
    return rows, show
