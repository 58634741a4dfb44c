"""Words, specifications and splits of the shapes world."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_plugins.models.shapes.evaluate import random_generator
from scalingar_plugins.models.shapes.prompts import (
    COLOURS,
    IMPOSSIBLE_KINDS,
    MAX_PROMPT_TOKENS,
    SHAPES,
    TASKS,
    TRAIN_MIX,
    VOCABULARY,
    Item,
    ObjectSpec,
    PromptError,
    Spec,
    UnknownWordError,
    assignment,
    combinations,
    encode,
    overall_accuracy,
    parse,
    sample_training_prompts,
    split_items,
)

RED_CIRCLE = ObjectSpec("circle", "red")
ALL_PROMPTS = [p for group in combinations().values() for c in group for p in c.prompts]


@pytest.mark.parametrize(
    ("prompt", "spec"),
    [
        ("a circle", Spec((ObjectSpec("circle"),))),
        ("a circle and a square", Spec((ObjectSpec("circle"), ObjectSpec("square")))),
        ("three crosses", Spec((ObjectSpec("cross"),) * 3)),
        ("a red circle", Spec((RED_CIRCLE,))),
        ("an orange ring", Spec((ObjectSpec("ring", "orange"),))),
        (
            "a circle left of a square",
            Spec((ObjectSpec("circle"), ObjectSpec("square")), "left of"),
        ),
        ("a ring above a cross", Spec((ObjectSpec("ring"), ObjectSpec("cross")), "above")),
        (
            "a red circle and a blue square",
            Spec((RED_CIRCLE, ObjectSpec("square", "blue"))),
        ),
        ("two red circles", Spec((RED_CIRCLE,) * 2)),
        (
            "a red circle right of a blue ring",
            Spec((RED_CIRCLE, ObjectSpec("ring", "blue")), "right of"),
        ),
    ],
)
def test_a_prompt_means_exactly_its_objects_and_relation(prompt: str, spec: Spec) -> None:
    assert parse(prompt) == spec


def test_three_objects_may_be_listed_with_commas() -> None:
    listed = parse("a red circle, a blue square and a green ring")
    assert listed == parse("a red circle and a blue square and a green ring")


def test_case_space_and_punctuation_do_not_matter() -> None:
    assert encode("  A Red   CIRCLE. ") == encode("a red circle")
    assert parse("A red circle!") == parse("a red circle")


def test_a_plural_shares_its_singulars_token() -> None:
    assert encode("two crosses")[1] == encode("a cross")[1]


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1))
def test_an_unknown_word_is_named_and_the_vocabulary_listed(word: str) -> None:
    if word in VOCABULARY:
        encode(f"a {word}")
        return
    with pytest.raises(UnknownWordError) as caught:
        encode(f"a {word}")
    message = str(caught.value)
    assert repr(word) in message
    assert all(known in message for known in VOCABULARY)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "...",
        "circle",
        "a red",
        "a circles",
        "two circle",
        "a circle left a square",
        "a circle above",
        "a circle above two squares",
        "a circle and",
        "a circle above a square and a ring",
        "four circles and a square",
        "a red blue circle",
    ],
)
def test_words_that_describe_no_scene_are_refused_with_examples(prompt: str) -> None:
    with pytest.raises(PromptError, match="Examples"):
        parse(prompt)


def test_a_prompt_longer_than_the_prefix_is_refused() -> None:
    with pytest.raises(PromptError, match=f"at most {MAX_PROMPT_TOKENS}"):
        encode("a " * (MAX_PROMPT_TOKENS + 1))


def test_every_wording_of_every_combination_can_be_read_and_encoded() -> None:
    for prompt in ALL_PROMPTS + [item.prompt for item in split_items("impossible")]:
        assert 1 <= len(parse(prompt).objects) <= 4
        assert 2 <= len(encode(prompt)) <= MAX_PROMPT_TOKENS


def test_articles_agree_with_the_next_word() -> None:
    for prompt in ALL_PROMPTS:
        words = prompt.split()
        for article, word in zip(words, words[1:], strict=False):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), prompt


def test_two_wordings_of_a_combination_ask_for_the_same_scenes() -> None:
    flipped = {"left of": "right of", "above": "below", None: None}
    for group in combinations().values():
        for combination in group:
            if len(combination.prompts) == 2:
                first, second = map(parse, combination.prompts)
                assert first.objects == second.objects[::-1]
                assert second.relation == flipped[first.relation]


def test_the_tasks_have_the_expected_number_of_combinations() -> None:
    sizes = {task: len(group) for task, group in combinations().items()}
    assert sizes == {
        "single_object": 6,
        "two_object": 15,
        "counting": 18,
        "colors": 48,
        "position": 60,
        "color_attr": 840,
    }


@pytest.mark.parametrize("task", ["two_object", "colors", "position", "color_attr"])
def test_a_fifth_is_held_out_for_test_and_a_tenth_for_validation(task: str) -> None:
    total = len(combinations()[task])
    table = assignment()
    assert len(table["test"][task]) == pytest.approx(total / 5, abs=0.5)
    assert len(table["validation"][task]) == pytest.approx(total / 10, abs=0.5)


@pytest.mark.parametrize("task", ["two_object", "colors", "position", "color_attr"])
def test_no_combination_is_in_two_splits(task: str) -> None:
    ids = [{c.id for c in assignment()[s][task]} for s in ("train", "validation", "test")]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_training_never_says_a_held_out_prompt() -> None:
    said = set(sample_training_prompts(20_000, random_generator(1)))
    said |= {item.prompt for item in split_items("train")}
    for split in ("validation", "test"):
        held = {i.prompt for i in split_items(split) if i.task not in ("single_object", "counting")}
        assert not held & said
    assert not {item.prompt for item in split_items("impossible")} & said


def test_training_never_names_a_held_out_pair_of_colour_and_shape() -> None:
    held = {c.id for s in ("validation", "test") for c in assignment()[s]["colors"]}
    named = {
        f"{o.colour} {o.shape}"
        for item in split_items("train")
        for o in item.spec.objects
        if o.colour is not None
    }
    assert not held & named
    assert len(named) == len(COLOURS) * len(SHAPES) - len(held)


def test_every_word_and_shape_stays_in_training() -> None:
    words = {word for item in split_items("train") for word in item.prompt.split()}
    assert words == set(VOCABULARY)


def test_held_out_colours_and_shapes_are_spread() -> None:
    table = assignment()
    held = [c.id.split() for s in ("validation", "test") for c in table[s]["colors"]]
    for names in (list(colour for colour, _ in held), list(shape for _, shape in held)):
        assert all(1 <= names.count(name) <= 3 for name in names)
    assert {colour for colour, _ in held} == set(COLOURS)
    assert {c.id.split()[1] for c in table["test"]["colors"]} == set(SHAPES)


def test_splits_have_fixed_sizes_and_tasks() -> None:
    for split, per_task, tasks in (
        ("validation", 60, TASKS),
        ("test", 100, TASKS),
        ("impossible", 60, IMPOSSIBLE_KINDS),
    ):
        items = split_items(split)
        counts = {task: sum(item.task == task for item in items) for task in tasks}
        assert counts == dict.fromkeys(tasks, per_task)
        keys = {(item.task, item.combination, item.seed_index) for item in items}
        assert len(keys) == len(items)


def test_combinations_of_a_split_are_used_evenly() -> None:
    for task in TASKS:
        uses: dict[str, int] = {}
        for item in split_items("test"):
            if item.task == task:
                uses[item.combination] = uses.get(item.combination, 0) + 1
        assert max(uses.values()) - min(uses.values()) <= 1


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="validation"):
        split_items("tset")


def test_the_splits_never_change() -> None:
    """Results are comparable across versions only while these are the same."""
    text = "\n".join(
        f"{i.split}|{i.task}|{i.combination}|{i.seed_index}|{i.prompt}"
        for split in ("train", "validation", "test", "impossible")
        for i in split_items(split)
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "4ce2e8a82d5d5717"


def test_training_prompts_follow_the_mix_and_their_seed() -> None:
    prompts = sample_training_prompts(20_000, random_generator(3))
    assert prompts == sample_training_prompts(20_000, random_generator(3))
    task_of = {item.prompt: item.task for item in split_items("train")}
    for task, share in TRAIN_MIX.items():
        assert sum(task_of[p] == task for p in prompts) / len(prompts) == pytest.approx(
            share, abs=0.015
        )


def test_overall_accuracy_weighs_tasks_equally() -> None:
    items = [Item("a circle", "x", "c", i, "test") for i in range(3)]
    items.append(Item("a circle", "y", "c", 0, "test"))
    assert overall_accuracy([True, True, True, False], items) == 0.5
    with pytest.raises(ValueError, match="verdicts"):
        overall_accuracy([True], items)
