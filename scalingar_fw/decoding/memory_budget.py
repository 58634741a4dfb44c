"""How many candidates fit a memory budget, and the arithmetic that a user sees when they do not.

Candidates whose strategy looks at each alone are decoded in passes, one after the other: noise is
keyed by candidate, so the passes give what one batch would (up to the rounding of matrix products,
which depends on a batch's shape). Candidates that a strategy compares must stay together.

The budget is for the candidates: caches, logits and the loop's working memory. The model's weights
come on top, and so do the pixels of the images that are decoded at the end.
"""

from __future__ import annotations

import re

import torch
from attrs import frozen

from scalingar_fw.decoding.components import ModelAdapter, MovesByPieces
from scalingar_fw.decoding.strategy import NeverTerminate, Strategy
from scalingar_fw.errors import ScalingarError

#: Working memory of a step for each entry of the vocabulary and row: log-probabilities of both
#: branches and their exponentials, guided and truncated logits (float32), the CDF (float64).
LOOP_BYTES_PER_ENTRY = 64
#: Token and noise buffers, 8 bytes each, for each row and step.
LOOP_BYTES_PER_TOKEN = 16

_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
}


def parse_bytes(text: str | int, what: str = "max_memory") -> int:
    """Bytes out of "8GiB", "500 MB", "2g" or a number.

    Raises:
        ScalingarError: anything else, or nothing at all.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", str(text))
        unit = found[2].lower() if found else "?"
        if found is None or (unit and unit not in _UNITS):
            raise ScalingarError(
                f"{what}={text!r} must be a size such as 8GiB, 500MB or a number of bytes."
            )
        size = int(float(found[1]) * _UNITS.get(unit, 1))
    if size < 1:
        raise ScalingarError(f"{what}={text!r} must be more than nothing.")
    return size


def show_bytes(size: float) -> str:
    """A size for people: "402.0 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def interacting(strategy: Strategy) -> str | None:
    """The part that compares candidates ("termination QuantileTermination"), or None."""
    for name in ("confidence", "guidance", "termination", "sampler"):
        part = strategy.parts[name]
        if part.scope != "row":
            return f"{name} {type(part).__name__}"
    return None


@frozen
class Cost:
    """Bytes of candidates decoded together.

    `row`: what the adapter says one candidate holds; `work`: the loop's share; `moves`: whether
    rows may leave or fork; `beside`: what a row needs besides while its cache grows or moves, None
    where a cache moves as a whole, so that the survivors' lie beside the old one.
    """

    row: int
    work: int
    moves: bool
    beside: int | None = None

    @classmethod
    def of(cls, model: ModelAdapter, strategy: Strategy) -> Cost:
        work = LOOP_BYTES_PER_ENTRY * model.vocab_size + LOOP_BYTES_PER_TOKEN * model.grid.size
        still = type(strategy.termination) is NeverTerminate
        moves = not still or strategy.sampler.scope != "row"
        beside = model.beside_bytes() if isinstance(model, MovesByPieces) else None
        return cls(model.row_bytes(), work, moves, beside)

    def bytes(self, candidates: int) -> int:
        """Peak of `candidates` of one prompt.

        Besides the candidates' own rows: the pieces in which caches move; or else the prompt's
        prefilled row while it is copied, or the survivors of a prune while the old cache exists.
        """
        if self.beside is not None:
            return candidates * (self.row + self.beside + self.work)
        return self._copies(candidates) * self.row + candidates * self.work

    def _copies(self, candidates: int) -> int:
        return 2 * candidates if self.moves else candidates + 1

    def most(self, budget: int) -> int:
        """The largest number of candidates of one prompt that fits (0 if none does)."""
        high = max(0, budget) // max(1, self.row + self.work)
        while high and self.bytes(high) > budget:
            # bytes() is linear: one step of this division lands within one of the answer.
            high = min(high - 1, int(high * budget / self.bytes(high)))
        while self.bytes(high + 1) <= budget:
            high += 1
        return high

    def arithmetic(self, candidates: int) -> str:
        """The sum as a sentence."""
        work = f"{candidates} x {show_bytes(self.work)} of working memory"
        total = show_bytes(self.bytes(candidates))
        if self.beside is not None:
            each = f"({show_bytes(self.row)} + {show_bytes(self.beside)} to grow and move)"
            return f"{candidates} caches x {each} + {work} = {total}"
        why = "copies of survivors included" if self.moves else "the prompt's own included"
        caches = f"{self._copies(candidates)} caches ({why}) x {show_bytes(self.row)}"
        return f"{caches} + {work} = {total}"


