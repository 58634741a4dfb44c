"""From names and settings to objects: everything that can be wrong is found here, before decoding."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import evolve, field, frozen

from scalingar_fw.config.device import dtype_name, resolve_device, resolve_dtype
from scalingar_fw.config.loader_options import resolve_options
from scalingar_fw.config.run_config import RunConfig, canonical, check_number, to_prompt
from scalingar_fw.config.serialization import build, describe, import_named
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.loop import check
from scalingar_fw.decoding.memory_budget import parse_bytes, passes_within, prompts_within
from scalingar_fw.decoding.noise import Prompt, check_seed
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import Registry, default_registry

#: Candidates and bytes of caches that one forward batch holds at most, unless `batch` says more.
#: Fixed numbers: the batch's shape must not depend on what else uses the machine.
BATCH_ROWS = 64
BATCH_BYTES = 4 << 30


@frozen(eq=False)
class Plan:
    """A run about to start: checked, loaded, resolved."""

    config: RunConfig
    model: ModelAdapter = field(repr=False)
    strategy: Strategy
    registry: Registry = field(repr=False)
    load_seconds: float = 0.0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return self.config.prompts


def prepare(
    prompts: Any,
    *,
    model: str | ModelAdapter = "shapes",
    strategy: str | Mapping[str, Any] | Strategy = "scalingar",
    n: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    settings: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    model_hash: str | None = None,
    batch: int | None = None,
    max_memory: str | int | None = None,
    passes: int | None = None,
    registry: Registry | None = None,
) -> Plan:
    """Resolve what `generate` was asked for (its docstring describes the arguments).

    The cheap checks come first: a typing error must not wait for a model to load.
    """
    registry = default_registry() if registry is None else registry
    wanted = _prompts(prompts)
    built: Strategy = build("strategy", strategy, registry)
    built = override(built, settings or {}, registry)
    n = built.default_n if n is None else n
    check_number("n", n)
    check_seed(seed)
    for what, value in (("batch", batch), ("passes", passes)):
        if value is not None:
            check_number(what, value)
    budget = None if max_memory is None else parse_bytes(max_memory)
    if budget is not None and passes is not None:
        raise ScalingarError("Give max_memory or passes, not both: passes follow from a budget.")
    chosen = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    given: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
    Sampling(**given)

    start = time.perf_counter()
    name, load = find_model(model, registry)
    options = resolve_options(name, load, options or {}) if callable(load) else options or {}
    adapter = load_adapter(name, load, device=device, dtype=dtype, weights=weights, options=options)
    seconds = time.perf_counter() - start
    fingerprint = identity(adapter, options)
    if model_hash is not None and model_hash != fingerprint:
        raise ScalingarError(
            f"model_hash: the configuration was made with weights {model_hash[:12]}..., but "
            f"{name!r} has {fingerprint[:12]}...: leave model_hash out to run with other weights."
        )
    sampling = evolve(adapter.preset, **given)
    check(adapter, sampling, wanted, n)
    if batch is None:
        batch = max(1, min(BATCH_ROWS // n, len(wanted)))
        if budget is None:
            batch = max(1, min(batch, BATCH_BYTES // max(1, n * adapter.row_bytes())))
        else:
            batch = prompts_within(adapter, built, n=n, prompts=batch, max_memory=budget)
    split = passes_within(
        adapter,
        built,
        n=n,
        prompts=min(batch, len(wanted)),
        max_memory=budget,
        passes=passes or 1,
    )
    for first in range(0, len(wanted), batch):
        if len(wanted) > batch:  # a word nobody knows in line 500 must not cost 499 images
            adapter.encode(wanted[first : first + batch])
    config = RunConfig(
        model=name,
        strategy=describe(built, registry, full=True),
        prompts=wanted,
        n=n,
        seed=seed,
        sampling=sampling,
        device=str(adapter.device),
        dtype=dtype_name(adapter.dtype),
        batch=batch,
        passes=len(split),
        options=options,
        weights=None if weights is None else str(Path(weights).resolve()),
        model_hash=fingerprint,
    )
    return Plan(config, adapter, built, registry, seconds)


def _prompts(prompts: Any) -> tuple[Prompt, ...]:
    if isinstance(prompts, (str, Prompt, Mapping)):
        return (to_prompt(prompts),)
    if not isinstance(prompts, Sequence) or not prompts:
        raise ScalingarError(
            f"prompt={prompts!r} must be text, or a list with at least one prompt."
        )
    return tuple(to_prompt(p) for p in prompts)


def load_model(
    model: str | ModelAdapter,
    registry: Registry,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[str, ModelAdapter]:
    """The adapter for a registered name, a `"module:load"` path, or an adapter itself; its name.

    A registered model is a function `load(*, device, dtype, weights=...)`; what else it takes are
    `options`. `dtype` is passed only where the user named one, or where the function has no
    default: "auto" is the model's choice.
    """
    name, load = find_model(model, registry)
    given = resolve_options(name, load, options or {}) if callable(load) else options or {}
    return name, load_adapter(
        name, load, device=device, dtype=dtype, weights=weights, options=given
    )


def find_model(model: str | ModelAdapter, registry: Registry) -> tuple[str, Any]:
    """A model's full name, and its loader or the adapter itself."""
    if not isinstance(model, str):
        return getattr(model, "name", type(model).__name__), model
    if ":" in model:
        return model, import_named(model)
    entry = registry.find("model", model)
    return entry.full_name, entry.load()


