"""What a registered benchmark is made from, and what its items promise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.benchmark import Item, judged_elsewhere, make_benchmark, with_replicas
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import Registry


class Plain:
    name, splits = "plain", ("test",)

    def __init__(self, files: str = "nowhere") -> None:
        self.files = files

    def items(self, split: str) -> list[Item]:
        return [Item(Prompt("a"), "one", "a")]

    def score(self, items: Any, images: Any) -> list[float]:
        return [1.0] * len(images)


def registered(cls: Any) -> Registry:
    registry = Registry()
    registry.add("benchmark", "plain", cls)
    return registry


def test_options_reach_the_benchmark_and_unknown_ones_are_refused() -> None:
    made = make_benchmark(registered(Plain), "plain", {"files": "there"})
    assert made.files == "there"  # type: ignore[attr-defined]
    with pytest.raises(ScalingarError, match="option of benchmark 'plain' 'fils'.*'files'"):
        make_benchmark(registered(Plain), "plain", {"fils": "there"})
    with pytest.raises(ScalingarError, match="Did you mean 'plain'"):
        make_benchmark(registered(Plain), "plan")


def test_an_object_may_be_registered_as_well_as_a_class() -> None:
    one = Plain("here")
    assert make_benchmark(registered(one), "plain") is one
    with pytest.raises(ScalingarError, match="option of benchmark 'plain' 'files'.*none"):
        make_benchmark(registered(one), "plain", {"files": "there"})


def test_a_benchmark_that_cannot_be_made_or_is_none_names_its_plugin() -> None:
    class Demanding(Plain):
        def __init__(self, files: str) -> None:
            super().__init__(files)

    class Silent:
        name, splits = "silent", ("test",)

    with pytest.raises(ScalingarError, match="local/plain.*every option needs a default"):
        make_benchmark(registered(Demanding), "plain")
    with pytest.raises(ScalingarError, match="lacks name, splits, items or score"):
        make_benchmark(registered(Silent), "plain")


def test_a_benchmark_is_judged_here_unless_it_says_otherwise() -> None:
    made = Plain()
    assert judged_elsewhere(made) == ""
    made.judged_elsewhere = "Ask the office."  # type: ignore[attr-defined]
    assert judged_elsewhere(made) == "Ask the office."


@given(st.lists(st.sampled_from("abc")))
def test_replicas_count_equal_prompts_so_that_all_draws_differ(texts: list[str]) -> None:
    items = with_replicas([Item(Prompt(t), f"task {i}", t) for i, t in enumerate(texts)])
    assert [i.prompt.text for i in items] == texts
    draws = {(i.prompt, i.replica) for i in items}
    assert len(draws) == len(items)
    assert all(i.replica < texts.count(i.prompt.text) for i in items)
