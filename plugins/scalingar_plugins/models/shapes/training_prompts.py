"""Training prompts: drawn from the grammar at random, held-out facts refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scalingar_plugins.models.shapes.grammar import ObjectSpec, Spec, caption
from scalingar_plugins.models.shapes.heldout import trained
from scalingar_plugins.models.shapes.words import COLOURS, RELATIONS, SHAPES

#: The share of training scenes per construction. What is learnt late (relations, then the binding
#: of colours to objects) is shown more often; single objects are learnt from everything else.
MIX: dict[str, float] = {
    "single": 0.03,
    "colour": 0.12,
    "pair": 0.06,
    "half_attributed": 0.10,
    "attributed": 0.18,
    "count": 0.05,
    "coloured_count": 0.12,
    "relation": 0.24,
    "triple": 0.05,
    "same_colour": 0.05,
}
LONG = 0.2  #: share of prompts in the long wording
ONLY = 0.03  #: share of short prompts that open with "only" or "exactly"
GENERIC = 0.15  #: share of coloured objects whose shape is left open: "a red thing"
NEGATED = 0.06  #: share of prompts without a relation that forbid a word

Rng = np.random.Generator


def _shape(rng: Rng) -> str:
    return SHAPES[int(rng.integers(len(SHAPES)))]


def _colour(rng: Rng) -> str:
    return COLOURS[int(rng.integers(len(COLOURS)))]


def _shapes(number: int, rng: Rng) -> list[str]:
    return [SHAPES[i] for i in rng.choice(len(SHAPES), number, replace=False).tolist()]


def _objects(number: int, share: float, rng: Rng) -> tuple[ObjectSpec, ...]:
    """Different shapes, each named with a colour in ``share`` of the cases."""
    return tuple(
        ObjectSpec(shape, _colour(rng) if rng.random() < share else None)
        for shape in _shapes(number, rng)
    )


def _half(rng: Rng) -> Spec:
    first, second = _shapes(2, rng)
    pair = (ObjectSpec(first, _colour(rng)), ObjectSpec(second))
    return Spec(pair if rng.random() < 0.5 else pair[::-1])


def _relation(rng: Rng) -> Spec:
    relation = RELATIONS[int(rng.integers(len(RELATIONS)))]
    return Spec(_objects(2, (0.0, 0.5, 1.0)[int(rng.integers(3))], rng), relation)


def _several(rng: Rng) -> Spec:
    """Three objects: all different, or two of a kind and one."""
    if rng.random() < 0.6:
        return Spec(_objects(3, 0.3, rng))
    twice, once = _objects(2, 0.3, rng)
    objects = (twice, twice, once)
    return Spec(objects if rng.random() < 0.5 else objects[::-1])


def _same(rng: Rng) -> Spec:
    number = 2 if rng.random() < 0.7 else 3
    return Spec(_objects(number, 0.0, rng), same_colour=True)


_DRAW: dict[str, Callable[[Rng], Spec]] = {
    "single": lambda rng: Spec((ObjectSpec(_shape(rng)),)),
    "colour": lambda rng: Spec((ObjectSpec(_shape(rng), _colour(rng)),)),
    "pair": lambda rng: Spec(_objects(2, 0.0, rng)),
    "half_attributed": _half,
    "attributed": lambda rng: Spec(_objects(2, 1.0, rng)),
    "count": lambda rng: Spec((ObjectSpec(_shape(rng)),) * int(rng.integers(2, 5))),
    "coloured_count": lambda rng: Spec(
        (ObjectSpec(_shape(rng), _colour(rng)),) * int(rng.integers(2, 5))
    ),
    "relation": _relation,
    "triple": _several,
    "same_colour": _same,
}


def _forbid(spec: Spec, rng: Rng) -> Spec:
    """Forbid a colour (where some object may be in any) or a shape that is not asked for."""
    named = {o.colour for o in spec.objects} | {o.shape for o in spec.objects}
    open_colour = any(o.colour is None for o in spec.objects)
    words = COLOURS if open_colour and rng.random() < 0.75 else SHAPES
    free = [word for word in words if word not in named]
    return replace(spec, absent=free[int(rng.integers(len(free)))])


def _generic(spec: Spec, rng: Rng) -> Spec:
    """Leave the shape of some coloured objects open, of equal ones alike.

    Otherwise a colour word is only ever read beside the shapes that it is trained with, and the
    model learns pairs. "A red thing" shows red in every shape and names no pair.
    """
    changed = {o: o for o in spec.objects}
    for each in changed:
        if each.colour is not None and rng.random() < GENERIC:
            changed[each] = replace(each, shape=None)
    return replace(spec, objects=tuple(changed[o] for o in spec.objects))


def draw_spec(rng: Rng) -> Spec:
    """Draw one specification that training may ask for."""
    kinds, shares = list(MIX), np.cumsum(list(MIX.values()))
    kind = kinds[min(int(np.searchsorted(shares, rng.random() * shares[-1])), len(kinds) - 1)]
    while True:
        spec = _generic(_DRAW[kind](rng), rng)
        if trained(spec):
            break
    if spec.relation is None and not spec.same_colour and rng.random() < NEGATED:
        spec = _forbid(spec, rng)
    return spec


def minimal_pair(spec: Spec, rng: Rng) -> Spec | None:
    """A specification that differs from ``spec`` in one word or role, or None if there is none.

    A relation is turned round, two colours change places, else one colour word is replaced: the
    one bit in which the two prompts' pictures differ then stands in one batch.
    """
    objects = spec.objects
    if spec.relation is not None:
        # Two things of one colour have no roles to exchange.
        return replace(spec, objects=objects[::-1]) if objects[0] != objects[1] else None
    colours = [o.colour for o in objects]
    if len(objects) == 2 and colours[0] != colours[1] and spec.absent is None:
        swapped = (replace(objects[0], colour=colours[1]), replace(objects[1], colour=colours[0]))
        other = replace(spec, objects=swapped)
    elif len(set(objects)) == 1 and objects[0].colour is not None and spec.absent is None:
        other = replace(spec, objects=(replace(objects[0], colour=_colour(rng)),) * len(objects))
    else:
        return None
    return other if other != spec and trained(other) else None


def word(spec: Spec, rng: Rng) -> str:
    """A wording of ``spec`` as training draws them."""
    long = rng.random() < LONG and len(spec.objects) <= 3
    text = caption(spec, long=bool(long))
    if not long and rng.random() < ONLY:
        text = f"{'only' if rng.random() < 0.5 else 'exactly'} {text}"
    return text
