"""Recorded candidates of many prompts as dense arrays: what replay, tuning and autopsy read."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from attrs import evolve, field, frozen

from scalingar_fw.config.keys import to_prompt
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from torch import Tensor

#: What every decode records of a step's logits and of the chosen token.
LOGITS = ("entropy_nats", "entropy", "margin", "kl")
CHOSEN = ("log_prob_cond", "log_prob_uncond", "log_prob_guided")


class PoolLike(Protocol):
    """One prompt's candidates, as the experiments' store gives them."""

    @property
    def prompt(self) -> Any: ...
    @property
    def seed(self) -> int: ...
    @property
    def item(self) -> int: ...
    @property
    def task(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def trajectories(self) -> Sequence[Trajectory]: ...
    @property
    def scores(self) -> Any: ...


@frozen(eq=False)
class Candidates:
    """One prompt's complete candidates; `scores [n]`: 1 is correct, None where nobody judged."""

    prompt: Prompt
    trajectories: Sequence[Trajectory] = field(repr=False)
    seed: int = 0
    item: int = 0
    task: str = ""
    cluster: str = ""
    scores: Any = None


@frozen
class Asked:
    """Whose candidates some rows are; items that share a cluster are not independent."""

    prompt: Prompt
    seed: int
    item: int
    task: str
    cluster: str


@frozen(eq=False)
class Recording:
    """Complete candidates of P prompts, N in all, T tokens each; rows by prompt, then candidate.

    `prompt [N]`: place in `asked`; `candidate [N]`: id; `tokens [N, T]`; `signals`: name to
    `[N, T]` float32; `scores [N]` float64, NaN where nobody judged. `strategy`: what it was
    recorded under, None where that is not known any more; `sampling` likewise always is.
    """

    asked: tuple[Asked, ...] = field(repr=False)
    prompt: Array = field(repr=False)
    candidate: Array = field(repr=False)
    tokens: Array = field(repr=False)
    signals: Mapping[str, Array] = field(repr=False)
    scores: Array = field(repr=False)
    grid: Grid
    sampling: Sampling
    strategy: Strategy | None
    source: str = "the recording"

    @classmethod
    def of(
        cls,
        pools: Iterable[PoolLike],
        grid: Grid,
        sampling: Sampling,
        strategy: Strategy | None,
        source: str = "the recording",
    ) -> Recording:
        """From trajectories.

        Raises:
            ScalingarError: there are none, one was ended early or forked, or a signal is missing.
        """
        found = list(pools)
        flat = [t for pool in found for t in sorted(pool.trajectories, key=lambda t: t.candidate)]
        if not flat:
            raise ScalingarError(f"{source} holds no candidates: there is nothing to replay.")
        forks = sum(t.parent is not None for t in flat)
        check_complete(forks, sum(len(t) != grid.size for t in flat), len(flat), source)
        names = [s for s in flat[0].signals if all(s in t.signals for t in flat)]
        known_signals(names, source)
        counts = [len(pool.trajectories) for pool in found]
        return cls(
            asked=tuple(
                Asked(to_prompt(p.prompt), p.seed, p.item, p.task, p.cluster) for p in found
            ),
            prompt=np.repeat(np.arange(len(found)), counts),
            candidate=np.array([t.candidate for t in flat]),
            tokens=np.stack([t.tokens for t in flat]),
            signals={s: np.stack([t.signals[s] for t in flat]) for s in names},
            scores=np.concatenate([_scores(pool) for pool in found]),
            grid=grid,
            sampling=sampling,
            strategy=strategy,
            source=source,
        )

    def __len__(self) -> int:
        """P, the number of prompts."""
        return len(self.asked)

    @property
    def n(self) -> int:
        """The most candidates that a prompt has."""
        return int(np.bincount(self.prompt).max())

    @property
    def scored(self) -> bool:
        """Whether every candidate was judged."""
        return not bool(np.isnan(self.scores).any())

    @property
    def tasks(self) -> list[str]:
        return [a.task for a in self.asked]

    @property
    def clusters(self) -> list[str]:
        return [a.cluster for a in self.asked]

    @functools.cached_property
    def by_step(self) -> dict[str, Tensor]:
        """What estimators read, as `[T, N]`: a step of all candidates lies together."""
        import torch

        return {s: torch.from_numpy(self.signals[s]).t().contiguous() for s in (*LOGITS, *CHOSEN)}

    def rows_of(self, prompt: int) -> Array:
        """The rows of a prompt."""
        return np.flatnonzero(self.prompt == prompt)

    def first(self, n: int) -> Recording:
        """The first `n` candidates of each prompt: the same as if `n` had been decoded."""
        if not 1 <= n <= self.n:
            raise ScalingarError(
                f"n={n} must lie in [1, {self.n}]: {self.source} holds {self.n} candidates of a "
                "prompt, and replay invents none."
            )
        return self if n == self.n else self._take(np.flatnonzero(self.candidate < n), self.asked)

    def subset(self, prompts: Sequence[int]) -> Recording:
        """Some of the prompts, in the order of the recording."""
        kept = sorted(set(prompts))
        rows = np.flatnonzero(np.isin(self.prompt, kept))
        return self._take(rows, tuple(self.asked[p] for p in kept))

    def _take(self, rows: Array, asked: tuple[Asked, ...]) -> Recording:
        _, renumbered = np.unique(self.prompt[rows], return_inverse=True)
        return evolve(
            self,
            asked=asked,
            prompt=renumbered,
            candidate=self.candidate[rows],
            tokens=self.tokens[rows],
            signals={s: v[rows] for s, v in self.signals.items()},
            scores=self.scores[rows],
        )


def _scores(pool: PoolLike) -> Array:
    n = len(pool.trajectories)
    if pool.scores is None:
        return np.full(n, np.nan)
    order = np.argsort([t.candidate for t in pool.trajectories], kind="stable")
    scores: Array = np.asarray(pool.scores, dtype=np.float64)[order]
    return scores


def check_complete(forks: int, short: int, total: int, source: str) -> None:
    """Raise `ScalingarError` where candidates are forks or were ended early."""
    if forks:
        raise ScalingarError(
            f"{source} cannot be replayed: {forks} of its {total} candidates are forks, whose "
            "histories depend on one another. Record with `scalingar record`."
        )
    if short:
        raise ScalingarError(
            f"{source} cannot be replayed: {short} of its {total} candidates were ended early, "
            "so what they would have become is not known. Record complete ones with "
            "`scalingar record`."
        )


def known_signals(names: Iterable[str], source: str) -> None:
    """Raise `ScalingarError` where one is missing that every decode records."""
    missing = [s for s in (*LOGITS, *CHOSEN) if s not in names]
    if missing:
        raise ScalingarError(
            f"{source} lacks the signal {missing[0]!r}, which every decode records."
        )
