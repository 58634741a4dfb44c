"""Prompts of the shapes world: words, specifications, combinations and fixed splits.

A *prompt* is text; a :class:`Spec` is what a scene must hold to satisfy it; a *combination* is
the unordered, relation-canonical content of a prompt ("a circle left of a square" and "a square
right of a circle" are one combination) and is the unit that is held out and that intervals
cluster by.

How combinations are held out
-----------------------------
* ``colors``: 10 of the 48 pairs (colour, shape) for test and 5 for validation, spread so that no
  colour and no shape loses more than three.  The rule is strict across tasks: no training prompt
  names a held-out pair, so ``color_attr`` prompts that contain one are not trained on either.
  (Pictures may still show the pair where the prompt leaves colour open.  Were it absent from the
  pixels too, its tokens would never occur and no discrete model could draw it.)
* ``two_object``: 3 of the 15 pairs of shapes for test (each shape once) and 2 for validation.
* ``position``: 12 of the 60 relation-canonical triples for test and 6 for validation.
* ``color_attr``: 168 of the 840 unordered pairs of attributed shapes for test, 84 for validation.
* ``single_object`` and ``counting`` share their combinations with training and are
  in-distribution: only the seeds differ.

The last three are held out per task: a pair of shapes held out of ``two_object`` may meet in a
``position`` prompt.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scalingar_fw.errors import ScalingarError

SHAPES: tuple[str, ...] = ("square", "circle", "triangle", "cross", "diamond", "ring")
COLOURS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "white",
)
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
COUNTS: dict[str, int] = {"two": 2, "three": 3, "four": 4}
TASKS: tuple[str, ...] = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
)
IMPOSSIBLE_KINDS: tuple[str, ...] = ("three_attributed", "count_colour", "attributed_relation")
SPLITS: tuple[str, ...] = ("train", "validation", "test", "impossible")

# The share of training prompts per task.  What is learnt late (colour words, then the binding of
# colours to objects) is shown more often; single objects are learnt from every other task anyway.
TRAIN_MIX: dict[str, float] = {
    "single_object": 0.07,
    "two_object": 0.12,
    "counting": 0.14,
    "colors": 0.20,
    "position": 0.20,
    "color_attr": 0.27,
}

PLURALS: dict[str, str] = {
    shape: shape + ("es" if shape.endswith("s") else "s") for shape in SHAPES
}
_SINGULAR = {plural: shape for shape, plural in PLURALS.items()}
_CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

# A plural is its singular followed by one marker, so that "circles" profits from all that is
# learnt about "circle".
PAD, NULL, PLURAL = "<pad>", "<null>", "<plural>"
TOKENS: tuple[str, ...] = (
    PAD,
    NULL,
    PLURAL,
    "a",
    "an",
    "and",
    "left",
    "right",
    "above",
    "below",
    "of",
    *COUNTS,
    *SHAPES,
    *COLOURS,
)
TOKEN_IDS: dict[str, int] = {token: index for index, token in enumerate(TOKENS)}
MAX_PROMPT_TOKENS = 12

#: Every word that a prompt may contain.
VOCABULARY: tuple[str, ...] = tuple(token for token in TOKENS if not token.startswith("<")) + tuple(
    PLURALS.values()
)


class UnknownWordError(ScalingarError):
    """A prompt holds a word outside the closed vocabulary; the message names word and vocabulary."""

    def __init__(self, word: str, prompt: str) -> None:
        self.word = word
        self.prompt = prompt
        super().__init__(
            f"unknown word {word!r} in prompt {prompt!r}. The shapes model knows: "
            + ", ".join(VOCABULARY)
            + "."
        )


class PromptError(ScalingarError):
    """A prompt of known words that does not describe a scene; the message shows examples."""

    def __init__(self, prompt: str, why: str) -> None:
        super().__init__(
            f"cannot read prompt {prompt!r}: {why}. Examples: 'a red circle', "
            "'three triangles', 'a circle left of a square', 'a red circle and a blue square'."
        )


@dataclass(frozen=True)
class ObjectSpec:
    """One object that a scene must hold; ``colour=None`` leaves the colour open."""

    shape: str
    colour: str | None = None

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}" if self.colour else self.shape


@dataclass(frozen=True)
class Spec:
    """What a scene must hold: exactly these objects, and ``objects[0] relation objects[1]``."""

    objects: tuple[ObjectSpec, ...]
    relation: str | None = None


@dataclass(frozen=True)
class Item:
    """One entry of a split.

    Attributes:
        prompt: The text given to the model.
        task: One of :data:`TASKS`, or of :data:`IMPOSSIBLE_KINDS` in the split ``impossible``.
        combination: Canonical content, the cluster that confidence intervals resample.
        seed_index: Number of this item within its split and combination, from 0.
        split: One of :data:`SPLITS`.
    """

    prompt: str
    task: str
    combination: str
    seed_index: int
    split: str

    @property
    def spec(self) -> Spec:
        """The specification that the judge checks."""
        return parse(self.prompt)


# ------------------------------------------------------------------------------------------------
# Text
# ------------------------------------------------------------------------------------------------


def normalise(prompt: str) -> list[str]:
    """Return the prompt's words: lower case, punctuation and repeated space removed.

    Raises:
        UnknownWordError: A word is not in :data:`VOCABULARY`.
        PromptError: Nothing is left.
    """
    words = re.sub(r"[^\w\s]|_", " ", prompt.lower()).split()
    for word in words:
        if word not in VOCABULARY:
            raise UnknownWordError(word, prompt)
    if not words:
        raise PromptError(prompt, "it holds no word")
    return words


def encode(prompt: str) -> list[int]:
    """Return the token ids of a prompt, at most :data:`MAX_PROMPT_TOKENS`.

    The order of words is not checked: any sequence of known words can be given to the model.

    Raises:
        UnknownWordError: A word is not in the vocabulary.
        PromptError: The prompt is empty or longer than the model's prefix.
    """
    ids: list[int] = []
    for word in normalise(prompt):
        if word in _SINGULAR:
            ids += [TOKEN_IDS[_SINGULAR[word]], TOKEN_IDS[PLURAL]]
        else:
            ids.append(TOKEN_IDS[word])
    if len(ids) > MAX_PROMPT_TOKENS:
        raise PromptError(prompt, f"it has {len(ids)} tokens; at most {MAX_PROMPT_TOKENS} fit")
    return ids


def _noun_phrase(words: list[str], prompt: str) -> tuple[ObjectSpec, int]:
    """Consume one noun phrase from the front of ``words``; return the object and its count."""
    if not words:
        raise PromptError(prompt, "an object is missing")
    count = 1
    first = words[0]
    if first in COUNTS:
        count = COUNTS[words.pop(0)]
    elif first in ("a", "an"):
        words.pop(0)
    else:
        raise PromptError(prompt, f"expected 'a', 'an' or a number before {first!r}")
    colour = words.pop(0) if words and words[0] in COLOURS else None
    if not words:
        raise PromptError(prompt, "a shape is missing")
    noun = words.pop(0)
    if count == 1 and noun in SHAPES:
        return ObjectSpec(noun, colour), 1
    if count > 1 and noun in _SINGULAR:
        return ObjectSpec(_SINGULAR[noun], colour), count
    raise PromptError(prompt, f"{noun!r} does not fit after {first!r}")


@lru_cache(maxsize=65536)
def parse(prompt: str) -> Spec:
    """Read a prompt into the specification that the judge checks.

    Raises:
        UnknownWordError: A word is not in the vocabulary.
        PromptError: The words do not describe a scene of one to four objects.
    """
    words = normalise(prompt)
    first, count = _noun_phrase(words, prompt)
    objects = [first] * count
    relation: str | None = None
    if words and words[0] in ("left", "right", "above", "below"):
        relation = words.pop(0)
        if relation in ("left", "right"):
            if not words or words.pop(0) != "of":
                raise PromptError(prompt, f"'of' is missing after {relation!r}")
            relation += " of"
        second, second_count = _noun_phrase(words, prompt)
        if count + second_count != 2:
            raise PromptError(prompt, "a relation joins two single objects")
        objects.append(second)
    else:
        while words:
            # Commas are gone by now, so "a ring, a cross and a circle" reads like three "and"s.
            if words[0] == "and":
                words.pop(0)
            following, count = _noun_phrase(words, prompt)
            objects += [following] * count
    if words:
        raise PromptError(prompt, f"{' '.join(words)!r} is left over")
    if len(objects) > 4:
        raise PromptError(prompt, f"a scene holds at most 4 objects, not {len(objects)}")
    return Spec(tuple(objects), relation)


def article(word: str) -> str:
    """Return ``word`` with "a" or "an" before it."""
    return ("an " if word[0] in "aeiou" else "a ") + word


# ------------------------------------------------------------------------------------------------
# Combinations
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Combination:
    """The canonical content of prompts, and every text that says it."""

    task: str
    id: str
    prompts: tuple[str, ...]

    @property
    def spec(self) -> Spec:
        """The specification of the first wording (all wordings ask for the same scenes)."""
        return parse(self.prompts[0])


def _join(first: str, second: str) -> tuple[str, ...]:
    return (f"{article(first)} and {article(second)}", f"{article(second)} and {article(first)}")


def _relate(first: str, relation: str, second: str) -> tuple[str, ...]:
    return (
        f"{article(first)} {relation} {article(second)}",
        f"{article(second)} {_CONVERSE[relation]} {article(first)}",
    )


@lru_cache(maxsize=1)
def combinations() -> dict[str, tuple[Combination, ...]]:
    """Return all combinations of the six tasks, in a fixed order."""
    single = [Combination("single_object", shape, (article(shape),)) for shape in SHAPES]
    pairs = list(itertools.combinations(SHAPES, 2))
    two = [Combination("two_object", f"{a}+{b}", _join(a, b)) for a, b in pairs]
    counting = [
        Combination("counting", f"{number} {shape}", (f"{word} {PLURALS[shape]}",))
        for word, number in COUNTS.items()
        for shape in SHAPES
    ]
    colors = [
        Combination("colors", f"{colour} {shape}", (article(f"{colour} {shape}"),))
        for shape in SHAPES
        for colour in COLOURS
    ]
    position = [
        Combination("position", f"{a} {relation} {b}", _relate(a, relation, b))
        for a, b in itertools.permutations(SHAPES, 2)
        for relation in ("left of", "above")
    ]
    attributed = [
        Combination("color_attr", f"{i} {a}+{j} {b}", _join(f"{i} {a}", f"{j} {b}"))
        for a, b in pairs
        for i, j in itertools.permutations(COLOURS, 2)
    ]
    groups = (single, two, counting, colors, position, attributed)
    return {task: tuple(group) for task, group in zip(TASKS, groups, strict=True)}


# Three disjoint pairs, so that each shape loses exactly one partner to test.
_TEST_PAIRS = ("square+ring", "circle+cross", "triangle+diamond")
_VALIDATION_PAIRS = ("square+circle", "cross+ring")


def _colour_pair_split(colour: str, shape: str) -> str:
    """Diagonals of the (shape, colour) table: an explicit rule that spreads the held-out pairs."""
    s = SHAPES.index(shape)
    diagonal = (COLOURS.index(colour) + 3 * s) % 8
    if diagonal == 0 or (diagonal == 5 and s in (0, 2, 3, 5)):
        return "test"
    if diagonal == 2 and s != 0:
        return "validation"
    return "train"


def _hash_order(items: Sequence[Combination]) -> list[Combination]:
    return sorted(items, key=lambda c: _digest(f"{c.task}:{c.id}"))


@lru_cache(maxsize=1)
def assignment() -> dict[str, dict[str, tuple[Combination, ...]]]:
    """Return ``{split: {task: combinations}}`` for train, validation and test.

    ``single_object`` and ``counting`` appear whole in all three.  ``color_attr`` combinations
    that are in no held-out part but name a held-out pair of colour and shape are in none.
    """
    table: dict[str, dict[str, tuple[Combination, ...]]] = {
        split: {} for split in ("train", "validation", "test")
    }
    for task, group in combinations().items():
        if task in ("single_object", "counting"):
            chosen = dict.fromkeys(table, list(group))
        else:
            chosen = {split: [] for split in table}
            ranked = _hash_order(group)
            for rank, combination in enumerate(ranked):
                if task == "colors":
                    colour, shape = combination.id.split()
                    split = _colour_pair_split(colour, shape)
                elif task == "two_object":
                    held = {**dict.fromkeys(_TEST_PAIRS, "test")}
                    held |= dict.fromkeys(_VALIDATION_PAIRS, "validation")
                    split = held.get(combination.id, "train")
                else:
                    share = rank / len(ranked)
                    split = "test" if share < 0.2 else "validation" if share < 0.3 else "train"
                if split == "train" and task == "color_attr" and not _names_trained(combination):
                    continue
                chosen[split].append(combination)
        for split, members in chosen.items():
            table[split][task] = tuple(members)
    return table


def _names_trained(combination: Combination) -> bool:
    return all(
        _colour_pair_split(o.colour, o.shape) == "train"
        for o in combination.spec.objects
        if o.colour is not None
    )


# ------------------------------------------------------------------------------------------------
# Splits
# ------------------------------------------------------------------------------------------------

_PER_TASK = {"validation": 60, "test": 100}
_PER_KIND = 60


def _spread(members: Sequence[Combination], task: str, split: str, size: int) -> list[Item]:
    """``size`` items over the combinations as evenly as possible, alternating the wordings."""
    ranked = _hash_order(members)
    items = []
    for index in range(size):
        combination = ranked[index % len(ranked)]
        repeat = index // len(ranked)
        # Rank parity too, so that combinations used once do not all show their first wording.
        wording = (repeat + index % len(ranked)) % len(combination.prompts)
        items.append(Item(combination.prompts[wording], task, combination.id, repeat, split))
    return items


def _digest(text: str) -> str:
    # Content hashes, not a generator: numpy does not promise equal streams across versions.
    return hashlib.sha256(text.encode()).hexdigest()


def _impossible() -> list[Item]:
    def draw(options: Sequence[str], number: int, key: str) -> list[str]:
        return sorted(options, key=lambda option: _digest(f"{key}:{option}"))[:number]

    items: list[Item] = []
    for kind in IMPOSSIBLE_KINDS:
        seen: set[str] = set()
        attempt = 0
        while len(seen) < _PER_KIND:
            source = f"{kind}:{attempt}"
            attempt += 1
            shapes = draw(SHAPES, 3, source)
            names = [f"{c} {s}" for c, s in zip(draw(COLOURS, 3, source), shapes, strict=True)]
            if kind == "three_attributed":
                prompt = " and ".join(article(name) for name in names)
                key = "+".join(sorted(names))
            elif kind == "count_colour":
                (word,) = draw(list(COUNTS), 1, source)
                colour, shape = names[0].split()
                prompt = f"{word} {colour} {PLURALS[shape]}"
                key = f"{COUNTS[word]} {names[0]}"
            else:
                (relation,) = draw(RELATIONS, 1, source)
                prompt, other = _relate(names[0], relation, names[1])
                key = prompt if relation in ("left of", "above") else other
            if key not in seen:
                seen.add(key)
                items.append(Item(prompt, kind, key, 0, "impossible"))
    return items


@lru_cache(maxsize=4)
def split_items(split: str) -> tuple[Item, ...]:
    """Return the fixed items of a split.

    ``validation`` holds 60 items per task, ``test`` 100, ``impossible`` 60 per kind; ``train``
    one item per wording that training may show.

    Raises:
        ValueError: ``split`` is not one of :data:`SPLITS`.
    """
    if split == "impossible":
        return tuple(_impossible())
    if split == "train":
        return tuple(
            Item(prompt, task, combination.id, 0, split)
            for task, members in assignment()["train"].items()
            for combination in members
            for prompt in combination.prompts
        )
    if split not in _PER_TASK:
        raise ValueError(f"split={split!r} is unknown; choose one of {', '.join(SPLITS)}.")
    return tuple(
        item
        for task, members in assignment()[split].items()
        for item in _spread(members, task, split, _PER_TASK[split])
    )


def sample_training_prompts(count: int, rng: np.random.Generator) -> list[str]:
    """Draw ``count`` training prompts: the task by :data:`TRAIN_MIX`, then evenly."""
    train = assignment()["train"]
    prompts = [
        [prompt for combination in train[task] for prompt in combination.prompts]
        for task in TRAIN_MIX
    ]
    tasks = rng.choice(len(TRAIN_MIX), size=count, p=list(TRAIN_MIX.values()))
    uniform = rng.random(count)
    return [
        prompts[task][int(u * len(prompts[task]))]
        for task, u in zip(tasks.tolist(), uniform.tolist(), strict=True)
    ]


def overall_accuracy(correct: Sequence[bool], items: Sequence[Item]) -> float:
    """Return the unweighted mean over tasks of the share of correct items (as GenEval).

    Raises:
        ValueError: The lengths differ or nothing is given.
    """
    if len(correct) != len(items) or not items:
        raise ValueError(f"{len(correct)} verdicts for {len(items)} items; give one each.")
    by_task: dict[str, list[bool]] = {}
    for verdict, item in zip(correct, items, strict=True):
        by_task.setdefault(item.task, []).append(bool(verdict))
    return float(np.mean([np.mean(verdicts) for verdicts in by_task.values()]))
