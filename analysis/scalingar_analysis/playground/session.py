"""From the page's fields to plans; what stays between two presses of the button: the model that was
used last, and the runs of the last few presses."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from scalingar_fw import Generation, GenerationRequest, Registry, ScalingarError
from scalingar_fw.cli.generate import parse_set
from scalingar_fw.generation.plan import Plan, prepare

#: Presses whose runs can still be opened as a report.
KEPT = 8


@frozen
class Loading:
    """What `scalingar ui` was started with: how models are loaded, and which one is offered first.

    `weights` and `options` are of `model`; the page's other models come from their own repositories.
    """

    model: str = "shapes"
    device: str | None = None
    dtype: str | None = None
    weights: Path | None = None
    options: Mapping[str, str] = field(factory=dict)

    def of(self, model: str) -> dict[str, Any]:
        """The arguments of `generate` that say how to load `model`; those that were given."""
        own = model == self.model
        given = {
            "device": self.device,
            "dtype": self.dtype,
            "weights": self.weights if own else None,
            "options": dict(self.options) if own else None,
        }
        return {k: v for k, v in given.items() if v}


@frozen
class Form:
    """The page's fields; None (an empty field) is left to the model or the strategy."""

    prompt: str
    model: str = "shapes"
    strategies: tuple[str, ...] = ("scalingar",)
    settings: tuple[tuple[str, ...], ...] = ((),)  # of each strategy, "key=value"
    n: int | None = None
    seed: int = 0
    guidance: float | None = None
    temperature: float | None = None

    def asked(self, place: int) -> dict[str, Any]:
        """The arguments of `generate` for the strategy at `place`, without how to load the model."""
        given = {
            "model": self.model,
            "strategy": self.strategies[place],
            "n": self.n,
            "seed": self.seed,
            "guidance": self.guidance,
            "temperature": self.temperature,
            "settings": parse_set(self.settings[place]) or None,
        }
        return {k: v for k, v in given.items() if v is not None}


class Session:
    """Plans for forms; the model that was used last stays loaded."""

    def __init__(self, registry: Registry, loading: Loading) -> None:
        self.registry, self.loading = registry, loading
        self._lock = threading.Lock()
        self._loaded: tuple[str, Plan] | None = None  # the first plan that was made with it
        self._runs: OrderedDict[str, tuple[Generation, ...]] = OrderedDict()

    def plans(self, form: Form) -> list[Plan]:
        """A plan for each of the form's strategies.

        Raises:
            ScalingarError: a field that cannot be; the message says what to write instead.
        """
        if not form.prompt.strip():
            raise ScalingarError("The prompt is empty: write what you want to see.")
        import torch

        with self._lock:
            plans = [self._plan(form, place) for place in range(len(form.strategies))]
        with torch.inference_mode():  # a word that nobody knows is said before anything changes
            plans[0].model.encode(plans[0].prompts)
        return plans

    def _plan(self, form: Form, place: int) -> Plan:
        asked, ready = form.asked(place), self._loaded
        if ready is None or ready[0] != form.model:
            self._loaded = None  # before the next one is loaded: two may not fit
            asked |= self.loading.of(form.model)
            plan = prepare(GenerationRequest.of([form.prompt], **asked), self.registry)
            self._loaded = (form.model, plan)
            return plan
        first = ready[1]
        asked["model"] = first.model
        plan = prepare(GenerationRequest.of([form.prompt], **asked), self.registry)
        # An adapter is passed on as it is; the configuration says how anybody can load it again.
        names = ("model", "options", "weights", "model_hash")
        said = {name: getattr(first.config, name) for name in names}
        return evolve(plan, config=evolve(plan.config, **said))

    def keep(self, runs: Sequence[Generation]) -> str:
        """Keep a press's runs for its report; the key, which nobody can guess."""
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._runs[key] = tuple(runs)
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)
        return key

    def runs(self, key: str) -> tuple[Generation, ...] | None:
        """The runs that were kept under a key; None where it is unknown or too old."""
        with self._lock:
            return self._runs.get(key)


__all__ = ["KEPT", "Form", "Loading", "Session"]
