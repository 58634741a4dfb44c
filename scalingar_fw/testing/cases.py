"""A case: everything that a component is shown in one run, as a handful of numbers.

Whatever a candidate sees at a step is a function of the case, its name (prompt, candidate) and the
step, never of its row. So the same case can be played with other neighbours, in another order or
with another future, and any difference is the component's. A case is plain data: the
counter-example of a failed check is one, written as JSON.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.noise import Prompt, uniforms
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals, compute_signals, guided_logits, sanitize
from scalingar_fw.decoding.state import Grid, Logits, Rows

#: Prompts that the embedded model reads as well, so that judges and rewards can be checked too.
PROMPTS = (
    Prompt("a red circle"),
    Prompt("a blue square"),
    Prompt("two green triangles"),
    Prompt("a circle left of a square"),
)

#: A row's name: (index into `PROMPTS`, candidate).
Name = tuple[int, int]

#: Quantities that estimators of this package record, and policies may be told to read.
RECORDED = ("token_confidence", "uncertainty", "block_stability", "self_certainty")

#: The confidence state itself, which is no extra.
STATE = ("confidence", "rebound", "intrinsic", "drift")

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@frozen
class Move:
    """After step `step` the live rows are those listed, in this order; a name twice is a fork.

    Names that are not live are skipped, and a prompt of which none is listed keeps its rows, so
    that every list means something. `proposed`: the rows move before `commit`, as a sampler's
    parents do; otherwise after the step, as a pruning does.
    """

    step: int
    rows: tuple[Name, ...]
    proposed: bool = False


@frozen
class Case:
    """One run, as data.

    `material`: bytes; the one that belongs to (prompt, candidate, step) says what kind of logits
    and confidence that row sees there. `turn`, `shuffle`: where and how a check intervenes.
    """

    rows: int = 2
    cols: int = 2
    vocab: int = 4
    prompts: int = 1
    n: int = 2
    seed: int = 0
    guidance: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    dtype: str = "float32"
    material: tuple[int, ...] = (0,)
    moves: tuple[Move, ...] = ()
    turn: int = 0
    shuffle: int = 0

    @property
    def grid(self) -> Grid:
        return Grid(self.rows, self.cols)

    @property
    def total(self) -> int:
        return self.rows * self.cols

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.guidance, self.temperature, self.top_k, self.top_p)

    def random(self, stream: int) -> np.random.Generator:
        """Numbers for a check's own choices (an order, a selection)."""
        return np.random.default_rng([self.shuffle, stream])

    def to_data(self) -> dict[str, Any]:
        return attrs.asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Case:
        moves = tuple(
            Move(m["step"], tuple((p, c) for p, c in m["rows"]), m["proposed"])
            for m in data["moves"]
        )
        return cls(**{**data, "moves": moves, "material": tuple(data["material"])})

    def __str__(self) -> str:
        return json.dumps(self.to_data())


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array(_mixed(key), dtype=np.uint64)))


def _mixed(key: Sequence[int]) -> list[int]:
    low = high = 0
    for k in key:
        low = (low * 1_000_003 + k + 1) % (1 << 64)
        high = (high * 998_244_353 + k + 7) % (1 << 64)
    return [low, high]


#: What a row of logits looks like, by `byte % 8`.
LOGIT_KINDS = ("uniform", "normal", "sharp", "one-hot", "ties", "huge", "near-ties", "masked")
#: How the unconditional branch relates to the conditional one, by `byte // 8 % 4`.
BRANCHES = ("apart", "equal", "opposite", "uniform")


def logits_row(kind: str, vocab: int, rng: np.random.Generator) -> np.ndarray:
    """`[V]` logits of a kind; "huge" is what float16 can just hold."""
    if kind == "uniform":
        return np.zeros(vocab)
    if kind == "one-hot":
        return np.where(np.arange(vocab) == rng.integers(vocab), 50.0, 0.0)
    if kind == "ties":
        return rng.integers(0, 2, vocab).astype(float)
    if kind == "huge":
        return rng.choice([-6e4, 0.0, 6e4], vocab)
    scale = {"normal": 2.0, "sharp": 8.0, "near-ties": 1e-6, "masked": 2.0}[kind]
    values: np.ndarray = rng.standard_normal(vocab) * scale
    return values


