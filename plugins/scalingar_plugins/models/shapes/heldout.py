"""Which combinations of words are held out of training: four Latin-square rules.

A *fact* is what a prompt says about one combination:

=========  ==========================================  ======  =====  ==========
kind       fact                                        all     test   validation
=========  ==========================================  ======  =====  ==========
colour     this shape in this colour                   120     36     24
beside     a shape in this colour, beside a shape      1320    264    132
axis       two shapes apart along this axis            132     32     22
count      this many of this shape in this colour      360     72     72
=========  ==========================================  ======  =====  ==========

Each rule adds up the indices of a fact's words modulo a number, so that every word loses the same
share of its partners, every word and every role stays trained, and whether a fact is held out can
be checked by hand. A fact is out in all orders, directions and constructions together: no training
prompt says it in any way. (Pictures may still show it where the prompt leaves it open, as "a red
thing" and "a circle" do: were a red circle absent from the pixels too, its tokens would never occur
and no discrete model could draw it.)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from scalingar_plugins.models.shapes.grammar import Spec
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES

Part = Literal["train", "validation", "test"]
Kind = Literal["colour", "beside", "axis", "count"]


@dataclass(frozen=True)
class Fact:
    """One combination of words; ``words`` is canonical, so equal facts are equal objects."""

    kind: Kind
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


# Per kind: the modulus, and the remainders that are held out for test and for validation.
_RULES: dict[Kind, tuple[int, frozenset[int], frozenset[int]]] = {
    "colour": (10, frozenset({0, 3, 6}), frozenset({1, 8})),
    "beside": (10, frozenset({0, 5}), frozenset({2})),
    "axis": (12, frozenset({0, 1, 2}), frozenset({3, 4})),
    "count": (5, frozenset({0}), frozenset({1})),
}


def _index(fact: Fact) -> int:
    if fact.kind == "colour":
        colour, shape = fact.words
        return COLOURS.index(colour) + 3 * SHAPES.index(shape)
    if fact.kind == "beside":
        colour, shape, other = fact.words
        return COLOURS.index(colour) + SHAPES.index(shape) + 3 * SHAPES.index(other)
    if fact.kind == "axis":
        shape, axis, other = fact.words
        return SHAPES.index(shape) + SHAPES.index(other) + 6 * (axis == "over")
    number, colour, shape = fact.words
    return COLOURS.index(colour) + SHAPES.index(shape) + 3 * int(number)


def part_of(fact: Fact) -> Part:
    """The part of the world that a fact belongs to."""
    modulus, test, validation = _RULES[fact.kind]
    remainder = _index(fact) % modulus
    return "test" if remainder in test else "validation" if remainder in validation else "train"


def _axis(first: str, second: str, relation: str) -> Fact:
    a, b = sorted((first, second), key=SHAPES.index)
    return Fact("axis", (a, "over" if relation in ("above", "below") else "by", b))


def facts(spec: Spec) -> frozenset[Fact]:
    """Every fact that a specification says, whatever the wording and the order."""
    said: set[Fact] = set()
    for each in spec.objects:
        if each.colour and each.shape:
            said.add(Fact("colour", (each.colour, each.shape)))
            number = spec.objects.count(each)
            if number > 1:
                said.add(Fact("count", (str(number), each.colour, each.shape)))
    for one, other in itertools.permutations(spec.objects, 2):
        if one.colour and one.shape and other.shape and one.shape != other.shape:
            said.add(Fact("beside", (one.colour, one.shape, other.shape)))
    if spec.relation is not None:
        first, second = (each.shape for each in spec.objects)
        if first and second:
            said.add(_axis(first, second, spec.relation))
    return frozenset(said)


def trained(spec: Spec) -> bool:
    """Whether training may ask for ``spec``: it says no held-out fact."""
    return all(part_of(fact) == "train" for fact in facts(spec))


def all_facts(kind: Kind) -> tuple[Fact, ...]:
    """Every fact of a kind, in a fixed order."""
    if kind == "colour":
        return tuple(Fact(kind, (c, s)) for s in SHAPES for c in COLOURS)
    if kind == "beside":
        return tuple(
            Fact(kind, (c, a, b)) for a, b in itertools.permutations(SHAPES, 2) for c in COLOURS
        )
    if kind == "axis":
        pairs = itertools.combinations(SHAPES, 2)
        return tuple(Fact(kind, (a, axis, b)) for a, b in pairs for axis in ("by", "over"))
    return tuple(Fact(kind, (str(n), c, s)) for n in (2, 3, 4) for s in SHAPES for c in COLOURS)
