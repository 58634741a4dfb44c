"""Fixed items: what the model is measured on.

* ``seen``: combinations that training shows; only the noise is new.
* ``validation``, ``test``: combinations held out of training (:mod:`heldout`), GenEval's six tasks.
  ``single_object`` has nothing to hold out: twelve shapes, all trained.
* ``beyond``: constructions that training never shows, of words and facts that it does.
* ``instructions``: the miniature of TIIF-Bench: eight kinds, basic and advanced, each in a short
  and a long wording, on facts held out for test.

Items are drawn by content hashes, so they are the same on every machine and for every version of
numpy.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scalingar_plugins.models.shapes.grammar import ObjectSpec, Spec, caption, parse
from scalingar_plugins.models.shapes.heldout import Fact, Part, all_facts, facts, part_of, trained
from scalingar_plugins.models.shapes.words import COLOURS, CONVERSE, RELATIONS, SHAPES

TASKS: tuple[str, ...] = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
)
BEYOND: tuple[str, ...] = ("four_object", "relation_negation", "relation_same")
SPLITS: tuple[str, ...] = ("seen", "validation", "test", "beyond")
INSTRUCTIONS: dict[str, str] = {
    "attribute": "basic",
    "relation": "basic",
    "count": "basic",
    "negation": "basic",
    "attribute_attribute": "advanced",
    "attribute_relation": "advanced",
    "attribute_count": "advanced",
    "attribute_negation": "advanced",
}
#: Items per task.
PER_TASK: dict[str, int] = {"seen": 60, "validation": 60, "test": 100, "beyond": 60}
PER_KIND = 40  #: items per kind of ``instructions`` and wording


@dataclass(frozen=True)
class Item:
    """One entry of a split.

    Attributes:
        prompt: The text given to the model.
        task: One of :data:`TASKS`, :data:`BEYOND`, or :data:`INSTRUCTIONS` with ``/short``, ``/long``.
        combination: Canonical content, the cluster of confidence intervals: every wording and order
            of one held-out fact.
        seed_index: Number of this item within its split and combination, from 0.
        split: One of :data:`SPLITS`, or ``instructions``.
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _order(facts_: Iterable[Fact]) -> list[Fact]:
    return sorted(facts_, key=lambda fact: _digest(f"{fact.kind}:{fact}"))


def _shuffled(options: Sequence[str], key: str) -> list[str]:
    return sorted(options, key=lambda option: _digest(f"{key}:{option}"))


# The task that each kind of fact is asked for in.
_KIND_OF = {"two_object": "beside", "counting": "count", "colors": "colour", "position": "axis"}


def _only_new(spec: Spec, fact: Fact) -> bool:
    """Whether ``fact`` is all that ``spec`` says and training does not."""
    return all(f == fact or part_of(f) == "train" for f in facts(spec))


def _wordings(task: str, fact: Fact) -> list[Spec]:
    """Every way in which ``task`` can ask for ``fact`` without saying another new one."""
    words = fact.words
    specs: list[Spec] = []
    if task == "colors":
        specs = [Spec((ObjectSpec(words[1], words[0]),))]
    elif task == "counting":
        specs = [Spec((ObjectSpec(words[2], words[1]),) * int(words[0]))]
    elif task == "two_object":
        one, other = ObjectSpec(words[1], words[0]), ObjectSpec(words[2])
        specs = [Spec((one, other)), Spec((other, one))]
    elif task == "color_attr":
        for colour in COLOURS:
            one, other = ObjectSpec(words[1], words[0]), ObjectSpec(words[2], colour)
            specs += [Spec((one, other)), Spec((other, one))] if colour != words[0] else []
    else:
        relations = ("left of", "right of") if words[1] == "by" else ("above", "below")
        for relation in relations:
            one, other = ObjectSpec(words[0]), ObjectSpec(words[2])
            specs += [Spec((one, other), relation), Spec((other, one), CONVERSE[relation])]
    return [spec for spec in specs if _only_new(spec, fact)]


def _facts_for(task: str, part: Part) -> list[tuple[Fact, list[Spec]]]:
    """The facts of a task in one part of the world, each with its wordings, in hash order."""
    kind = "beside" if task == "color_attr" else _KIND_OF[task]
    chosen = [fact for fact in all_facts(kind) if part_of(fact) == part]  # type: ignore[arg-type]
    pairs = ((fact, _wordings(task, fact)) for fact in _order(chosen))
    return [(fact, specs) for fact, specs in pairs if specs]


