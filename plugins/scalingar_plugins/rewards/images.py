"""Rewards that look at the pictures: an external scorer, and a benchmark's own judge (the oracle).

An external scorer is anything that can be called with prompts and images:

    def my_scorer(prompts: Sequence[str], images: np.ndarray) -> Sequence[float]: ...

`images [K, H, W, 3]` uint8; one number for each, higher is better.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

import numpy as np
from attrs import frozen

from scalingar_fw.benchmark import Item, judged_elsewhere, make_benchmark
from scalingar_fw.config.serialization import import_named
from scalingar_fw.decoding.components import Context, Pool, Reward
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ContractError, ScalingarError, shown
from scalingar_fw.registry import default_registry
from scalingar_fw.trust import check_module


@runtime_checkable
class ImageScorer(Protocol):
    """An image reward model (ImageReward, HPS, CLIP score, ...), as this framework calls it."""

    def __call__(self, prompts: Sequence[str], images: Array) -> Sequence[float]: ...


def load_scorer(path: str) -> ImageScorer:
    """The scorer at `module:attribute`, loaded once; a class is made without arguments."""
    # Outside the cache: what Python loaded is no licence for a file.
    check_module(path.partition(":")[0], path, "scorer", default_registry().modules)
    return _load_scorer(path)


@functools.cache
def _load_scorer(path: str) -> ImageScorer:
    if ":" not in path:
        raise _no_scorer(path, "it has no colon")
    try:
        found = import_named(path, "scorer", default_registry())
    except ScalingarError as error:
        raise _no_scorer(path, str(error)) from error
    if isinstance(found, type) and not any("__call__" in vars(c) for c in found.__mro__):
        raise _no_scorer(path, "its objects cannot be called")
    scorer = found() if isinstance(found, type) else found
    if not callable(scorer):
        raise ScalingarError(f"scorer={path!r} is a {type(scorer).__name__}, which is no function.")
    return cast(ImageScorer, scorer)


def _no_scorer(path: str, why: str) -> ScalingarError:
    return ScalingarError(
        f"scorer={path!r} could not be loaded ({why}): give module:attribute of a function "
        "scorer(prompts, images) or of a class of such."
    )


def checked(scores: Sequence[float] | Array, count: int, owner: str) -> Array:
    """`[count]` finite float64, or `ContractError`: a silent NaN would lose every comparison."""
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ContractError(
            f"{owner} returned {shown(scores)} for {count} candidates: it must give one finite "
            "number for each."
        )
    return values


@frozen
class ImageReward(Reward):
    """The score of an external image reward model, given prompts and images."""

    scorer: str = param("", "module:attribute of scorer(prompts, images) -> scores")

    def init(self, context: Context) -> None:
        self._load()

    def _load(self) -> ImageScorer:
        if not self.scorer:
            raise ScalingarError(
                "An external image reward needs its scorer: --set selector.reward.scorer="
                "module:function, which is called as function(prompts, images)."
            )
        return load_scorer(self.scorer)

    def score(self, pool: Pool) -> Array:
        images = pool.images()
        scores = self._load()([pool.prompt.label] * len(images), images)
        return checked(scores, len(images), f"scorer {self.scorer!r}")


@frozen
class OracleReward(Reward):
    """The benchmark's own judge: pass@N, the upper bound of every selector. Not a method."""

    oracle: ClassVar[bool] = True

    benchmark: str = param("shapes", "the benchmark whose judge scores the images")

    def init(self, context: Context) -> None:
        why = judged_elsewhere(make_benchmark(default_registry(), self.benchmark))
        if why:
            raise ScalingarError(f"An oracle needs a judge. {why}")

    def score(self, pool: Pool) -> Array:
        judge = make_benchmark(default_registry(), self.benchmark)
        item = Item(pool.prompt, task="", cluster="")
        scores = judge.score([item] * len(pool.candidates), pool.images())
        return checked(scores, len(pool.candidates), f"benchmark {self.benchmark!r}")
