"""`take` and `Rows`: one function moves everything that belongs to a candidate."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
import torch
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.state import (
    Children,
    Grid,
    Logits,
    Rows,
    candidate_field,
    prompt_field,
    take,
)
from scalingar_fw.errors import ScalingarError


@frozen(eq=False)
class Memory:
    values: Tensor = candidate_field()
    threshold: Tensor = prompt_field()
    rate: float = 0.5
    nested: Any = candidate_field(default=None)


class Cache:
    """A KV cache: it knows how to move its rows itself."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def take(self, rows: Tensor) -> Cache:
        return Cache([self.rows[i] for i in rows.tolist()])


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def index(*rows: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64)


def test_take_moves_candidate_fields_and_leaves_the_others() -> None:
    memory = Memory(values=torch.tensor([1.0, 2.0, 3.0]), threshold=torch.tensor([9.0]))
    moved = take(memory, index(2, 0))
    assert moved.values.tolist() == [3.0, 1.0]
    assert moved.threshold is memory.threshold
    assert moved.rate == 0.5
    assert memory.values.tolist() == [1.0, 2.0, 3.0], "nothing is changed in place"


def test_take_reaches_through_components_dicts_lists_tuples_and_caches() -> None:
    inner = Memory(values=torch.arange(3.0), threshold=torch.zeros(1))
    memory = Memory(
        values=torch.arange(3.0),
        threshold=torch.zeros(1),
        nested={"a": [inner], "b": (torch.arange(3), Cache([10, 11, 12])), "c": None, "d": "text"},
    )
    nested = take(memory, index(1, 1, 2)).nested
    assert nested["a"][0].values.tolist() == [1.0, 1.0, 2.0]
    assert nested["b"][0].tolist() == [1, 1, 2]
    assert nested["b"][1].rows == [11, 11, 12]
    assert nested["c"] is None
    assert nested["d"] == "text"


def test_take_keeps_the_type_of_a_named_tuple() -> None:
    moved = take(Pair(torch.arange(3), torch.arange(3) * 10), index(2, 1))
    assert isinstance(moved, Pair)
    assert moved.right.tolist() == [20, 10]


def test_take_moves_rows_of_numpy_arrays_not_single_entries() -> None:
    moved = take({"blocks": np.arange(6).reshape(3, 2)}, index(2, 0))
    assert moved["blocks"].tolist() == [[4, 5], [0, 1]]


def test_take_leaves_scalars_alone() -> None:
    class Mode(str, enum.Enum):
        A = "a"

    for value in (True, 3, 0.5, "text", Mode.A, np.float32(2.0), None):
        assert take(value, index(0)) is value


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_take_refuses_memory_that_it_does_not_know_how_to_move(value: object) -> None:
    with pytest.raises(TypeError, match=r"cannot move a .*: keep memory in tensors"):
        take(value, index(0))


def test_duplicates_do_not_share_memory() -> None:
    forked = take(torch.zeros(2, 3), index(0, 0))
    forked[0] = 1.0
    assert forked[1].sum() == 0


@given(st.lists(st.integers(0, 4), max_size=8), st.data())
def test_taking_twice_is_taking_the_composed_rows_once(first: list[int], data: Any) -> None:
    logits = Logits(torch.arange(10.0).view(5, 2), -torch.arange(10.0).view(5, 2))
    places = st.integers(0, len(first) - 1) if first else st.nothing()
    second = data.draw(st.lists(places, max_size=8) if first else st.just([]))
    twice = take(take(logits, index(*first)), index(*second))
    once = take(logits, index(*[first[i] for i in second]))
    assert torch.equal(twice.cond, once.cond)
    assert torch.equal(twice.uncond, once.uncond)
    assert twice.permitted is None


def test_every_tensor_of_the_loops_state_says_on_which_axis_it_lies() -> None:
    from scalingar_fw.decoding.loop import DecodeState
    from scalingar_fw.decoding.signals import Signals

    for cls in (DecodeState, Logits, Confidence, Signals):
        for a in attrs.fields(cls):
            if "Tensor" in str(a.type):
                assert a.metadata.get("scalingar_axis") == "candidate", f"{cls.__name__}.{a.name}"


def test_a_signal_that_an_estimator_does_not_have_is_absent() -> None:
    confidence = Confidence.of(torch.tensor([0.2, 0.9]), flagged=torch.tensor([True, False]))
    assert list(confidence.recorded()) == ["confidence", "flagged"]
    assert confidence.signal("confidence") is confidence.value
    assert take(confidence, index(1)).signals["flagged"].tolist() == [False]
    with pytest.raises(ScalingarError):
        confidence.signal("drift")


def test_a_grid_counts_its_cells_and_has_some() -> None:
    assert Grid(3, 4).size == 12
    with pytest.raises(ValueError, match="rows"):
        Grid(0, 4)


def test_rows_lay_each_prompts_candidates_out_side_by_side() -> None:
    rows = Rows.of(prompt=[2, 0, 2, 2], candidate=[5, 1, 0, 3], n_prompts=3)
    assert len(rows) == 4
    assert rows.group.tolist() == [1, 0, 1, 1], "prompt 1 has no live row and no group"
    assert rows.slots.tolist() == [[1, -1, -1], [0, 2, 3]]
    assert rows.live.tolist() == [1, 3]
    assert not rows.single


def test_rows_of_one_prompt_are_single() -> None:
    assert Rows.of([1, 1], [0, 1], n_prompts=2).single
    assert Rows.of([], [], n_prompts=1).single


names = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12, unique=True
)


@given(names)
def test_slots_name_each_row_once_under_its_own_prompt(who: list[tuple[int, int]]) -> None:
    rows = Rows.of([p for p, _ in who], [c for _, c in who], n_prompts=4)
    laid = [(g, int(s)) for g, line in enumerate(rows.slots.tolist()) for s in line if s >= 0]
    assert sorted(s for _, s in laid) == list(range(len(who)))
    present = sorted({p for p, _ in who})
    for group, row in laid:
        assert present[group] == who[row][0]
        assert rows.group[row] == group
    assert rows.live.tolist() == [sum(p == q for q, _ in who) for p in present]


@given(names, st.data())
def test_rows_taken_keep_their_names(who: list[tuple[int, int]], data: Any) -> None:
    rows = Rows.of([p for p, _ in who], [c for _, c in who], n_prompts=4)
    chosen = data.draw(st.lists(st.integers(0, len(who) - 1), max_size=12))
    taken = rows.take(index(*chosen))
    assert list(zip(taken.prompt, taken.candidate, strict=True)) == [who[i] for i in chosen]
    assert taken.prompt_index.tolist() == taken.prompt.tolist()
    assert taken.candidate_id.tolist() == taken.candidate.tolist()
    assert taken.n_prompts == 4


def test_a_first_child_keeps_its_parents_name_and_further_ones_get_fresh_ids() -> None:
    rows = Rows.of(prompt=[0, 0, 1], candidate=[0, 1, 0], n_prompts=2)
    names = Children.of(rows, index(1, 1, 2, 1, 2), next_candidate=(2, 7))
    assert names.prompt.tolist() == [0, 0, 1, 0, 1]
    assert names.candidate.tolist() == [1, 2, 0, 3, 7]
    assert names.forks == (1, 3, 4)
    assert names.childless == (0,)
    assert names.next_candidate == (4, 8)
    assert rows.candidate.tolist() == [0, 1, 0], "the parents keep their names"