def _spread(task: str, split: str, part: Part, size: int) -> list[Item]:
    """``size`` items over a task's facts as evenly as possible, alternating the wordings."""
    if task == "single_object":
        options = [(shape, [Spec((ObjectSpec(shape),))]) for shape in SHAPES]
    else:
        options = [(str(fact), specs) for fact, specs in _facts_for(task, part)]
    items = []
    for index in range(size):
        name, specs = options[index % len(options)]
        repeat = index // len(options)
        ways = _shuffled([caption(spec) for spec in specs], f"{split}:{task}:{name}")
        items.append(Item(ways[repeat % len(ways)], task, name, repeat, split))
    return items


def _trained_pair(key: str) -> tuple[str, str]:
    shapes = _shuffled(SHAPES, key)
    return shapes[0], shapes[1]


def _beyond_spec(kind: str, key: str) -> Spec:
    (relation,) = _shuffled(RELATIONS, key)[:1]
    if kind == "four_object":
        return Spec(tuple(ObjectSpec(shape) for shape in _shuffled(SHAPES, key)[:4]))
    pair = tuple(ObjectSpec(shape) for shape in _trained_pair(key))
    if kind == "relation_negation":
        (absent,) = _shuffled(COLOURS, key)[:1]
        return Spec(pair, relation, absent=absent)
    return Spec(pair, relation, same_colour=True)


def _beyond() -> list[Item]:
    items: list[Item] = []
    for kind in BEYOND:
        seen: set[str] = set()
        for attempt in itertools.count():
            spec = _beyond_spec(kind, f"{kind}:{attempt}")
            prompt = caption(spec)
            if trained(spec) and prompt not in seen:
                seen.add(prompt)
                items.append(Item(prompt, kind, prompt, 0, "beyond"))
            if len(seen) == PER_TASK["beyond"]:
                break
    return items


def _instruction_spec(kind: str, key: str) -> tuple[Fact, Spec]:
    """A specification of one kind and the one held-out fact that it says, both drawn by ``key``."""
    task = {
        "attribute": "colors",
        "relation": "position",
        "count": "counting",
        "negation": "two_object",
        "attribute_attribute": "color_attr",
        "attribute_relation": "position",
        "attribute_count": "two_object",
        "attribute_negation": "colors",
    }[kind]
    options = _facts_for(task, "test")
    fact, specs = min(options, key=lambda option: _digest(f"{key}:{option[0]}"))
    spec = min(specs, key=lambda each: _digest(f"{key}:{caption(each)}"))
    colours = _shuffled(COLOURS, key)
    objects = spec.objects
    if kind == "attribute_relation":
        objects = tuple(ObjectSpec(o.shape, c) for o, c in zip(objects, colours, strict=False))
    elif kind == "attribute_count":
        objects = tuple(each for o in objects for each in ((o, o) if o.colour else (o,)))
    elif kind == "attribute_negation":
        other = _shuffled([s for s in SHAPES if s != objects[0].shape], key)[0]
        objects = (*objects, ObjectSpec(other))
    absent = colours[0] if kind in ("negation", "attribute_negation") else None
    return fact, Spec(objects, spec.relation, absent=absent)


def _sayable(spec: Spec, fact: Fact) -> bool:
    named = {o.colour for o in spec.objects if o.colour} | {o.shape for o in spec.objects}
    return spec.absent not in named and _only_new(spec, fact)


@lru_cache(maxsize=1)
def instruction_items() -> tuple[Item, ...]:
    """The items of ``instructions``: each short prompt has its long twin, one cluster together."""
    items: list[Item] = []
    for kind in INSTRUCTIONS:
        found: list[tuple[Spec, str]] = []
        for attempt in itertools.count():
            fact, spec = _instruction_spec(kind, f"{kind}:{attempt}")
            if _sayable(spec, fact) and caption(spec) not in {caption(s) for s, _ in found}:
                found.append((spec, f"{kind}: {fact}"))
            if len(found) == PER_KIND or attempt > 50 * PER_KIND:
                break
        for wording in ("short", "long"):
            counts: dict[str, int] = {}
            for spec, name in found:
                number = counts[name] = counts.get(name, -1) + 1
                text = caption(spec, long=wording == "long")
                items.append(Item(text, f"{kind}/{wording}", name, number, "instructions"))
    return tuple(items)


@lru_cache(maxsize=4)
def split_items(split: str) -> tuple[Item, ...]:
    """Return the fixed items of a split: :data:`PER_TASK` for each task.

    Raises:
        ValueError: ``split`` is not one of :data:`SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {', '.join(SPLITS)}.")
    if split == "beyond":
        return tuple(_beyond())
    part: Part = "train" if split == "seen" else "test" if split == "test" else "validation"
    size = PER_TASK[split]
    return tuple(item for task in TASKS for item in _spread(task, split, part, size))


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
