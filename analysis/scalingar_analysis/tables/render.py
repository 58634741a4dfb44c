"""A comparison as text, Markdown, or flat rows for CSV and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: A table for people: its title, its columns, its rows.
Table = tuple[str, list[str], list[list[str]]]


def ci(value: Mapping[str, Any] | None, digits: int = 3) -> str:
    """ "0.761 [0.712, 0.808]"; without bounds where they are not known."""
    if value is None or value["mean"] is None:
        return "-"
    mean, *bounds = (fixed(value[k], digits) for k in ("mean", "low", "high"))
    return mean if value["low"] is None else f"{mean} [{', '.join(bounds)}]"


def fixed(value: float | None, digits: int, sign: str = "") -> str:
    """A number with so many digits; what rounds to 0 has no minus."""
    return "-" if value is None else f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def percent(value: Mapping[str, Any]) -> str:
    """A relative change: "+12.5 % [+8.0, +17.1]"."""
    if value["mean"] is None:
        return "-"
    found = {k: None if v is None else 100 * v for k, v in value.items()}
    mean, *bounds = (fixed(found[k], 1, "+") for k in ("mean", "low", "high"))
    return f"{mean} %" if value["low"] is None else f"{mean} % [{', '.join(bounds)}]"


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def engineering(value: float | None) -> str:
    """FLOPs: "3.21 G"."""
    if value is None:
        return "-"
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['strategy']} (oracle)" if row.get("oracle") else str(row["strategy"])


def tables(data: Mapping[str, Any]) -> list[Table]:
    """The tables of a comparison; empty ones are left out."""
    out = [
        _costs(data),
        _tasks(data),
        _parts(data),
        _differences(data),
        _best_of_k(data),
        _matched(data),
        _fronts(data),
        _gaps(data),
        _risk(data),
    ]
    for pool in data["ladders"]:
        out += [ladder_table(pool), _auroc(pool)]
    return [t for t in out if t[2]]


def _level(data: Mapping[str, Any]) -> str:
    return f"{100 * data['level']:g} %"


def _costs(data: Mapping[str, Any]) -> Table:
    from scalingar_fw.decoding.memory_budget import show_bytes

    rows = [
        [
            _named(r), str(r["n"]), ci(r["accuracy"]), f"{r['tokens']:.1f}",
            f"{r['images_of_tokens']:.2f}", f"{r['forward_rows']:.1f}", engineering(r["flops"]),
            f"{r['seconds']:.3f}", show_bytes(r["peak_bytes"]), f"{r['pruned']:.2f}",
            f"{r['recoveries']:.2f}",
        ]
        for r in data["strategies"]
    ]  # fmt: skip
    title = (
        f"Accuracy [{_level(data)}] and costs for each prompt: {data['items']} items, "
        f"{data['clusters']} clusters, {len(data['seeds'])} seed(s)"
    )
    columns = [
        "strategy", "n", "accuracy", "tokens", "tokens / T", "forward rows", "FLOPs", "seconds",
        "peak memory", "pruned", "recoveries",
    ]  # fmt: skip
    return title, columns, rows


def _tasks(data: Mapping[str, Any]) -> Table:
    names = list(data["strategies"][0]["tasks"])
    rows = [
        [_named(r), str(r["n"]), *(ci(r["tasks"][t], 2) for t in names)] for r in data["strategies"]
    ]
    sizes = [data["strategies"][0]["tasks"][t] for t in names]
    heads = [f"{t} ({s['clusters']} cl.)" for t, s in zip(names, sizes, strict=True)]
    return f"Accuracy by task [{_level(data)}], with clusters", ["strategy", "n", *heads], rows


def _versus(row: Mapping[str, Any]) -> str:
    return f"{row['baseline']}, n={row['baseline_n']}"


def _differences(data: Mapping[str, Any]) -> Table:
    rows = [
        [
            r["strategy"], str(r["n"]), _versus(r), ci({**r, "mean": r["difference"]}),
            percent(r["relative"]), *_apart(r), probability(r["p"]), probability(r["p_holm"]),
            "-" if r["prompts_needed"] is None else str(r["prompts_needed"]),
        ]
        for r in data["differences"]
    ]  # fmt: skip
    columns = [
        "strategy", "n", "against", f"difference [{_level(data)}]", "relative",
        *_part_names(data["differences"]), "p", f"p (Holm, {data['family']['tests']} tests)",
        f"prompts for ±{data['resolution']:g}",
    ]  # fmt: skip
    return "Paired differences, common random numbers", columns, rows


def _part_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """ "held out", "in distribution"; none where the benchmark does not say which is which."""
    return list(rows[0]["parts"]) if rows else []


def _apart(row: Mapping[str, Any]) -> list[str]:
    """The row's difference on each part."""
    return [ci({**p, "mean": p["difference"]}) for p in row["parts"].values()]


