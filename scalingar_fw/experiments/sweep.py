"""A sweep: what is compared, from YAML or flags, and the units that it comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, field, frozen

from scalingar_fw.benchmark import Benchmark, Item, from_file, make_benchmark, scorer_of
from scalingar_fw.config.identity import RESULT_VERSION
from scalingar_fw.config.keys import read_argument
from scalingar_fw.config.loader_options import resolve_options
from scalingar_fw.config.run_config import describe_sampling
from scalingar_fw.config.serialization import describe, scalar
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.evaluate import REPLICA_STEP, in_turn
from scalingar_fw.experiments.store_writer import IMAGES
from scalingar_fw.experiments.unit import Unit, item_data
from scalingar_fw.experiments.worker import Facts
from scalingar_fw.files import absolute_weights
from scalingar_fw.generation.plan import find_model
from scalingar_fw.generation.request import GenerationRequest
from scalingar_fw.reading import load_yaml, read_text
from scalingar_fw.registry import Registry

#: Seeds are stored as int64, and replicas are added to them.
MAX_SEED = 2**62

_SAMPLING = rules(Sampling)
#: Keys that mean what they mean to `generate`, and are read as it reads them.
_REQUESTED = ("model", "weights", "device", "dtype", "options", *_SAMPLING)
_TEXTS = ("benchmark", "split")
_NUMBERS = {
    "limit": Rule("items of the split", ge=1, kind=int),
    "batch": Rule("prompts of a unit, decoded together", ge=1, kind=int),
    "threads": Rule("threads of a worker", ge=1, kind=int),
}
_LISTS = {
    "n": Rule("candidates per prompt", ge=1, kind=int),
    "seeds": Rule("keys all randomness", ge=0, le=MAX_SEED, kind=int),
}
#: Every key that a sweep's file may hold.
KEYS = (
    *_REQUESTED,
    *_TEXTS,
    *_NUMBERS,
    *_LISTS,
    "set",
    "benchmark_options",
    "strategies",
    "record",
    "images",
)
_ENTRY_KEYS = ("strategy", "name", "set", "n")


@frozen
class Shard:
    """One machine's part of a sweep, the `index`-th of `count` (from 1): which part says nothing
    about a result, so it is no part of the sweep."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "3/16"; `ScalingarError` for what is no part of a whole."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ScalingarError(
                f"shard={text!r} must be a part of a whole, from 1/16 to 16/16 for 16 machines."
            )
        return cls(int(found[1]), int(found[2]))


@frozen
class Entry:
    """A strategy of a sweep. `label`: what tables call it; `strategy`: as `describe(full=True)`
    gives it; `n`: its own numbers of candidates, in place of the sweep's."""

    label: str
    strategy: Mapping[str, Any] = field(repr=False)
    default_n: int = 8
    n: tuple[int, ...] = ()


