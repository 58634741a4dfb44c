"""From names and settings to objects: everything that can be wrong is found here, before decoding."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import field, frozen

from scalingar_fw.config.device import dtype_name, resolve_device, resolve_dtype
from scalingar_fw.config.identity import model_identity
from scalingar_fw.config.loader_options import resolve_options
from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.config.serialization import describe, import_named
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.loop import check
from scalingar_fw.decoding.memory_budget import passes_within, prompts_within
from scalingar_fw.decoding.noise import Prompt, seeds_apart
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ResultWarning, ScalingarError
from scalingar_fw.files import REPOSITORY, absolute_weights
from scalingar_fw.generation.request import GenerationRequest
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
    request: GenerationRequest,
    registry: Registry | None = None,
    before_load: Callable[[], None] = lambda: None,
) -> Plan:
    """Resolve a request: names to objects, None to numbers, prompts to batches.

    The cheap checks come first: a typing error must not wait for a model to load.

    Args:
        before_load: called when these checks are passed and the model is about to be loaded.

    Raises:
        ScalingarError: something is unknown, cannot be loaded, or does not fit together.
    """
    registry = default_registry() if registry is None else registry
    prompts = request.prompts
    strategy = request.build_strategy(registry)
    n = strategy.default_n if request.n is None else request.n

    start = time.perf_counter()
    name, load = find_model(request.model, registry)
    options = resolve_options(name, load, request.options) if callable(load) else request.options
    before_load()
    adapter = load_adapter(
        name,
        load,
        device=request.device,
        dtype=request.dtype,
        weights=request.weights,
        options=options,
    )
    seconds = time.perf_counter() - start
    fingerprint = model_identity(adapter, options)
    if request.model_hash is not None and request.model_hash != fingerprint:
        raise ScalingarError(
            f"model_hash: the configuration was made with weights {request.model_hash[:12]}..., "
            f"but {name!r} has {fingerprint[:12]}...: leave model_hash out to run with other "
            "weights."
        )
    sampling = request.sampling(adapter.preset)
    check(adapter, sampling, prompts, n)
    seeds_apart(request.seed, prompts)
    n = _worth_decoding(strategy, sampling, n)
    batch, passes = _split(request, adapter, strategy, n)
    for first in range(0, len(prompts), batch):
        if len(prompts) > batch:  # a word nobody knows in line 500 must not cost 499 images
            adapter.encode(prompts[first : first + batch])
    config = RunConfig(
        model=name,
        strategy=describe(strategy, registry, full=True),
        prompts=prompts,
        n=n,
        seed=request.seed,
        sampling=sampling,
        device=str(adapter.device),
        dtype=dtype_name(adapter.dtype),
        batch=batch,
        passes=passes,
        options=options,
        weights=None if request.weights is None else absolute_weights(request.weights),
        model_hash=fingerprint,
    )
    return Plan(config, adapter, strategy, registry, seconds)


def _worth_decoding(strategy: Strategy, sampling: Sampling, n: int) -> int:
    """`n`, or 1 where all candidates would be one and the same."""
    if n == 1 or not strategy.candidates_equal(sampling):
        return n
    warnings.warn(
        f"n={n}, but nothing is drawn at temperature={sampling.temperature:g}: all candidates would "
        "be the same, so one is decoded. For a choice give a temperature above 0.",
        ResultWarning,
        stacklevel=2,
    )
    return 1


def _split(
    request: GenerationRequest, adapter: ModelAdapter, strategy: Strategy, n: int
) -> tuple[int, int]:
    """Prompts of a forward batch, and the parts in which their candidates are decoded."""
    wanted, budget, batch = len(request.prompts), request.max_memory, request.batch
    if batch is None:
        batch = max(1, min(BATCH_ROWS // n, wanted))
        if budget is None:
            batch = max(1, min(batch, BATCH_BYTES // max(1, n * adapter.row_bytes())))
        else:
            batch = prompts_within(adapter, strategy, n=n, prompts=batch, max_memory=budget)
    parts = passes_within(
        adapter,
        strategy,
        n=n,
        prompts=min(batch, wanted),
        max_memory=budget,
        passes=request.passes or 1,
    )
    return batch, len(parts)


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
        # Whether it is one is said by `load_adapter`, which knows what is missing.
        return model.name if isinstance(model, ModelAdapter) else type(model).__name__, model
    if ":" in model:
        found = import_named(model, "model", registry)
        _check_loader(found, model)
        return model, found
    entry = registry.find("model", model)
    return entry.full_name, entry.load()


def _check_loader(found: Any, path: str) -> None:
    """Refuse what is neither an adapter nor called as loaders are, before it is called."""
    if not callable(found):
        _checked(found, path)
        return
    try:
        takes = list(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        takes = []
    if "device" not in takes:
        raise ScalingarError(
            f"model={path!r} is no loader of a model: it must be a function or class that takes "
            "device=, such as load(*, device, dtype, weights)."
        )


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
        adapter = _checked(load, name)
        _ready(adapter, device, dtype, weights or options)
        return adapter
    accepted = inspect.signature(load).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    if "device" not in accepted and not anything:
        raise ScalingarError(
            f"model {name!r} has a loader that takes no device: write def load(*, device, ...), or "
            "register an adapter that is loaded already."
        )
    given: dict[str, Any] = {"device": resolve_device(device), **options}
    wanted = resolve_dtype(dtype)
    if wanted is not None and "dtype" not in accepted and not anything:
        pass  # it has one dtype: whether that is the wanted one is seen when it is loaded
    elif wanted is not None:
        given["dtype"] = wanted
    elif "dtype" in accepted and accepted["dtype"].default is inspect.Parameter.empty:
        given["dtype"] = "auto"
    if weights is not None:
        if "weights" not in accepted and not anything:
            raise ScalingarError(f"model {name!r} takes no weights: leave --weights out.")
        if not Path(weights).exists() and not REPOSITORY.fullmatch(str(weights)):
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
    adapter = _checked(adapter, name)
    if wanted is not None and "dtype" not in given and adapter.dtype != wanted:
        raise ScalingarError(
            f"model {name!r} is {dtype_name(adapter.dtype)} and takes no other: leave --dtype out."
        )
    return adapter


def _ready(model: ModelAdapter, device: Any, dtype: Any, more: Any) -> None:
    """An adapter is loaded already: what is asked for must be what it is."""
    same_device = str(device) in ("auto", str(model.device))
    if not same_device or resolve_dtype(dtype) not in (None, model.dtype) or more:
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
    seed = seeds_apart(config.seed, config.prompts)[prompt]
    return attrs.evolve(config, prompts=(config.prompts[prompt],), seed=seed)
