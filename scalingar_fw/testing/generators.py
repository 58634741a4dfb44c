"""Hypothesis strategies: what components meet in real runs, and what should break them.

    from hypothesis import given
    from scalingar_fw.testing import generators as gen

    @given(gen.logits(vocab_size=16))
    def test_mine(logits): ...

All shrink to something small: flat logits, one prompt, few candidates, no moves.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals, compute_signals, sanitize
from scalingar_fw.decoding.state import Logits, Rows
from scalingar_fw.testing.cases import (
    DTYPES,
    LOGIT_KINDS,
    PROMPTS,
    Case,
    Move,
    World,
    logits_row,
)
from scalingar_fw.testing.cases import _rng as keyed

#: Few of them degenerate: those cost examples and show little, but they must be there.
GRIDS = ((2, 2), (3, 3), (2, 4), (2, 3), (1, 5), (3, 2), (4, 2), (1, 3), (1, 2), (1, 1))
VOCABULARIES = (4, 7, 5, 3, 9, 6, 2, 1)

kinds = st.sampled_from(LOGIT_KINDS)
dtypes = st.sampled_from(sorted(DTYPES, reverse=True))
prompts = st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=3, unique=True)
samplings = st.builds(
    Sampling,
    guidance=st.sampled_from([1.0, 2.0, 0.0, 7.5]),
    temperature=st.sampled_from([1.0, 0.7, 1.3, 0.0, 1e-3]),
    top_k=st.sampled_from([0, 0, 3, 1]),
    top_p=st.sampled_from([1.0, 1.0, 0.5]),
)


@st.composite
def vectors(draw: Any, vocab_size: int | None = None) -> Tensor:
    """`[V]` float32 logits of one row: uniform, one-hot, ties, huge, ... without -inf."""
    vocab = draw(st.integers(1, 9)) if vocab_size is None else vocab_size
    kind, seed = draw(kinds), draw(st.integers(0, 999))
    return torch.tensor(logits_row(kind, vocab, keyed(3, seed)), dtype=torch.float32)


@st.composite
def logits(draw: Any, vocab_size: int | None = None, rows: int | None = None) -> Logits:
    """`[N, V]` logits of both branches as components get them.

    Any vocabulary from 1 on, rounded to a model's dtype, with forbidden tokens (-inf in both
    branches) and one-sided -inf already floored.
    """
    vocab = draw(st.integers(1, 9)) if vocab_size is None else vocab_size
    count = draw(st.integers(1, 5)) if rows is None else rows
    world = World(Case(vocab=vocab, n=count, material=draw(materials), dtype=draw(dtypes)))
    return world.logits(world.start(), 0)


@st.composite
def raw_logits(draw: Any, vocab_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Both branches of one row as a model gives them, `[1, V]`: half precision and -inf inside."""
    cond = draw(vectors(vocab_size))
    uncond = draw(vectors(len(cond)))
    dtype = DTYPES[draw(dtypes)]
    out = []
    for branch in (cond, uncond):
        forbidden = draw(st.lists(st.booleans(), min_size=len(cond), max_size=len(cond)))
        forbidden[0] = False
        out.append(branch.to(dtype).masked_fill(torch.tensor(forbidden), -torch.inf)[None])
    return out[0], out[1]


@st.composite
def signals(draw: Any, vocab_size: int | None = None, rows: int | None = None) -> Signals:
    """`Signals` of adversarial logits, `[N]` each."""
    return compute_signals(draw(logits(vocab_size, rows)))


@st.composite
def signal_streams(draw: Any, steps: int | None = None, rows: int | None = None) -> list[Signals]:
    """Consecutive steps of the same rows."""
    case = draw(cases(steps=steps, n=rows, prompts=1, moves=False))
    world = World(case)
    start = world.start()
    return [world.signals(start, t, "conditional") for t in range(case.total)]


@st.composite
def confidences(draw: Any, rows: int | None = None) -> Confidence:
    """`Confidence`: tied, falling, binary, log-probabilities, a crowd within 1e-6, ..."""
    count = draw(st.integers(1, 6)) if rows is None else rows
    world = World(Case(n=count, material=draw(materials)))
    return world.confidence(world.start(), 0)


@st.composite
def rows_of_prompts(draw: Any) -> Rows:
    """Live rows of several prompts, in any order, with gaps in their ids."""
    count = draw(st.integers(1, 3))
    names = draw(
        st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, 6)),
            min_size=1,
            max_size=8,
            unique=True,
        )
    )
    return Rows.of([p for p, _ in names], [c for _, c in names], count)


materials = st.binary(min_size=1, max_size=12).map(tuple)


@st.composite
def histories(draw: Any, steps: int, prompts: int = 1, n: int = 4) -> tuple[Move, ...]:
    """What becomes of the rows: prunings, reorderings, forks and resamplings, whole prompts too."""
    name = st.tuples(st.integers(0, prompts - 1), st.integers(0, n + 1))
    moves = draw(
        st.lists(
            st.builds(
                Move,
                step=st.integers(0, steps - 1),
                rows=st.lists(name, max_size=n + 2).map(tuple),
                proposed=st.booleans(),
            ),
            max_size=2,
            unique_by=lambda m: m.step,
        )
    )
    return tuple(sorted(moves, key=lambda m: m.step))


@st.composite
def cases(
    draw: Any,
    *,
    steps: int | None = None,
    n: int | None = None,
    prompts: int | None = None,
    moves: bool = True,
) -> Case:
    """A whole run: grid, vocabulary, prompts, candidates, sampling, streams and moves."""
    if steps is None:
        rows, cols = draw(st.sampled_from(GRIDS))
    else:
        rows, cols = 1, steps
    count = draw(st.integers(1, 3)) if prompts is None else prompts
    width = draw(st.integers(1, 4)) if n is None else n
    sampling = draw(samplings)
    return Case(
        rows=rows,
        cols=cols,
        vocab=draw(st.sampled_from(VOCABULARIES)),
        prompts=count,
        n=width,
        seed=draw(st.integers(0, 2**32)),
        guidance=sampling.guidance,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        dtype=draw(dtypes),
        material=draw(materials),
        moves=draw(histories(rows * cols, count, width)) if moves else (),
        turn=draw(st.integers(0, 8)),
        shuffle=draw(st.integers(0, 99)),
    )


__all__ = [
    "cases",
    "confidences",
    "dtypes",
    "histories",
    "kinds",
    "logits",
    "prompts",
    "raw_logits",
    "rows_of_prompts",
    "samplings",
    "sanitize",
    "signal_streams",
    "signals",
    "vectors",
]