@functools.lru_cache(maxsize=65536)
def _row(byte: int, key: tuple[int, ...], vocab: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both branches' logits and the permitted tokens of one row at one step."""
    rng = _rng(*key)
    kind, branch = LOGIT_KINDS[byte % 8], BRANCHES[byte // 8 % 4]
    cond = logits_row(kind, vocab, rng)
    permitted = np.ones(vocab, dtype=bool)
    if kind == "masked":
        permitted = rng.random(vocab) < 0.6
        permitted[rng.integers(vocab)] = True
    if branch == "apart":
        uncond = logits_row(kind, vocab, rng)
    else:
        uncond = {"equal": cond, "opposite": -cond, "uniform": np.zeros(vocab)}[branch]
    if kind == "masked" and byte >= 128 and permitted.sum() > 1:  # a one-sided -inf
        cond = np.where(np.arange(vocab) == np.flatnonzero(permitted)[0], -math.inf, cond)
    return cond, uncond, permitted


#: What a row's confidence looks like, by `byte // 4 % 8`.
CONFIDENCE_KINDS = ("tied", "random", "falling", "binary", "rising", "log-prob", "steps", "crowd")


@functools.lru_cache(maxsize=65536)
def _confidence(byte: int, key: tuple[int, ...], at: float) -> tuple[float, float, float, float]:
    """C, R, I and D of one row, `at` the share of the steps that are done."""
    u = _rng(1, *key).random(5)
    kind = CONFIDENCE_KINDS[byte // 4 % 8]
    value = {
        "tied": 0.5,
        "random": u[0],
        "falling": (1.0 - at) * (0.5 + 0.5 * u[0]),
        "binary": float(u[0] < 0.5),
        "rising": at * (0.5 + 0.5 * u[0]),
        "log-prob": -700.0 * u[0],
        "steps": math.floor(4 * u[0]) / 4,
        "crowd": 0.5 + 1e-6 * u[0],
    }[kind]
    rebound = (0.0, u[1], 0.05, 1e6 * u[1])[byte % 4]
    return value, rebound, u[2] if byte % 3 else 1.0, u[3] if byte % 5 else 0.0


class World:
    """What a case shows to components.

    `subset`: the prompts that take part, by index into `PROMPTS`. `altered`: from the step after
    this one on, everything is different (a changed future). `extras`: names of further quantities
    in the confidence. `noise`: every row's number at every step, instead of keyed ones.
    """

    def __init__(
        self,
        case: Case,
        subset: Sequence[int] | None = None,
        altered: int | None = None,
        extras: Sequence[str] = (),
        noise: float | None = None,
    ) -> None:
        self.case, self.noise = case, noise
        self.subset = tuple(range(case.prompts)) if subset is None else tuple(subset)
        self.altered = case.total if altered is None else altered
        named = dict.fromkeys((*RECORDED, *extras))
        self.extras = tuple(name for name in named if name not in STATE)
        self.prompts = tuple(PROMPTS[i] for i in self.subset)
        self.seeds = (case.seed,) * len(self.subset)

    def start(self) -> Rows:
        """The rows of the first step: `n` for each prompt."""
        count = len(self.subset)
        return Rows.of(
            np.repeat(np.arange(count), self.case.n), np.tile(np.arange(self.case.n), count), count
        )

    def names(self, rows: Rows) -> list[Name]:
        pairs = zip(rows.prompt.tolist(), rows.candidate.tolist(), strict=True)
        return [(self.subset[p], c) for p, c in pairs]

    def context(self, rows: Rows) -> Context:
        case = self.case
        return Context(rows, case.grid, case.vocab, case.sampling, torch.device("cpu"))

    def step(self, rows: Rows, index: int, next_candidate: Sequence[int]) -> Step:
        noise = [self.noise] * len(rows)
        if self.noise is None:
            names = self.names(rows)
            noise = [_noise(self.case.seed, p, c, self.case.total)[index] for p, c in names]
        return Step(
            index=index,
            total=self.case.total,
            grid=self.case.grid,
            rows=rows,
            noise=torch.tensor(noise, dtype=torch.float64),
            prompts=self.prompts,
            seeds=self.seeds,
            next_candidate=tuple(next_candidate),
        )

    def _key(self, name: Name, index: int) -> tuple[int, tuple[int, ...]]:
        """The byte that belongs to a row at a step, and what its numbers are drawn from."""
        prompt, candidate = name
        material = self.case.material
        place = 7 * prompt + 3 * candidate + 5 * index + prompt * candidate + candidate * index
        byte = material[place % len(material)]
        salt = int(index > self.altered)
        if salt:
            byte = (byte + 37) % 256
        own = 0 if byte & 64 else candidate + 1  # siblings that see exactly the same
        return byte, (salt, byte, prompt, own, index)

    def logits(self, rows: Rows, index: int) -> Logits:
        """As the loop hands them on: rounded to the model's dtype, masked, floored, float32."""
        # Before the first token a prompt's candidates have read the same: their logits are equal.
        names = [(p, c if index else 0) for p, c in self.names(rows)]
        keyed = [self._key(name, index) for name in names]
        return _logits(tuple(keyed), self.case.vocab, self.case.dtype)

    def guided(self, rows: Rows, index: int) -> Tensor:
        logits = self.logits(rows, index)
        return guided_logits(logits, torch.full((len(rows),), self.case.guidance))

    def signals(self, rows: Rows, index: int, distribution: str) -> Signals:
        guided = self.guided(rows, index) if distribution == "guided" else None
        return compute_signals(self.logits(rows, index), guided)

    def confidence(self, rows: Rows, index: int) -> Confidence:
        at = index / max(1, self.case.total - 1)
        lines = []
        for name in self.names(rows):
            byte, key = self._key(name, index)
            further = _rng(2, *key).random(len(self.extras)).tolist()
            lines.append([*_confidence(byte, key, at), *further])
        columns = torch.tensor(lines, dtype=torch.float32).reshape(len(lines), -1).T.contiguous()
        value, rebound, intrinsic, drift, *more = columns.clone().unbind(0)
        named = {"rebound": rebound, "intrinsic": intrinsic, "drift": drift}
        return Confidence(value, {**named, **dict(zip(self.extras, more, strict=True))})

    def tokens(self, rows: Rows, index: int, permitted: Tensor | None) -> Tensor:
        """A permitted token of each row: what an estimator is told was chosen."""
        tokens = []
        for row, name in enumerate(self.names(rows)):
            byte, key = self._key(name, index)
            allowed: Any = range(self.case.vocab)
            if permitted is not None:
                allowed = permitted[row].nonzero()[:, 0].tolist()
            tokens.append(allowed[_mixed(key)[0] % len(allowed)])
        return torch.tensor(tokens, dtype=torch.int64)


@functools.lru_cache(maxsize=4096)
def _noise(seed: int, prompt: int, candidate: int, total: int) -> np.ndarray:
    return uniforms(seed, PROMPTS[prompt], candidate, total)


@functools.lru_cache(maxsize=8192)
def _stacked(
    keyed: tuple[tuple[int, tuple[int, ...]], ...], vocab: int, dtype: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    lines = [_row(byte, key, vocab) for byte, key in keyed]
    cond, uncond, permitted = (
        torch.from_numpy(np.array([line[i] for line in lines]).reshape(len(lines), vocab))
        for i in range(3)
    )
    half = DTYPES[dtype]
    clean, _ = sanitize(cond.to(half), uncond.to(half), permitted)
    return clean.cond, clean.uncond, clean.permitted


def _logits(keyed: tuple[tuple[int, tuple[int, ...]], ...], vocab: int, dtype: str) -> Logits:
    # Copies: a component that writes into its input must not spoil the next check.
    cond, uncond, permitted = _stacked(keyed, vocab, dtype)
    return Logits(cond.clone(), uncond.clone(), None if permitted is None else permitted.clone())