def load_adapter(
    name: str,
    load: Any,
    *,
    device: str | torch.device,
    dtype: str | torch.dtype,
    weights: str | Path | None,
    options: Mapping[str, Any],
) -> ModelAdapter:
    """Call a loader with options that `resolve_options` gave; an adapter is passed on, checked."""
    if not isinstance(load, type) and not callable(load):
        _ready(load, device, dtype, weights or options)
        return _checked(load, name)
    accepted = inspect.signature(load).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    given: dict[str, Any] = {"device": resolve_device(device), **options}
    wanted = resolve_dtype(dtype)
    if wanted is not None:
        given["dtype"] = wanted
    elif "dtype" in accepted and accepted["dtype"].default is inspect.Parameter.empty:
        given["dtype"] = "auto"
    if weights is not None:
        if "weights" not in accepted and not anything:
            raise ScalingarError(f"model {name!r} takes no weights: leave --weights out.")
        if not Path(weights).exists():
            raise ScalingarError(f"weights={str(weights)!r} does not exist.")
        given["weights"] = Path(weights)
    try:
        adapter = load(**given)
    except ScalingarError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ScalingarError(f"model {name!r} could not be loaded: {error}") from error
    except TypeError as error:
        if not (anything and options):  # then it is the loader's own mistake
            raise
        raise ScalingarError(f"model {name!r} could not be loaded: {error}") from error
    return _checked(adapter, name)


def identity(adapter: ModelAdapter, options: Mapping[str, Any]) -> str:
    """A hash of the weights and of what a loader's options change.

    An adapter with `settings` hashes what its options resolved to (see
    `ModelAdapter.fingerprint`), so that naming a folder differently changes nothing. Of another
    one nothing is known: all its options count.
    """
    fingerprint = adapter.fingerprint()
    if not options or hasattr(adapter, "settings"):
        return fingerprint
    return hashlib.sha256(canonical([fingerprint, options]).encode()).hexdigest()


def _ready(model: Any, device: Any, dtype: Any, more: Any) -> None:
    """An adapter is loaded already: what is asked for must be what it is."""
    same_device = str(device) in ("auto", str(getattr(model, "device", device)))
    wanted = resolve_dtype(dtype)
    if not same_device or wanted not in (None, getattr(model, "dtype", wanted)) or more:
        raise ScalingarError(
            f"model={model!r} is loaded already: choose device, dtype, weights and options when "
            "making it."
        )


def _checked(adapter: Any, name: str) -> ModelAdapter:
    wanted = [a for a in dir(ModelAdapter) if not a.startswith("_")]
    wanted += list(ModelAdapter.__annotations__)
    missing = [a for a in wanted if not hasattr(adapter, a)]
    if missing:
        raise ScalingarError(
            f"model {name!r} gave a {type(adapter).__name__}, which is no ModelAdapter: it lacks "
            f"{', '.join(sorted(set(missing)))}."
        )
    return adapter  # type: ignore[no-any-return]


def single(config: RunConfig, prompt: int) -> RunConfig:
    """The part of a run's configuration that belongs to one of its prompts."""
    return attrs.evolve(config, prompts=(config.prompts[prompt],))