def passes_within(
    model: ModelAdapter,
    strategy: Strategy,
    *,
    n: int,
    prompts: int = 1,
    max_memory: int | None = None,
    passes: int = 1,
) -> list[tuple[int, int]]:
    """How to decode `n` candidates of each of `prompts` prompts: (first candidate, count) by pass.

    At least `passes` of them; one without a budget, or where everything fits. They are as equal as
    they can be.

    Raises:
        ScalingarError: a strategy that compares candidates does not fit, or not even one
            candidate does; with the sum and what to change.
    """
    partner = interacting(strategy)
    if passes > 1 and n > 1 and partner is not None:
        raise ScalingarError(
            f"passes={passes}: the {partner} of strategy {strategy.name!r} compares candidates, so "
            "they must be decoded together: use passes=1."
        )
    if max_memory is None:
        return _equal(n, passes)
    cost = Cost.of(model, strategy)
    fit = cost.most(max_memory // prompts)
    if fit >= n:
        return _equal(n, passes)
    budget = f"max_memory={show_bytes(max_memory)}"
    each = f"each of {prompts} prompts that share a batch needs " if prompts > 1 else ""
    if partner is not None:
        options = [f"at least {show_bytes(prompts * cost.bytes(n))} of memory"]
        if fit:
            options.insert(0, f"n <= {fit}")
        if prompts > 1:
            options.insert(0, "fewer prompts in a batch")
        raise ScalingarError(
            f"{n} candidates of {model.name!r} do not fit {budget}: {each}"
            f"{cost.arithmetic(n)}. The {partner} of strategy {strategy.name!r} compares "
            f"candidates, so they must be decoded together: use {', or '.join(options)}."
        )
    if fit < 1:
        raise ScalingarError(
            f"Not one candidate of {model.name!r} fits {budget}: {each}{cost.arithmetic(1)}. "
            "Use more memory, a smaller image, half precision or fewer prompts in a batch."
        )
    return _equal(n, max(passes, -(-n // fit)))


def _equal(n: int, passes: int) -> list[tuple[int, int]]:
    """`n` candidates in `passes` parts (never an empty one): (first, count) of each."""
    count = min(n, passes)
    bounds = [n * i // count for i in range(count + 1)]
    return [(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)]


def prompts_within(
    model: ModelAdapter, strategy: Strategy, *, n: int, prompts: int, max_memory: int
) -> int:
    """How many of `prompts` prompts, with `n` candidates each, may share a batch (at least 1)."""
    each = Cost.of(model, strategy).bytes(n)
    return max(1, min(prompts, max_memory // max(1, each)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: on a GPU torch says so by type, on a CPU in words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "not enough memory" in said or "can't allocate memory" in said or "out of memory" in said
    )


def out_of_memory(
    model: ModelAdapter, strategy: Strategy, *, n: int, prompts: int
) -> ScalingarError:
    """What to tell a user whose run did not fit after all, with the sum of its candidates."""
    cost = Cost.of(model, strategy)
    ways = ["--max-memory with less than what was free beside the weights"]
    if prompts > 1:
        ways.append("a smaller batch")
    if n > 1:
        ways.append("fewer candidates (-n)")
    if model.dtype is torch.float32:
        ways.append("half precision (--dtype bfloat16)")
    each = f", for each of {prompts} prompts in a batch" if prompts > 1 else ""
    return ScalingarError(
        f"{model.device} has not enough memory for {n} candidates of {model.name!r}: beside the "
        f"weights and the images at the end they take {cost.arithmetic(n)}{each}. "
        f"Use {', or '.join(ways)}."
    )
