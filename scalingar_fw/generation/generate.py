"""`generate`: a picture from a prompt, in one call."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

import torch
from attrs import evolve

from scalingar_fw.decoding.checked import checked
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.loop import decode, to_images
from scalingar_fw.decoding.memory_budget import is_out_of_memory, out_of_memory
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.generation.generation import Candidate, Generation
from scalingar_fw.generation.plan import Plan, prepare, single
from scalingar_fw.hooks import make_hooks
from scalingar_fw.registry import Registry

if TYPE_CHECKING:
    from typing_extensions import Unpack


def run_plan(
    plan: Plan, observers: Sequence[object] = (), check: bool = False
) -> Iterator[Generation]:
    """Decode a plan's prompts, batch by batch; yields one result for each, in their order.

    `check`: hold every component to its contract (passive.py); the results are the same.
    """
    strategy = checked(plan.strategy) if check else plan.strategy
    hooks = make_hooks([*plan.registry.observers, *observers])
    config = plan.config
    for first in range(0, len(plan.prompts), config.batch):
        prompts = plan.prompts[first : first + config.batch]
        try:
            decoded = decode(
                plan.model,
                strategy,
                prompts,
                n=config.n,
                seed=config.seed,
                sampling=config.sampling,
                hooks=hooks,
                passes=config.passes,
            )
            start = time.perf_counter()
            # The answers alone and together: the same call whatever is looked at later, so the
            # same bytes.
            answers = to_images(plan.model, [decoded.answer(p) for p in range(len(prompts))], hooks)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(
                plan.model, strategy, n=-(-config.n // config.passes), prompts=len(prompts)
            ) from error
        decoded.ledger.seconds["image"] = time.perf_counter() - start
        for place, prompt in enumerate(prompts):
            mine = [i for i, t in enumerate(decoded.trajectories) if t.prompt == place]
            chosen = mine.index(decoded.chosen[place])
            own = evolve(
                decoded,
                prompts=(prompt,),
                trajectories=[evolve(decoded.trajectories[i], prompt=0) for i in mine],
                chosen=[chosen],
            )
            yield Generation(
                prompt=prompt,
                config=single(config, first + place),
                run=config,
                decoded=own,
                model=plan.model,
                strategy=plan.strategy,
                registry=plan.registry,
                index=first + place,
                batch_place=place,
                batch_prompts=len(prompts),
                load_seconds=plan.load_seconds,
                hooks=hooks,
                pixels={chosen: answers[place]},
            )


class Options(TypedDict, total=False):
    """The keyword arguments of `generate`."""

    model: str | ModelAdapter
    strategy: str | Mapping[str, Any] | Strategy
    n: int | None
    seed: int
    guidance: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    device: str | torch.device
    dtype: str | torch.dtype
    observers: Sequence[object]
    settings: Mapping[str, Any] | None
    weights: str | Path | None
    options: Mapping[str, Any] | None
    model_hash: str | None
    batch: int | None
    max_memory: str | int | None
    passes: int | None
    registry: Registry | None
    check: bool


@overload
def generate(prompt: str | Prompt, **options: Unpack[Options]) -> Generation: ...
@overload
def generate(
    prompt: list[str] | list[Prompt] | tuple[str | Prompt, ...], **options: Unpack[Options]
) -> list[Generation]: ...
def generate(
    prompt: Any,
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
    observers: Sequence[object] = (),
    settings: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    model_hash: str | None = None,
    batch: int | None = None,
    max_memory: str | int | None = None,
    passes: int | None = None,
    registry: Registry | None = None,
    check: bool = False,
) -> Generation | list[Generation]:
    """Decode `n` candidates for a prompt and choose one; a list of prompts gives a list.

    Args:
        prompt: text, a `Prompt`, or a list of them (decoded together, `batch` at a time).
        model: a registered name, `"module:load"`, or an adapter.
        strategy: a registered name, a mapping as in `config.yaml`, or a `Strategy`.
        n: candidates; the strategy's own number where None.
        seed: keys all randomness, together with each prompt's content.
        guidance, temperature, top_k, top_p: the model's preset where None.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (the model's choice), "float32", "bfloat16", "float16".
        observers: objects with event methods (`on_token`, ...); they watch and change nothing.
        settings: dotted settings of the strategy, `{"termination.quantile": 0.2}`.
        weights: the model's weights, where it takes any.
        options: of the model's loader, `{"scripted_decoder": "decoder.jit"}`.
        model_hash: the fingerprint that the weights must have.
        batch: prompts that share a forward batch; by n and the model's size where None.
        max_memory: for the candidates of a batch, beside the weights: "8GiB" or bytes. `batch` and
            `passes` follow from it; a strategy that compares candidates is refused where they do
            not fit together.
        passes: decode each prompt's candidates in so many parts, one after the other.
        registry: what names mean; the installed plugins where None.
        check: hold every component to its contract at every step, at twice its cost.

    Raises:
        ScalingarError: bad input; the message says what to type instead.
        ContractError: a component broke its contract (all of them are found with `check`).
    """
    plan = prepare(
        prompt,
        model=model,
        strategy=strategy,
        n=n,
        seed=seed,
        guidance=guidance,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        device=device,
        dtype=dtype,
        settings=settings,
        weights=weights,
        options=options,
        model_hash=model_hash,
        batch=batch,
        max_memory=max_memory,
        passes=passes,
        registry=registry,
    )
    results = list(run_plan(plan, observers, check))
    return results[0] if isinstance(prompt, (str, Prompt, Mapping)) else results


__all__ = ["Candidate", "Generation", "Options", "Plan", "generate", "prepare", "run_plan"]