def _parts(data: Mapping[str, Any]) -> Table:
    names = _part_names(data["strategies"])
    if not names:
        return "", [], []
    rows = [
        [f"one sample, mean of {r['pool']}", "1", *(ci(r["parts"][n]) for n in names)]
        for r in data["one_sample"]
    ]
    rows += [
        [_named(r), str(r["n"]), *(ci(r["parts"][n]) for n in names)] for r in data["strategies"]
    ]
    title = f"Accuracy [{_level(data)}] on items whose content was kept from training and on others"
    return title, ["strategy", "n", *names], rows


def _best_of_k(data: Mapping[str, Any]) -> Table:
    rows = []
    for r in data["best_of_k"]:
        one = not r["score"]
        rows.append(
            [
                r["strategy"],
                str(r["n"]),
                "-" if one else r["axis"],
                "one sample" if one else f"best of {r['k']:.2f} by {r['score']}",
                ci(r["baseline"]),
                ci({**r, "mean": r["difference"]}),
                percent(r["relative"]),
                *_apart(r),
                "" if r["p"] is None else probability(r["p_holm"]),
            ]
        )
    columns = [
        "strategy", "n", "equal", "exact best-of-k", "its accuracy",
        f"difference [{_level(data)}]", "relative", *_part_names(data["best_of_k"]), "p (Holm)",
    ]  # fmt: skip
    return "Against exact best-of-k of plain samples at the same cost", columns, rows


def _matched(data: Mapping[str, Any]) -> Table:
    rows = [
        [
            r["strategy"], str(r["n"]), f"{r['axis']}: {_budget(r)}", r["baseline"],
            f"{r['baseline_accuracy']:.3f}", ci({**r, "mean": r["difference"]}), *_apart(r),
        ]
        for r in data["matched"]
    ]  # fmt: skip
    columns = [
        "strategy", "n", "equal budget", "baseline", "baseline there",
        f"difference [{_level(data)}]", *_part_names(data["matched"]),
    ]  # fmt: skip
    return "At equal budgets, the baseline interpolated between its measured n", columns, rows


def _budget(row: Mapping[str, Any]) -> str:
    return engineering(row["budget"]) if row["axis"] == "flops" else f"{row['budget']:.4g}"


def _fronts(data: Mapping[str, Any]) -> Table:
    rows = [
        [axis, "; ".join(f"{a['strategy']}, n={a['n']}" for a in arms)]
        for axis, arms in data["fronts"].items()
    ]
    return "Pareto fronts: nothing here is both cheaper and better", ["cost", "on the front"], rows


def _gaps(data: Mapping[str, Any]) -> Table:
    rows = [
        [
            r["strategy"], str(r["n"]), f"{r['k']:.2f}", fixed(r["random"], 3),
            fixed(r["accuracy"], 3), fixed(r["oracle"], 3), ci(r["closed"], 2),
            *(ci(p, 2) for p in r["parts"].values()),
        ]
        for r in data["gaps"]
    ]  # fmt: skip
    columns = [
        "strategy",
        "n",
        "tokens / T",
        "one sample",
        "accuracy",
        "oracle there",
        "closed",
        *_part_names(data["gaps"]),
    ]
    pool = data["gaps"][0]["pool"] if rows else ""
    title = f"From one sample to the oracle at a strategy's own budget, pass@k from {pool}"
    return title, columns, rows


def _risk(data: Mapping[str, Any]) -> Table:
    rows = [
        [
            _named(r),
            str(r["n"]),
            *(fixed(r["risk_coverage"][k], 3) for k in ("all", "half", "area")),
        ]
        for r in data["strategies"]
        if r["risk_coverage"] is not None
    ]
    columns = ["strategy", "n", "error rate", "of the surest half", "mean over coverages (AURC)"]
    return "Risk-coverage: answers ranked by their own confidence", columns, rows


