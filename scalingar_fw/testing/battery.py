"""Cases that every check tries before any other is looked for, however few examples were asked for.

Hypothesis finds what nobody thought of; these are what somebody did think of. Each is there for
what its comment says, and most have several prompts, since so much goes wrong between prompts.
"""

from __future__ import annotations

from scalingar_fw.testing.cases import Case, Move

#: A plain run: is there any error at all?
SMOKE = Case(rows=2, cols=3, vocab=7, prompts=2, n=3, guidance=2.0, material=(1, 42, 153, 90))

_MANY = tuple(range(1, 256, 37))  # all kinds of logits and confidences, in a run
_ALL = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3))

BATTERY = (
    # rows leave, change places, come back as forks; two prompts; distributions of all kinds
    Case(
        rows=3, cols=3, vocab=7, prompts=2, n=4, seed=1, guidance=2.0, material=_MANY,
        moves=(
            Move(1, ((1, 3), (0, 2), (1, 0), (0, 0), (1, 1))),
            Move(4, ((0, 2), (0, 2), (1, 1), (1, 3), (1, 1)), proposed=True),
        ),
        turn=4, shuffle=3,
    ),
    # ties everywhere: logits, confidences, siblings that see the same
    Case(
        rows=2, cols=4, vocab=5, prompts=3, n=3, seed=2**31 + 5, temperature=0.7, top_k=3,
        dtype="float16", material=(64, 68, 64, 192), turn=2,
    ),
    # confidences that fall, rise, and look like log-probabilities; a late pruning
    Case(
        rows=3, cols=3, vocab=9, prompts=2, n=4, seed=7, guidance=7.5, top_p=0.5,
        material=(9, 18, 20, 23), moves=(Move(6, _ALL[::2]),), turn=7, shuffle=11,
    ),
    # overflow of half precision, forbidden tokens, one branch at -inf
    Case(
        rows=2, cols=3, vocab=6, prompts=2, n=2, seed=3, guidance=2.0, dtype="bfloat16",
        material=(5, 135, 7, 143, 21), turn=3, shuffle=5,
    ),
    # distributions without entropy, almost no temperature
    Case(
        rows=1, cols=5, vocab=4, prompts=2, n=3, seed=0, temperature=1e-3, material=(3, 67, 2, 11),
        moves=(Move(2, ((0, 2), (0, 1), (1, 0))),), turn=1, shuffle=2,
    ),
    # one token to choose from; a single candidate
    Case(rows=2, cols=2, vocab=1, prompts=1, n=3, seed=5, material=(0, 3, 12)),
    Case(rows=1, cols=4, vocab=4, prompts=1, n=1, seed=6, guidance=0.0, material=(1, 6, 14)),
    # an image of one token: the first step is the last
    Case(rows=1, cols=1, vocab=5, prompts=2, n=2, seed=9, temperature=0.0, material=(1, 8)),
)  # fmt: skip

#: Long runs of many candidates with many tokens: what acts late, by place, or on a rare token.
LARGE = (
    Case(
        rows=6, cols=8, vocab=64, prompts=2, n=9, seed=12, guidance=2.0,
        material=(1, 8, 17, 1, 25, 10, 1, 49, 30), turn=35, shuffle=17,
    ),
)  # fmt: skip

__all__ = ["BATTERY", "LARGE", "SMOKE"]
