"""What a comparison says, in words: a sentence for each strategy, and one table of 80 columns.

A sentence says no more than its test: "better" and "worse" where Holm's p and the interval both
exclude zero difference, "not distinguishable" otherwise, each with the difference and its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalingar_analysis.tables.render import ci
from scalingar_fw.cli.terminal import plain

#: In the order in which a sentence says them.
_WORDS = ("better than", "worse than", "not distinguishable from", "not comparable with")


def sentences(data: Mapping[str, Any]) -> list[str]:
    """A sentence for each strategy that was held against another, the most accurate first."""
    accuracy = {(r["strategy"], r["n"]): r["accuracy"]["mean"] for r in data["strategies"]}
    said: dict[tuple[str, int], dict[str, list[str]]] = {}
    tested = [r for r in data["best_of_k"] if r["p"] is not None and r["axis"] == "tokens"]
    for row in [*data["differences"], *tested]:
        word, other = _judged(row, 1 - data["level"])
        said.setdefault((row["strategy"], row["n"]), {}).setdefault(word, []).append(other)
    order = sorted(said, key=lambda key: -accuracy[key])
    return [f"{name} (n = {n}) is {_joined(said[name, n])}." for name, n in order]


def _judged(row: Mapping[str, Any], alpha: float) -> tuple[str, str]:
    """The word, and the other one with the difference where there is one to see."""
    if "baseline_n" in row:
        other = (
            row["baseline"]
            if row["baseline_n"] == 1
            else f"{row['baseline']} ({row['baseline_n']})"
        )
    else:
        other = f"exact best-of-{row['k']:.3g} at equal tokens"
    low, high = row["low"], row["high"]
    if low is None:
        return _WORDS[3], other
    if row["p_holm"] > alpha or low <= 0 <= high:
        return _WORDS[2], other
    bounds = sorted(abs(bound) for bound in (low, high))
    size = ci({"mean": abs(row["difference"]), "low": bounds[0], "high": bounds[1]})
    share = row["relative"]["mean"]
    relative = "" if share is None else f" ({100 * share:+.1f} %)"
    return _WORDS[0 if low > 0 else 1], f"{other} by {size}{relative}"


def _joined(groups: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for word in _WORDS:
        if word in groups:
            *most, last = groups[word]
            joint = " or " if word == _WORDS[2] else " and "
            parts.append(f"{word} {joint.join([', '.join(most), last]) if most else last}")
    return "; ".join(parts)


def short_table(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: every strategy's accuracy, on held-out items as well, and its price."""
    parts: Sequence[str] = list(data["strategies"][0]["parts"]) if data["strategies"] else []
    kept = parts[:1]
    columns = ["strategy", "n", "accuracy", *kept, "tokens / T"]
    rows = []
    for row in data["one_sample"]:
        name = f"one sample, mean of {row['pool']}"
        rows.append([name, "1", ci(row["accuracy"]), *(ci(row["parts"][p]) for p in kept), "1.00"])
    for row in data["strategies"]:
        name = f"{row['strategy']} (oracle)" if row["oracle"] else str(row["strategy"])
        cells = [ci(row["accuracy"]), *(ci(row["parts"][p]) for p in kept)]
        rows.append([name, str(row["n"]), *cells, f"{row['images_of_tokens']:.2f}"])
    return columns, rows


def summary(data: Mapping[str, Any], width: int = 80) -> str:
    """Sentences, table and notes for a terminal of `width` columns; numbers are never cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns, rows = short_table(data)
    rows = [[plain(cell) for cell in row] for row in rows]
    title = (
        f"{data['benchmark']}, split {data['split']}: {data['items']} items, {data['clusters']} "
        f"clusters, {len(data['seeds'])} seed(s); intervals of {100 * data['level']:g} %"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if place == 0 else "right",
            no_wrap=place > 0,
            overflow="fold",
            # A strategy's name may break, a number may not.
            min_width=8 if place == 0 else max(len(r[place]) for r in rows),
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=width, highlight=False, markup=False, color_system=None)
    with console.capture() as capture:
        for sentence in sentences(data):
            console.print(Text(plain(sentence)))
        console.print()
        console.print(Text(plain(title)))
        console.print()
        console.print(table)
        for note in data["notes"]:
            console.print()
            console.print(Text(plain(f"Note: {note}")))
        tests = data["family"]["tests"]
        console.print()
        console.print(
            Text(
                f"Better and worse: p <= {1 - data['level']:.2g} after Holm's correction for {tests} "
                "tests. Costs, tasks, differences, equal budgets and ladders: --all."
            )
        )
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(lines)