def _pool(pool: Mapping[str, Any]) -> str:
    part = f", {pool['part']}" if pool.get("part") else ""
    return f"{pool['strategy']}, n={pool['n']}{part}"


def ladder_table(pool: Mapping[str, Any]) -> Table:
    names = list(pool["rungs"][0]["selected"])
    rows = []
    for rung in pool["rungs"]:
        cells = []
        for name in names:
            share = rung["efficiency"].get(name)
            share = "" if share is None or share["mean"] is None else f" ({share['mean']:+.2f})"
            cells.append(f"{rung['selected'][name]['mean']:.3f}{share}")
        row = [str(rung["k"]), f"{pool['random']['mean']:.3f}", ci(rung["oracle"]), *cells]
        rows.append(row)
    title = (
        f"Oracle ladder from {pool['pools']} complete pools of {_pool(pool)}: "
        "accuracy by what picks (selection efficiency); the oracle is no method"
    )
    return title, ["k", "random", "oracle", *names], rows


def _auroc(pool: Mapping[str, Any]) -> Table:
    rows = [
        [name, ci({**q, "mean": q["value"]}), str(q["used"]), str(q["dropped"])]
        for name, q in pool["auroc"].items()
    ]
    title = f"Within-prompt AUROC at the last token (0.5 is chance): {_pool(pool)}"
    return title, ["signal", "AUROC", "pools used", "one outcome, dropped"], rows


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines)


def markdown(data: Mapping[str, Any]) -> str:
    parts = [f"## {data['benchmark']}, split {data['split']}"]
    parts += [f"### {title}\n\n{markdown_table(c, rows)}" for title, c, rows in tables(data)]
    if data["notes"]:
        parts.append("\n".join(f"- {note}" for note in data["notes"]))
    return "\n\n".join(parts) + "\n"


def text(data: Mapping[str, Any]) -> str:
    """For a terminal: columns as wide as what they hold, numbers to the right."""
    blocks = []
    for title, columns, rows in tables(data):
        widths = [max(len(r[i]) for r in [columns, *rows]) for i in range(len(columns))]
        lines = [
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w)
                for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [columns, *rows]
        ]
        blocks.append("\n".join([title, *lines]))
    blocks += [f"Note: {note}" for note in data["notes"]]
    return "\n\n".join(blocks)


def flat(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each strategy and task, one for each strategy overall (task "overall") and for
    held-out and in-distribution items, where the benchmark says which are; what is known of the
    whole strategy only is empty in the other rows.

    `difference_to_best_of_k_<axis>`: to exact best-of-k by mean log-probability at equal cost.
    """
    out = []
    costs = (
        "tokens", "images_of_tokens", "forward_rows", "flops", "seconds", "peak_bytes", "pruned",
        "dropped", "out_of_budget", "recoveries",
    )  # fmt: skip
    against = {(d["strategy"], d["n"], d["baseline"]): d for d in data["differences"]}
    budgets = {
        (d["strategy"], d["n"], f"best_of_k_{d['axis']}"): d
        for d in data["best_of_k"]
        if d["p"] is not None
    }
    others = [*data["baselines"], *dict.fromkeys(name for _, _, name in budgets)]
    against |= budgets
    for row in data["strategies"]:
        for task, e in {"overall": row["accuracy"], **row["tasks"], **row["parts"]}.items():
            whole = task == "overall"
            line = {
                "benchmark": data["benchmark"],
                "split": data["split"],
                "strategy": row["strategy"],
                "n": row["n"],
                "oracle": row["oracle"],
                "task": task,
                "accuracy": e["mean"],
                "accuracy_low": e["low"],
                "accuracy_high": e["high"],
                "items": e["items"],
                "clusters": e["clusters"],
                **{name: row[name] if whole else None for name in costs},
            }
            for label in others:
                d = against.get((row["strategy"], row["n"], label)) if whole else None
                for name in ("difference", "low", "high", "p", "p_holm"):
                    short = name if name == "difference" else f"difference_{name}"
                    line[f"{short}_to_{label}"] = None if d is None else d[name]
            out.append(line)
    return out
