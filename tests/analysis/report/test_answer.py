"""The top of the report: which picture, why, at what cost; every sentence agrees with the run."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_analysis.report import answer
from scalingar_analysis.report.page import page
from scalingar_analysis.runs.run import as_run, from_examples
from scalingar_fw.decoding.result import Status


@pytest.fixture(scope="module")
def example(generations):
    """Four candidates of 48 tokens; #0 was pruned at token 21."""
    (one,) = as_run(generations[0]).examples()
    return one


def with_ends(example, ends, chosen):
    """The example with candidates that were pruned after so many tokens (None: complete)."""
    trajectories = []
    for t, length in zip(example.decoded.trajectories, ends, strict=True):
        whole = example.decoded.trajectories[1]
        size = len(whole) if length is None else length
        trajectories.append(
            evolve(
                t,
                tokens=whole.tokens[:size],
                signals={k: v[:size] for k, v in whole.signals.items()},
                status=Status.COMPLETED if length is None else Status.PRUNED,
            )
        )
    return evolve(
        example, decoded=evolve(example.decoded, trajectories=trajectories, chosen=[chosen])
    )


def test_the_page_begins_with_the_answer_its_reason_and_its_cost(report):
    assert report.index('id="answer"') < report.index('id="viewer"') < report.index('id="results"')
    assert report.index('id="results"') < report.index('id="summary"')
    top = report[report.index('id="answer"') : report.index('id="viewer"')]
    assert "is the answer" in top and "1 was pruned at token 21" in top
    assert "T for each prompt instead of 4 T" in top and "data:image/png" in top


def test_a_lone_survivor_is_called_one(example):
    said = answer.why(with_ends(example, [11, 46, None, 30], 2))
    assert said == (
        "Candidate 2 of 4 is the answer: the only one that was decoded to its end; "
        "3 were pruned between tokens 11 and 46."
    )


def test_the_rule_that_chose_is_named_where_there_was_a_choice(example):
    said = answer.why(example)
    assert "it ended with the highest confidence of 3 complete candidates" in said
    assert "1 was pruned at token 21" in said


def test_a_saving_is_told_only_where_there_is_one(example):
    whole = with_ends(example, [None] * 4, 0)
    assert "instead" not in answer.cost([whole]) and "Cost: 4 T" in answer.cost([whole])
    half = with_ends(example, [None, None, 24, 24], 0)
    assert "3.0 T instead of 4 T, 25 % saved" in answer.cost([half])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.integers(1, 47)), min_size=4, max_size=4), st.integers(0, 3)
)
def test_counts_in_the_sentence_are_those_of_the_run(example, ends, chosen):
    said = answer.why(with_ends(example, ends, chosen))
    pruned = [e for e in ends if e is not None]
    assert (f"{len(pruned)} were pruned" in said) == (len(pruned) > 1)
    assert ("was pruned at token" in said) == (len(pruned) == 1)
    assert "nan" not in said and "nan" not in answer.cost([with_ends(example, ends, chosen)])


def test_a_final_confidence_below_that_of_a_pruned_one_is_compared_at_the_same_token(example):
    cut = with_ends(example, [21, None, None, None], 1)
    curves = [np.full(len(t), 0.6) for t in cut.decoded.trajectories]
    curves[0][-1], curves[1][20], curves[1][-1] = 0.8, 0.9, 0.7
    trajectories = [
        evolve(t, signals={**t.signals, "confidence": c})
        for t, c in zip(cut.decoded.trajectories, curves, strict=True)
    ]
    cut = evolve(cut, decoded=evolve(cut.decoded, trajectories=trajectories))
    said = answer.lower_than_ended(cut)
    assert "0.700, is below the last one of #0 (0.800 at token 21)" in said
    assert said.endswith("At token 21 the answer had 0.900.")
    curves[0][-1] = 0.65  # now it is not: there is nothing to explain
    assert answer.lower_than_ended(cut) == ""


def test_a_judged_run_opens_on_a_prompt_on_which_its_strategies_disagree(complete):
    examples = complete.examples()
    opened = examples[answer.interesting(examples)]
    scores = {e.answer.score for e in examples if e.item == opened.item}
    disagree = {
        e.item for e in examples if len({o.answer.score for o in examples if o.item == e.item}) > 1
    }
    assert not disagree or len(scores) > 1


def test_the_opened_prompt_is_in_the_page_however_small_its_budget(complete):
    import json
    import re

    text = page(complete, budget=30_000)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)[1])
    assert data["open"] in [e["place"] for e in data["examples"]]


def test_no_text_of_a_page_says_nan(complete, report):
    import re

    # Two clusters give no interval; what stands between tags is what a reader sees.
    (first, *_) = [e.item for e in complete.examples()]
    few = from_examples([e for e in complete.examples() if e.item <= first + 1])
    for text in (page(few), report):
        seen = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r">[^<]*\bnan\b[^<]*<", seen)
