"""`generate`: a picture from a prompt, in one call."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import attrs
from attrs import Factory, evolve

from scalingar_fw.decoding.checked import checked
from scalingar_fw.decoding.loop import decode, to_images
from scalingar_fw.decoding.memory_budget import is_out_of_memory, out_of_memory
from scalingar_fw.decoding.noise import Prompt, seeds_apart
from scalingar_fw.generation.generation import Generation
from scalingar_fw.generation.plan import Plan, prepare, single
from scalingar_fw.generation.request import Asked, GenerationRequest
from scalingar_fw.generation.run_folder import save_run
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
    seeds = seeds_apart(config.seed, plan.prompts)
    for first in range(0, len(plan.prompts), config.batch):
        prompts = plan.prompts[first : first + config.batch]
        try:
            decoded = decode(
                plan.model,
                strategy,
                prompts,
                n=config.n,
                seed=seeds[first : first + config.batch],
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
                saver=save_run,
            )


F = TypeVar("F", bound=Callable[..., Any])


def _showing_what_may_be_asked(function: F) -> F:
    """Let `help` and completion see a request's arguments, which are written down once."""
    own = inspect.signature(function).parameters.values()
    asked = [
        inspect.Parameter(
            a.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if isinstance(a.default, Factory) else a.default,  # type: ignore[arg-type]
            annotation=a.type,
        )
        for a in attrs.fields(GenerationRequest)
        if a.name != "prompts"
    ]
    shown = [p for p in own if p.kind is not p.VAR_KEYWORD]
    signature = inspect.Signature([shown[0], *asked, *shown[1:]], return_annotation="Generation")
    function.__dict__["__signature__"] = signature
    return function


@overload
def generate(
    prompt: str | Prompt | Mapping[str, Any],
    *,
    observers: Sequence[object] = (),
    registry: Registry | None = None,
    check: bool = False,
    **asked: Unpack[Asked],
) -> Generation: ...
@overload
def generate(
    prompt: list[str] | list[Prompt] | tuple[str | Prompt, ...],
    *,
    observers: Sequence[object] = (),
    registry: Registry | None = None,
    check: bool = False,
    **asked: Unpack[Asked],
) -> list[Generation]: ...
@_showing_what_may_be_asked
def generate(
    prompt: Any,
    *,
    observers: Sequence[object] = (),
    registry: Registry | None = None,
    check: bool = False,
    **asked: Unpack[Asked],
) -> Generation | list[Generation]:
    """Decode `n` candidates for a prompt and choose one; a list of prompts gives a list.

    Args:
        prompt: text, a `Prompt`, a mapping `{text, class_id, negative}`, or a list of them
            (decoded together, `batch` at a time).
        observers: objects with event methods (`on_token`, ...); they watch and change nothing.
        registry: what names mean; the installed plugins where None.
        check: hold every component to its contract at every step, at twice its cost.
        asked: model, strategy, n, seed, guidance and all else that `GenerationRequest` describes;
            None is what the model, the strategy or the machine decides.

    Raises:
        ScalingarError: bad input; the message says what to type instead.
        ContractError: a component broke its contract (all of them are found with `check`).
    """
    request = GenerationRequest.of(prompt, **asked)
    results = list(run_plan(prepare(request, registry), observers, check))
    return results[0] if isinstance(prompt, (str, Prompt, Mapping)) else results


__all__ = ["generate", "run_plan"]
