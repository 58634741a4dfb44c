"""What a prompt asks for, and its two wordings: specifications to text and back.

===================  =================================  ============================================
construction         short                              long
===================  =================================  ============================================
one object           a red circle                       a picture with a circle that is red
any shape            a red thing                        a picture with a thing that is red
several              a red circle and a square          a picture with a circle that is red and a
                                                        square
count                three red rings                    a picture with three rings that are red
relation             a red circle left of a square      a picture with a circle that is red left of
                                                        a square
forbidden word       a circle and a square and no red   a picture with a circle and a square and no
                                                        red
one colour           a circle and a square of the       a picture with a circle and a square that
                     same colour                        are the same colour
===================  =================================  ============================================

"only" and "exactly" may open a short prompt; they change nothing, as a scene holds exactly the
objects that its prompt names. Commas are not read: "a ring, a cross and a circle" is three nouns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from scalingar_plugins.models.shapes.words import (
    COLOURS,
    COUNTS,
    PLURALS,
    RELATIONS,
    SHAPES,
    SINGULAR,
    THING,
    PromptError,
    article,
    normalise,
)

#: Objects that a scene holds at most.
MAX_OBJECTS = 4
_NUMBERS = {number: word for word, number in COUNTS.items()}


@dataclass(frozen=True)
class ObjectSpec:
    """One object that a scene must hold; None leaves its shape or its colour open."""

    shape: str | None
    colour: str | None = None

    @property
    def noun(self) -> str:
        """The word for its shape."""
        return self.shape or THING

    def __str__(self) -> str:
        return f"{self.colour} {self.noun}" if self.colour else self.noun


@dataclass(frozen=True)
class Spec:
    """What a scene must hold: exactly these objects.

    Attributes:
        objects: In the order of the prompt; equal objects stand together.
        relation: ``objects[0] relation objects[1]``, one of :data:`words.RELATIONS`.
        same_colour: All objects have one colour.
        absent: A colour or a shape that no object may have.
    """

    objects: tuple[ObjectSpec, ...]
    relation: str | None = None
    same_colour: bool = False
    absent: str | None = None


def _groups(objects: Sequence[ObjectSpec]) -> list[tuple[ObjectSpec, int]]:
    groups: list[tuple[ObjectSpec, int]] = []
    for each in objects:
        if groups and groups[-1][0] == each:
            groups[-1] = (each, groups[-1][1] + 1)
        else:
            groups.append((each, 1))
    return groups


def _noun(thing: ObjectSpec, count: int, long: bool) -> str:
    if count == 1:
        if long and thing.colour:
            return f"{article(thing.noun)} that is {thing.colour}"
        return article(str(thing))
    plural = PLURALS[thing.noun]
    if long and thing.colour:
        return f"{_NUMBERS[count]} {plural} that are {thing.colour}"
    return " ".join(filter(None, (_NUMBERS[count], thing.colour, plural)))


def caption(spec: Spec, long: bool = False) -> str:
    """The text of a specification, in its short or its long wording; :func:`parse` reads both."""
    if spec.relation is not None:
        first, second = (_noun(o, 1, long) for o in spec.objects)
        text = f"{first} {spec.relation} {second}"
    else:
        # Equal single objects are a count, so groups never repeat.
        text = " and ".join(_noun(thing, count, long) for thing, count in _groups(spec.objects))
    if spec.same_colour:
        text += " that are the same colour" if long else " of the same colour"
    if spec.absent is not None:
        text += f" and no {spec.absent}"
    return f"a picture with {text}" if long else text


class _Reader:
    """A prompt's words, consumed from the front."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.words = normalise(prompt)

    def accept(self, *words: str) -> bool:
        """Consume ``words`` if they come next."""
        if tuple(self.words[: len(words)]) != words:
            return False
        del self.words[: len(words)]
        return True

    def fail(self, why: str) -> PromptError:
        return PromptError(self.prompt, why)

    def noun(self) -> tuple[ObjectSpec, int]:
        """One noun phrase: the object and how many of it."""
        if not self.words:
            raise self.fail("an object is missing")
        first, count = self.words[0], 1
        if first in COUNTS:
            count = COUNTS[self.words.pop(0)]
        elif first in ("a", "an"):
            self.words.pop(0)
        else:
            raise self.fail(f"expected 'a', 'an' or a number before {first!r}")
        colour = self.words.pop(0) if self.words and self.words[0] in COLOURS else None
        if not self.words:
            raise self.fail("a shape is missing")
        noun = self.words.pop(0)
        shape = noun if count == 1 else SINGULAR.get(noun, "")
        if shape not in SHAPES and shape != THING:
            raise self.fail(f"{noun!r} does not fit after {first!r}")
        verb = "is" if count == 1 else "are"
        if self.words[:2] == ["that", verb] and len(self.words) > 2 and self.words[2] in COLOURS:
            if colour is not None:
                raise self.fail(f"the {shape} has two colours")
            colour = self.words[2]
            del self.words[:3]
        return ObjectSpec(None if shape == THING else shape, colour), count

    def relation(self) -> str | None:
        for relation in RELATIONS:
            if self.accept(*relation.split()):
                return relation
        if self.words and self.words[0] in ("left", "right"):
            raise self.fail(f"'of' is missing after {self.words[0]!r}")
        return None

    def absent(self) -> str | None:
        if not (self.accept("and", "no") or self.accept("no")):
            return None
        known = (*COLOURS, *SHAPES, *(PLURALS[shape] for shape in SHAPES))
        if not self.words or self.words[0] not in known:
            raise self.fail("after 'no' comes a colour or a shape")
        word = self.words.pop(0)
        return SINGULAR.get(word, word)


@lru_cache(maxsize=65536)
def parse(prompt: str) -> Spec:
    """Read a prompt into the specification that the judge checks.

    Raises:
        UnknownWordError: A word is not in the vocabulary.
        PromptError: The words do not describe a scene of one to four objects.
    """
    read = _Reader(prompt)
    if not (read.accept("only") or read.accept("exactly")):
        read.accept("a", "picture", "with")
    first, count = read.noun()
    objects = [first] * count
    relation = read.relation()
    if relation is not None:
        second, second_count = read.noun()
        if count + second_count != 2:
            raise read.fail("a relation joins two single objects")
        objects.append(second)
    same, absent = False, None
    while read.words:
        if read.accept("of", "the", "same", "colour") or read.accept(
            "that", "are", "the", "same", "colour"
        ):
            same = True
        elif (word := read.absent()) is not None:
            absent = word
            break
        elif relation is None and not same:
            # Commas are gone by now, so "a ring, a cross and a circle" reads like three "and"s.
            read.accept("and")
            following, count = read.noun()
            objects += [following] * count
        else:
            break
    if read.words:
        raise read.fail(f"{' '.join(read.words)!r} is left over")
    if len(objects) > MAX_OBJECTS:
        raise read.fail(f"a scene holds at most {MAX_OBJECTS} objects, not {len(objects)}")
    if same and len(objects) < 2:
        raise read.fail("one object cannot be of the same colour")
    spec = Spec(tuple(objects), relation, same, absent)
    _possible(spec, read)
    return spec


def _possible(spec: Spec, read: _Reader) -> None:
    named = {o.colour for o in spec.objects if o.colour}
    if spec.same_colour and len(named) > 1:
        raise read.fail("it asks for the same colour and names two")
    if spec.absent is not None and spec.absent in named | {o.shape for o in spec.objects}:
        raise read.fail(f"it asks for {spec.absent!r} and forbids it")
