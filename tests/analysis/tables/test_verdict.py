"""The words that a comparison begins with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.tables.verdict import sentences, summary


def row(low: float | None, high: float | None, p: float, **more: Any) -> dict[str, Any]:
    middle = 0.1 if low is None or high is None else (low + high) / 2
    return {
        "strategy": "mine", "n": 8, "baseline": "base", "baseline_n": 1, "difference": middle,
        "low": low, "high": high, "p": p, "p_holm": p, "relative": {"mean": middle / 0.5}, **more,
    }  # fmt: skip


def document(*differences: dict[str, Any], budgets: Any = (), notes: Any = ()) -> dict[str, Any]:
    value = {"mean": 0.5, "low": 0.4, "high": 0.6}
    strategies = [
        {
            "strategy": name, "n": n, "oracle": False, "accuracy": {**value, "mean": mean},
            "parts": {"held out": value}, "images_of_tokens": float(n),
        }
        for name, n, mean in (("base", 1, 0.4), ("mine", 8, 0.6), ("other", 8, 0.7))
    ]  # fmt: skip
    return {
        "benchmark": "shapes", "split": "test", "items": 12, "clusters": 12, "seeds": [0],
        "level": 0.95, "strategies": strategies, "one_sample": [], "family": {"tests": 3},
        "differences": list(differences), "best_of_k": list(budgets), "notes": list(notes),
    }  # fmt: skip


def budget(**more: Any) -> dict[str, Any]:
    made = row(-0.01, 0.05, 0.4, axis="tokens", k=3.04, score="mean_log_prob_cond", **more)
    return {key: value for key, value in made.items() if key not in ("baseline", "baseline_n")}


def test_better_says_by_how_much_and_equal_tokens_name_the_best_of_k() -> None:
    (said,) = sentences(document(row(0.1, 0.3, 0.001), budgets=[budget()]))
    assert said == (
        "mine (n = 8) is better than base by 0.200 [0.100, 0.300] (+40.0 %); "
        "not distinguishable from exact best-of-3.04 at equal tokens."
    )


def test_worse_is_a_size_with_its_bounds_in_order() -> None:
    (said,) = sentences(document(row(-0.3, -0.1, 0.001)))
    assert "worse than base by 0.200 [0.100, 0.300] (-40.0 %)" in said


@pytest.mark.parametrize("p, low", [(0.2, 0.01), (0.001, -0.01)])
def test_one_of_interval_and_corrected_p_is_not_enough(p: float, low: float) -> None:
    (said,) = sentences(document(row(low, 0.3, p)))
    assert "not distinguishable from base" in said and "better" not in said


def test_without_an_interval_nothing_is_said_to_differ() -> None:
    (said,) = sentences(document(row(None, None, 0.001)))
    assert said == "mine (n = 8) is not comparable with base."


def test_the_most_accurate_comes_first() -> None:
    found = sentences(document(row(0.1, 0.3, 0.001), row(0.1, 0.4, 0.001, strategy="other")))
    assert [each.split()[0] for each in found] == ["other", "mine"]


def test_descriptive_rows_say_nothing() -> None:
    crude = budget()
    assert sentences(document(budgets=[{**crude, "p": None}, {**crude, "axis": "flops"}])) == []


@given(st.text("abcdefgh-_ ", min_size=1, max_size=60), st.integers(40, 120))
def test_numbers_are_never_cut_whatever_a_strategy_is_called(name: str, width: int) -> None:
    data = document(row(0.1, 0.3, 0.001))
    data["strategies"][1]["strategy"] = data["differences"][0]["strategy"] = name
    text = summary(data, width=max(80, width))
    assert text.count("0.500 [0.400, 0.600]") == 3 and "0.600 [0.400, 0.600]" in text
    assert all(len(line) <= max(80, width) for line in text.splitlines())
