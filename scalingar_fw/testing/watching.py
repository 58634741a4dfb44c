"""Contracts of observers: they hear a run, and it is the same run as without them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen

from scalingar_fw.decoding import contracts
from scalingar_fw.decoding.components import ConfidenceEstimator
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.result import Decoded
from scalingar_fw.decoding.strategy import FinalConfidence, Strategy
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_fw.hooks import EVENTS, make_hooks
from scalingar_fw.testing.battery import SMOKE
from scalingar_fw.testing.cases import PROMPTS, Case
from scalingar_fw.testing.catalogue import Broken, NotHere, check
from scalingar_fw.testing.stepping import say_settings
from scalingar_fw.testing.surroundings import changed_settings, settings_now
from scalingar_fw.testing.whole import model_of, told


@frozen
class _Margin(ConfidenceEstimator[None]):
    """Something to hear: the margin of each step."""

    def update(self, state: Any, signals: Any, step: Any) -> tuple[Confidence, Any]:
        return Confidence.of(signals.margin), state


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """An observer that fails raises; what it prints is its business, and not a reader's of checks."""
    nowhere = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("error", PluginWarning)
        yield


def listened(observer: Any | None, case: Case) -> Decoded:
    """A decode that `observer` hears, images included; its failures are raised."""
    strategy = Strategy("observed", _Margin(), selector=FinalConfidence())
    model, prompts = model_of(case), PROMPTS[: case.prompts]
    hooks = make_hooks([] if observer is None else [observer])
    with _quietly():
        try:
            decoded = decode(
                model,
                strategy,
                prompts,
                n=case.n,
                seed=case.seed,
                sampling=case.sampling,
                hooks=hooks,
            )
            for prompt in range(case.prompts):
                answer = decoded.answer(prompt)
                pixels = model.decode_images(torch.from_numpy(answer.tokens.copy())[None])
                image = ((pixels[0] + 1) * 127.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
                image.setflags(write=False)
                hooks.on_image(prompt=prompt, candidate=answer.candidate, image=image)
        except PluginWarning as error:
            raise Broken(
                str(error),
                "an array that it was given was written into (copy it first), or an event holds "
                "something else than it expects.",
            ) from error
    return decoded


@check("runs", "observer", cases=(SMOKE,))
def it_hears_a_run(kind: str, component: Any, case: Case) -> None:
    """It hears a run of two prompts, from the start to the images, without an error.

    An observer that fails is left out of the rest of the run with a warning: the log that somebody
    counts on ends in the middle.
    """
    try:
        make_hooks([component])
    except ScalingarError as error:
        raise Broken(str(error)) from error
    listened(component, case)


@check("results", "observer", share=0.2)
def run_is_the_same(kind: str, component: Any, case: Case) -> None:
    """The run is the same with and without it.

    An observer watches. One that changes what it is shown, or draws from a random stream that the
    model reads, makes results depend on who looked.
    """
    try:
        alone = listened(None, case)
    except ScalingarError as error:
        raise NotHere(str(error)) from error
    heard = listened(component, case)
    for prompt in range(case.prompts):
        if told(alone, prompt) != told(heard, prompt):
            raise Broken(f"prompt {prompt} came out differently when it was observed.")


@check("global-randomness", "observer", cases=(SMOKE,))
def nothing_global_is_drawn(kind: str, component: Any, case: Case) -> None:
    """No global randomness is read: torch's, numpy's and Python's streams stay where they are.

    A model or a component of somebody else's may read them, and would give other pictures to those
    who are watched.
    """
    with contracts.no_global_randomness(contracts.name_of(component)):
        listened(component, case)


@check("global-settings", "observer", cases=(SMOKE,))
def settings_of_libraries_stay(kind: str, component: Any, case: Case) -> None:
    """Global settings of torch and numpy are as before: types, threads, gradients, errors.

    They hold for the whole process, so for the model and for every component.
    """
    before = settings_now()
    try:
        listened(component, case)
    finally:
        changed = changed_settings(before)
    say_settings(component, changed)


@check("determinism", "observer", cases=(SMOKE,))
def it_hears_more_than_one_run(kind: str, component: Any, case: Case) -> None:
    """It hears one run after another.

    One process makes many runs; a file that is closed after the
    first one, or a list that is indexed by prompt, fails in the second.
    """
    listened(component, case)
    other = make_hooks([component])
    with _quietly():
        try:
            strategy, model = Strategy("observed", _Margin()), model_of(case)
            both = [*PROMPTS[:1]]
            decode(model, strategy, both, n=case.n + 1, seed=case.seed + 1, hooks=other)
        except PluginWarning as error:
            raise Broken(f"in a second run: {error}") from error


__all__ = ["EVENTS", "listened"]
