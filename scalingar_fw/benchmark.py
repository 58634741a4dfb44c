"""A benchmark: prompts, a scorer and tags. A new one is a page that implements `Benchmark`.

Some benchmarks are judged by software (or people) elsewhere: they say so in `judged_elsewhere`,
lay images out as the official evaluator reads them, and read its results (`OfficialFiles`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from attrs import evolve, frozen

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError, unknown_name

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry


@frozen
class Item:
    """One entry of a split.

    `task`: overall accuracy is the unweighted mean over tasks. `cluster`: items that share it are
    not independent, and intervals count it as one. `replica`: distinguishes equal prompts; it
    is added to the run's seed, so that they are different draws. `held_out`: whether what the
    prompt asks for was kept from the model's training (True), was trained on (False), or nobody
    knows (None): comparisons show the two kinds apart, since a gain on the one says nothing of the
    other. No part of a unit's key.
    """

    prompt: Prompt
    task: str
    cluster: str
    replica: int = 0
    held_out: bool | None = None


@runtime_checkable
class Benchmark(Protocol):
    """Prompts and a scorer.

    Two attributes are optional, `judged_elsewhere` and `scorer` (see `JudgedElsewhere` and
    `HasScorer`), and so is a method, `controls` (see `Controls`).
    """

    name: str
    splits: Sequence[str]

    def items(self, split: str) -> Sequence[Item]:
        """The fixed items of a split; `ScalingarError` for an unknown one."""
        ...

    def score(self, items: Sequence[Item], images: Array) -> Sequence[float]:
        """A score in [0, 1] for each of `images [K, H, W, 3]` uint8 (1 is correct).

        NaN where nobody here can judge: the image waits for an official evaluator.
        """
        ...


@runtime_checkable
class JudgedElsewhere(Protocol):
    """A benchmark whose `score` cannot judge."""

    @property
    def judged_elsewhere(self) -> str:
        """Why, as a sentence with the way out; empty where it can after all."""
        ...


@runtime_checkable
class HasScorer(Protocol):
    """A benchmark whose judge is configurable."""

    @property
    def scorer(self) -> str:
        """What judges, as text that identifies it: part of a unit's key, so that scores of two
        judges are never mixed."""
        ...


@runtime_checkable
class Controls(Protocol):
    """What a benchmark may have beside `Benchmark`: crude numbers of an image to select by.

    A strategy whose gain a crude rule reaches as well ("the image with the fewest objects") knows
    nothing of the prompt. Comparisons hold every strategy against exact best-of-k by each of them.
    """

    def controls(self, items: Sequence[Item], images: Array) -> Mapping[str, Sequence[float]]:
        """By name a number for each of `images [K, H, W, 3]` uint8, higher is preferred: such as
        "fewest objects", minus the number of objects seen. Finite, and without looking at what the
        item asks for."""
        ...


def controls_of(benchmark: Benchmark, items: Sequence[Item], images: Array) -> dict[str, Array]:
    """The benchmark's controls for `images [K, ...]`, `[K]` each; empty where it has none.

    Raises:
        ScalingarError: one has another length or is not finite; names it.
    """
    if not isinstance(benchmark, Controls) or not len(images):
        return {}
    out = {}
    for name, values in benchmark.controls(items, images).items():
        found = np.asarray(values, dtype=np.float64)
        if found.shape != (len(images),) or not np.isfinite(found).all():
            raise ScalingarError(
                f"control {name!r} of benchmark {benchmark.name!r} has shape {found.shape} for "
                f"{len(images)} images, or is not finite: report this to its plugin's author."
            )
        out[name] = found
    return out


@frozen
class Sample:
    """One image of a run as an official evaluator sees it.

    `index`: of the item in its split. `number`: which of the item's `total` samples, from 0; a
    run has one for each seed.
    """

    index: int
    item: Item
    seed: int
    number: int = 0
    total: int = 1


@runtime_checkable
class OfficialFiles(Protocol):
    """What a benchmark with an official evaluator has beside `Benchmark`. Paths are relative to
    the exported folder, with `/` between their parts."""

    def place(self, split: str, sample: Sample, model: str) -> str:
        """Where the official evaluator looks for this image (a PNG)."""
        ...

    def companions(self, split: str, samples: Sequence[Sample], model: str) -> Mapping[str, str]:
        """Text files that it wants beside the images: path and content."""
        ...

    def instructions(self, folder: Path, model: str) -> str:
        """What to run next, for people."""
        ...

    def read_results(self, path: Path) -> Mapping[str, float]:
        """The evaluator's results: a score in [0, 1] by the place of the image that it judged.

        Raises:
            ScalingarError: no file of that kind; names the line and the field.
        """
        ...


def judged_elsewhere(benchmark: Benchmark) -> str:
    """Why `score` cannot judge, as a sentence with the way out; empty where it can."""
    return str(benchmark.judged_elsewhere or "") if isinstance(benchmark, JudgedElsewhere) else ""


def scorer_of(benchmark: Benchmark) -> str:
    """What judges, where a benchmark lets the user choose; else empty."""
    return str(benchmark.scorer) if isinstance(benchmark, HasScorer) else ""


#: Files that stand for a benchmark of their own: lists of prompts.
PROMPT_FILES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")


def from_file(name: str, options: Mapping[str, Any] | None = None) -> tuple[str, Mapping[str, Any]]:
    """`my.jsonl` as the benchmark `prompts` with its absolute path; any other name as it is."""
    given = dict(options or {})
    if Path(name).suffix.lower() not in PROMPT_FILES:
        return name, given
    if not Path(name).is_file():
        raise ScalingarError(f"The file of prompts {name!r} does not exist.")
    return "prompts", {**given, "file": str(Path(name).resolve())}


#: What a benchmark is, not how it is configured.
_FIXED = ("name", "splits")


def make_benchmark(
    registry: Registry, name: str, options: Mapping[str, Any] | None = None
) -> Benchmark:
    """A registered benchmark with its own options, such as where the official files are.

    Raises:
        ScalingarError: an unknown name or option, with the nearest one.
    """
    name, options = from_file(name, options)
    entry = registry.find("benchmark", name)
    cls, given = entry.load(), dict(options or {})
    # A plugin may register an object as well as a class; that one takes no options.
    whole = not callable(cls)
    accepted = [] if whole else [p for p in inspect.signature(cls).parameters if p not in _FIXED]
    for key in given:
        if key not in accepted:
            raise unknown_name(f"option of benchmark {entry.name!r}", key, accepted)
    try:
        made = cls if whole else cls(**given)
    except TypeError as error:  # a third party's class that cannot be made without arguments
        raise ScalingarError(
            f"benchmark {entry.full_name!r} could not be made ({error}): every option needs a "
            "default; report this to its plugin's author."
        ) from error
    if not isinstance(made, Benchmark):
        raise ScalingarError(
            f"benchmark {entry.full_name!r} lacks name, splits, items or score: report this to "
            "its plugin's author."
        )
    return made


def with_replicas(items: Sequence[Item]) -> list[Item]:
    """`items` with `replica` counting those of equal prompts, so that they are different draws."""
    seen: dict[Prompt, int] = {}
    out = []
    for item in items:
        out.append(evolve(item, replica=seen.get(item.prompt, 0)))
        seen[item.prompt] = seen.get(item.prompt, 0) + 1
    return out