@frozen
class Sweep:
    """What is asked for, checked and with every strategy spelt out.

    `split`, `limit`: items, taken in turn from each task (split.in_turn). `batch`: items of a unit.
    `sampling`: what differs from the model's preset. `record`: keep every step's signals. `images`:
    "none", "chosen" or "all" of the completed candidates'.
    """

    entries: tuple[Entry, ...]
    model: str = "shapes"
    weights: str | None = None
    options: Mapping[str, Any] = field(factory=dict)
    benchmark: str = "shapes"
    benchmark_options: Mapping[str, Any] = field(factory=dict)
    split: str = "test"
    limit: int | None = None
    n: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    sampling: Mapping[str, Any] = field(factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    batch: int = 8
    threads: int = 1
    record: bool = True
    images: str = "none"

    def to_data(self) -> dict[str, Any]:
        """Plain data with the keys of a sweep's file: what it means does not depend on presets or
        defaults that may change."""
        strategies = []
        for e in self.entries:
            entry: dict[str, Any] = {"name": e.label, "strategy": dict(e.strategy)}
            strategies.append({**entry, **({"n": list(e.n)} if e.n else {})})
        data = {
            "model": self.model,
            "weights": self.weights,
            "options": dict(self.options),
            "benchmark": self.benchmark,
            "benchmark_options": dict(self.benchmark_options),
            "split": self.split,
            "limit": self.limit,
            "n": list(self.n),
            "seeds": list(self.seeds),
            **self.sampling,
            "device": self.device,
            "dtype": self.dtype,
            "batch": self.batch,
            "threads": self.threads,
            "record": self.record,
            "images": self.images,
            "strategies": strategies,
        }
        return {k: v for k, v in data.items() if v not in (None, {}, [])}

    def to_yaml(self) -> str:
        body = yaml.safe_dump(self.to_data(), sort_keys=False, allow_unicode=True, width=100)
        return f"# To go on with this sweep: scalingar bench --out THIS_FOLDER\n{body}"

    def places(self, items: Sequence[Item]) -> list[int]:
        """Places of the items that are asked for, in the order in which units take them."""
        return in_turn(items, self.limit)

    def units(self, facts: Facts, benchmark: Benchmark, shard: Shard | None = None) -> list[Unit]:
        """Every unit once, ordered so that a sweep that is stopped has compared all strategies on
        what it has: by block, seed, n, and only then by strategy.

        Labels that mean the same strategy share their units. A `shard` is every so-manieth block
        with all of its strategies, n and seeds: shards share no unit, and together they are all.
        """
        items = benchmark.items(self.split)
        places = self.places(items)
        frame = self.frame(facts, benchmark)
        frame.pop("batch")  # each unit says which items it holds
        blocks = [places[i : i + self.batch] for i in range(0, len(places), self.batch)]
        if shard is not None:
            blocks = blocks[shard.index - 1 :: shard.count]
        found: dict[str, Unit] = {}
        for block in blocks:
            for seed in self.seeds:
                for n in sorted({n for entry in self.entries for n in self.n_of(entry)}):
                    for entry in self.entries:
                        if n not in self.n_of(entry):
                            continue
                        config = {
                            **frame,
                            "strategy": dict(entry.strategy),
                            "n": n,
                            "seed": seed,
                            "items": [item_data(place, items[place]) for place in block],
                        }
                        unit = Unit(entry.label, config)
                        found.setdefault(unit.key, unit)
        return list(found.values())

    def n_of(self, entry: Entry) -> tuple[int, ...]:
        """Numbers of candidates of a strategy: its own, the sweep's, or its default."""
        return entry.n or self.n or (entry.default_n,)

    def frame(self, facts: Facts, benchmark: Benchmark) -> dict[str, Any]:
        """What all units of a store have in common: cells that differ in it cannot be compared."""
        return {
            "version": RESULT_VERSION,
            "model": facts.model,
            "model_hash": facts.model_hash,
            "sampling": describe_sampling(Sampling(**{**facts.sampling, **self.sampling})),
            "device": facts.device,
            "dtype": facts.dtype,
            "threads": self.threads,
            "benchmark": benchmark.name,
            "scorer": scorer_of(benchmark),
            "split": self.split,
            "batch": self.batch,
            "record": self.record,
            "images": self.images,
        }


def numbers(value: Any, where: str, rule: Rule) -> tuple[int, ...]:
    """Whole numbers from one, a list, or text such as "0-4,7", each once.

    Raises:
        ScalingarError: it is none of these, or a number breaks its rule.
    """
    parts = value if isinstance(value, (list, tuple)) else [value]
    out: list[int] = []
    for part in parts:
        if isinstance(part, str):
            for word in part.split(","):
                bounds = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", word)
                if bounds is None:
                    raise ScalingarError(
                        f"{where}={value!r} must be whole numbers, such as 1,4,8 or 0-4."
                    )
                first, last = int(bounds[1]), int(bounds[2] or bounds[1])
                if last < first or last - first > 100_000:
                    raise ScalingarError(f"{where}={value!r}: {word.strip()} is no range.")
                out += range(first, last + 1)
        else:
            out.append(part)
    if not out:
        raise ScalingarError(f"{where} must hold at least one number.")
    out = [rule.convert(number) for number in out]
    for number in out:
        rule.check(where, number)
    return tuple(dict.fromkeys(out))


def read_sweep(path: Path) -> dict[str, Any]:
    """`parse_sweep` of a YAML file."""
    return parse_sweep(load_yaml(read_text(path), str(path)), str(path))


def parse_sweep(data: Any, where: str = "the sweep") -> dict[str, Any]:
    """Checked values by key from a sweep file's content; what is null is left out."""
    if not isinstance(data, Mapping):
        raise ScalingarError(f"{where} must hold keys and values, such as `strategies: [base]`.")
    out: dict[str, Any] = {}
    for key, value in data.items():
        if key not in KEYS:
            raise unknown_name(f"key in {where}:", str(key), KEYS)
        if value is None:
            continue
        name = f"{where}: {key}"
        if key in _REQUESTED:
            value = read_argument(key, value, name)
        elif key == "set":
            value = read_argument("settings", value, name)
        elif key in _TEXTS:
            if not isinstance(value, str):
                raise ScalingarError(f"{name}={value!r} must be text.")
        elif key in _NUMBERS:
            rule = _NUMBERS[key]
            value = rule.convert(scalar(value, rule) if isinstance(value, str) else value)
            rule.check(name, value)
        elif key in _LISTS:
            value = numbers(value, name, _LISTS[key])
        elif key == "benchmark_options":
            if not isinstance(value, Mapping):
                raise ScalingarError(f"{name} must map names to values.")
            value = {str(k): v for k, v in value.items()}
        elif key == "record":
            if not isinstance(value, bool):
                raise ScalingarError(f"{name}={value!r} must be true or false.")
        elif key == "images":
            if value not in IMAGES:
                raise unknown_name(f"{name}", str(value), IMAGES)
        elif isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
            raise ScalingarError(f"{name} must be a list with at least one strategy.")
        out[key] = value
    return out


def make_sweep(given: Mapping[str, Any], registry: Registry) -> Sweep:
    """A sweep from `parse_sweep`'s values: names are looked up, settings applied, labels given.

    Raises:
        ScalingarError: something is unknown, out of range, or named twice.
    """
    if "strategies" not in given:
        raise ScalingarError(
            "A sweep needs strategies: list them in the file (`strategies: [base, scalingar]`), or "
            "give --strategy."
        )
    fields = {k: v for k, v in given.items() if k in Sweep.__annotations__ and k != "sampling"}
    asked = {k: given[k] for k in _REQUESTED if k in given}
    request = GenerationRequest.of("", settings=given.get("set"), **asked)
    if request.weights is not None:  # paths become absolute: workers may run elsewhere
        fields["weights"] = absolute_weights(request.weights)
    if "benchmark" in fields:
        fields["benchmark"], fields["benchmark_options"] = from_file(
            fields["benchmark"], fields.get("benchmark_options")
        )
    name, load = find_model(request.model, registry)
    if callable(load):
        fields["options"] = resolve_options(name, load, request.options)
    sampling = {k: asked[k] for k in _SAMPLING if k in asked}
    entries = tuple(_entry(e, request, registry) for e in given["strategies"])
    labels = [e.label for e in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise ScalingarError(
                f"strategies: {label!r} is there twice: give one of them a `name:` of its own."
            )
    sweep = Sweep(entries=entries, sampling=sampling, **fields)
    benchmark = make_benchmark(registry, sweep.benchmark, sweep.benchmark_options)
    for item in benchmark.items(sweep.split):  # an unknown split is refused here
        if max(sweep.seeds) + REPLICA_STEP * item.replica >= 2**63:
            raise ScalingarError(
                f"seeds={max(sweep.seeds)} is too large: use one below {MAX_SEED}."
            )
    return sweep


def _entry(entry: Any, request: GenerationRequest, registry: Registry) -> Entry:
    """`base`, `{scalingar: {termination.quantile: 0.3}}`, or `{strategy, name, set, n}`; what it
    leaves out is the sweep's `request`."""
    if isinstance(entry, str):
        entry = {"strategy": entry}
    if not isinstance(entry, Mapping) or not entry:
        raise ScalingarError(f"strategies: {entry!r} must be a name, or a name with settings.")
    if "strategy" not in entry:
        if len(entry) != 1:
            raise ScalingarError(f"strategies: {dict(entry)!r} needs `strategy:`, its name.")
        ((name, settings),) = entry.items()
        entry = {"strategy": name, "set": settings or {}}
    for key in entry:
        if key not in _ENTRY_KEYS:
            raise unknown_name("key of a strategy in the sweep:", str(key), _ENTRY_KEYS)
    spec, own = entry["strategy"], entry.get("set") or {}
    if not isinstance(own, Mapping):
        raise ScalingarError(f"strategies: the settings of {spec!r} must map names to values.")
    if not isinstance(spec, (str, Mapping)):
        raise ScalingarError(f"strategies: {spec!r} must be a name or a described strategy.")
    settings = {**request.settings, **{str(k): v for k, v in own.items()}}
    named = spec if isinstance(spec, str) else str(spec.get("name", "custom"))
    try:
        strategy = evolve(request, strategy=spec, settings=settings).build_strategy(registry)
    except ScalingarError as error:
        raise ScalingarError(f"strategies: {named}: {error}") from error
    label = entry.get("name")
    if label is None:
        label = " ".join([named, *(f"{k}={v}" for k, v in settings.items())])
    if not isinstance(label, str) or not label.strip():
        raise ScalingarError(f"strategies: name={label!r} must be text.")
    n = () if entry.get("n") is None else numbers(entry["n"], f"{label}: n", _LISTS["n"])
    return Entry(label, describe(strategy, registry, full=True), strategy.default_n, n)
