"""Words, grammar, what is held out, and the fixed items."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_plugins.models.shapes.evaluate import random_generator
from scalingar_plugins.models.shapes.grammar import ObjectSpec, Spec, caption, parse
from scalingar_plugins.models.shapes.heldout import all_facts, facts, part_of, trained
from scalingar_plugins.models.shapes.prompts import (
    BEYOND,
    INSTRUCTIONS,
    PER_KIND,
    PER_TASK,
    SPLITS,
    TASKS,
    instruction_items,
    overall_accuracy,
    split_items,
)
from scalingar_plugins.models.shapes.training_prompts import MIX, draw_spec, minimal_pair, word
from scalingar_plugins.models.shapes.words import (
    COLOURS,
    CONVERSE,
    MAX_PROMPT_TOKENS,
    RELATIONS,
    SHAPES,
    TOKEN_IDS,
    TOKENS,
    WORD_CLASSES,
    PromptError,
    UnknownWordError,
    encode,
    normalise,
)

SEEDS = st.integers(0, 2**32 - 1)
EVERY_ITEM = [item for split in SPLITS for item in split_items(split)] + list(instruction_items())


# Words and wordings ------------------------------------------------------------------------------


@given(SEEDS)
def test_both_wordings_of_a_specification_are_read_back(seed: int) -> None:
    rng = random_generator(seed)
    spec = draw_spec(rng)
    assert parse(caption(spec)) == parse(word(spec, rng)) == spec
    if len(spec.objects) <= 3:
        long = caption(spec, long=True)
        assert parse(long) == spec and long.startswith("a picture with ")
        assert len(encode(long)) <= MAX_PROMPT_TOKENS


@pytest.mark.parametrize(
    ("prompt", "spec"),
    [
        ("A red CIRCLE.", Spec((ObjectSpec("circle", "red"),))),
        ("exactly three rings", Spec((ObjectSpec("ring"),) * 3)),
        ("a ring, a cross and a tee", Spec(tuple(map(ObjectSpec, ("ring", "cross", "tee"))))),
        ("two red things", Spec((ObjectSpec(None, "red"),) * 2)),
        (
            "a thing that is red above a ring",
            Spec((ObjectSpec(None, "red"), ObjectSpec("ring")), "above"),
        ),
        ("an ell below an arch", Spec((ObjectSpec("ell"), ObjectSpec("arch")), "below")),
        (
            "a circle and a ring of the same colour",
            Spec((ObjectSpec("circle"), ObjectSpec("ring")), same_colour=True),
        ),
        (
            "two rings and no red",
            Spec((ObjectSpec("ring"),) * 2, absent="red"),
        ),
        (
            "a picture with a circle that is red above a ring that is blue",
            Spec((ObjectSpec("circle", "red"), ObjectSpec("ring", "blue")), "above"),
        ),
    ],
)
def test_a_prompt_means_what_it_says(prompt: str, spec: Spec) -> None:
    assert parse(prompt) == spec


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("", "no word"),
        ("circle", "expected 'a'"),
        ("a red", "a shape is missing"),
        ("a rings", "does not fit"),
        ("a circle left a ring", "'of' is missing"),
        ("two circles above a ring", "two single objects"),
        ("a circle above a ring and a cross", "left over"),
        ("three rings and two crosses", "at most 4"),
        ("a circle of the same colour", "one object"),
        ("a red circle and a blue ring of the same colour", "names two"),
        ("a red circle and no red", "forbids it"),
        ("a circle and no", "after 'no'"),
        ("a red circle that is blue", "two colours"),
    ],
)
def test_a_prompt_that_describes_no_scene_is_refused_with_the_reason(prompt: str, why: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse(prompt)
    assert why in str(caught.value) and "Examples" in str(caught.value)


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(UnknownWordError) as caught:
        encode("a red hexagon")
    assert caught.value.word == "hexagon" and "chevron" in str(caught.value)


def test_a_slip_of_the_keyboard_is_answered_with_the_word_that_was_meant() -> None:
    with pytest.raises(UnknownWordError, match="Did you mean 'circle'"):
        encode("a red cirlce")


def test_plurals_share_their_singulars_token() -> None:
    assert encode("three crosses") == [TOKEN_IDS[w] for w in ("three", "cross", "<plural>")]
    assert normalise("two arches") == ["two", "arches"]
    assert len(set(TOKENS)) == len(TOKENS)


def test_every_content_word_has_alternatives_of_its_class() -> None:
    classes = [set(words) for words in WORD_CLASSES]
    assert all(len(words) > 1 for words in classes)
    for item in split_items("test"):
        for each in set(normalise(item.prompt)) - {"a", "an", "and", "of"}:
            assert sum(each in words for words in classes) == 1, each


# What is held out --------------------------------------------------------------------------------


def test_every_kind_of_fact_has_enough_clusters_held_out() -> None:
    counts = {
        kind: Counter(part_of(fact) for fact in all_facts(kind))
        for kind in ("colour", "beside", "axis", "count")
    }
    assert all(c["test"] >= 30 and c["validation"] >= 20 for c in counts.values()), counts
    assert {kind: sum(c.values()) for kind, c in counts.items()} == {
        "colour": 120,
        "beside": 1320,
        "axis": 132,
        "count": 360,
    }


@pytest.mark.parametrize("kind", ["colour", "beside", "axis", "count"])
def test_every_word_keeps_trained_facts_of_every_kind(kind: str) -> None:
    """Latin squares: no word loses more than its share, so every word and role stays trained."""
    found: dict[str, Counter[str]] = {}
    for fact in all_facts(kind):
        for each in set(fact.words):
            found.setdefault(each, Counter())[part_of(fact)] += 1
    for each, parts in found.items():
        assert parts["train"] >= 0.4 * sum(parts.values()), (each, parts)


def test_a_fact_is_out_in_all_orders_directions_and_constructions() -> None:
    for a, b in itertools.permutations(SHAPES, 2):
        one, other = ObjectSpec(a), ObjectSpec(b)
        for relation in RELATIONS:
            ways = {
                facts(Spec((one, other), relation)),
                facts(Spec((other, one), CONVERSE[relation])),
                facts(Spec((one, other), CONVERSE[relation])),
            }
            assert len(ways) == 1
    red = ObjectSpec("circle", "red")
    ring = ObjectSpec("ring")
    said = facts(Spec((red, ring)))
    for spec in (Spec((ring, red)), Spec((red, red, ring)), Spec((ring, red), absent="blue")):
        assert said <= facts(spec)
    assert said < facts(Spec((red, ring), "above"))
    assert not facts(Spec((ObjectSpec(None, "red"), ring), "above"))  # a thing names no pair


def test_no_training_prompt_says_a_held_out_fact() -> None:
    """Over the whole grammar of pairs, relations and counts, and over what training draws."""
    rng = random_generator(3)
    held = {fact for i in split_items("test") + split_items("validation") for fact in facts(i.spec)}
    held = {fact for fact in held if part_of(fact) != "train"}
    for _ in range(20_000):
        spec = draw_spec(rng)
        other = minimal_pair(spec, rng)
        for each in (spec, other) if other is not None else (spec,):
            assert not facts(each) & held
    named = [ObjectSpec(s, c) for s in SHAPES for c in (None, *COLOURS)]
    for one, other_one in itertools.product(named, named):
        for relation in (None, "left of", "below"):
            spec = Spec((one, other_one), relation)
            if trained(spec):
                assert not facts(spec) & held


def test_relations_have_thousands_of_trained_prompts_each() -> None:
    named = [ObjectSpec(s, c) for s in SHAPES for c in (None, *COLOURS)]
    for relation in RELATIONS:
        pairs = [p for p in itertools.permutations(named, 2) if p[0].shape != p[1].shape]
        specs = [spec for spec in (Spec(pair, relation) for pair in pairs) if trained(spec)]
        prompts = {caption(spec, long) for spec in specs for long in (False, True)}
        assert len(prompts) > 2000, relation


def test_training_draws_every_construction_and_minimal_pairs() -> None:
    rng = random_generator(0)
    specs = [draw_spec(rng) for _ in range(4000)]
    assert abs(sum(s.relation is not None for s in specs) / 4000 - MIX["relation"]) < 0.03
    assert any(s.absent for s in specs) and any(s.same_colour for s in specs)
    assert {len(s.objects) for s in specs} == {1, 2, 3, 4}
    assert any(o.shape is None and o.colour for s in specs for o in s.objects)
    pairs = [(s, minimal_pair(s, rng)) for s in specs]
    found = [(s, o) for s, o in pairs if o is not None]
    assert len(found) > 1000
    for spec, other in found:
        assert other != spec and trained(other)
        assert Counter(o.shape for o in other.objects) == Counter(o.shape for o in spec.objects)


# Items -------------------------------------------------------------------------------------------


def test_each_split_holds_its_tasks_and_sizes() -> None:
    for split in SPLITS:
        sizes = Counter(item.task for item in split_items(split))
        tasks = BEYOND if split == "beyond" else TASKS
        assert sizes == dict.fromkeys(tasks, PER_TASK[split])


def test_held_out_items_say_exactly_one_new_fact_and_seen_items_none() -> None:
    for split in ("seen", "validation", "test"):
        for item in split_items(split):
            new = [f for f in facts(item.spec) if part_of(f) != "train"]
            if split == "seen" or item.task == "single_object":
                assert not new, item
            else:
                assert [part_of(f) for f in new] == [split], item
                assert item.combination == str(new[0])


def test_there_are_enough_clusters_in_every_held_out_task() -> None:
    for split, least in (("test", 30), ("validation", 20)):
        clusters = Counter(
            task for task, _ in {(i.task, i.combination) for i in split_items(split)}
        )
        assert all(clusters[task] >= least for task in TASKS if task != "single_object"), clusters


def test_beyond_asks_in_new_constructions_for_trained_facts() -> None:
    for item in split_items("beyond"):
        assert trained(item.spec)
    rng = random_generator(1)
    for _ in range(5000):
        spec = draw_spec(rng)
        assert not (spec.relation and (spec.absent or spec.same_colour))
        assert len({o.shape for o in spec.objects}) <= 3


def test_instructions_come_in_two_wordings_of_the_same_specification() -> None:
    items = instruction_items()
    kinds = Counter(item.task for item in items)
    assert set(kinds) == {f"{kind}/{w}" for kind in INSTRUCTIONS for w in ("short", "long")}
    assert all(25 <= number <= PER_KIND for number in kinds.values()), kinds
    for kind in INSTRUCTIONS:
        short, long = (
            [i for i in items if i.task == f"{kind}/{wording}"] for wording in ("short", "long")
        )
        assert [i.spec for i in short] == [i.spec for i in long]
        assert [i.combination for i in short] == [i.combination for i in long]
        for item in short:
            assert sum(part_of(f) != "train" for f in facts(item.spec)) == 1


def test_every_item_can_be_read_by_the_model_and_no_two_share_noise() -> None:
    assert all(len(encode(item.prompt)) <= MAX_PROMPT_TOKENS for item in EVERY_ITEM)
    for split in SPLITS:
        keys = Counter((i.task, i.combination, i.seed_index) for i in split_items(split))
        assert max(keys.values()) == 1


def test_the_items_are_what_published_numbers_were_measured_on() -> None:
    """A change of the items makes every published number one of other prompts: say so."""
    text = "\n".join(f"{i.split}|{i.task}|{i.combination}|{i.prompt}" for i in EVERY_ITEM)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "262a13624277abdc"


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        split_items("train")
    assert "beyond" in str(caught.value)


def test_overall_accuracy_weighs_tasks_equally() -> None:
    items = [i for i in split_items("seen") if i.task in ("colors", "position")][:3]
    items += [i for i in split_items("seen") if i.task == "position"][:1]
    assert overall_accuracy([True, True, True, False], items) == 0.5
    with pytest.raises(ValueError):
        overall_accuracy([True], items)
