"""What is asked of `generate`: one class, whoever asks.

Python, the command line, a configuration file and a sweep each build a `GenerationRequest`; what
may be asked, what it is called and what it becomes is written here and in `config.keys`, and
nowhere else. `plan.prepare` resolves a request into a `RunConfig`, which leaves nothing open: the
data of a configuration is again a request, for the same run.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs
import torch
from attrs import field, frozen

from scalingar_fw.config.keys import parse_settings, read_argument
from scalingar_fw.config.serialization import build
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.params import rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, unknown_name

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry


class Asked(TypedDict, total=False):
    """The keyword arguments of a request, for type checkers; None is what was not asked."""

    model: str | ModelAdapter | None
    strategy: str | Mapping[str, Any] | Strategy | None
    n: int | None
    seed: int | None
    guidance: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    device: str | torch.device | None
    dtype: str | torch.dtype | None
    settings: Mapping[str, Any] | None
    weights: str | Path | None
    options: Mapping[str, Any] | None
    model_hash: str | None
    batch: int | None
    max_memory: str | int | None
    passes: int | None


def _at_the_door(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Every field is read by `read_argument` when a request is made; None stays None."""

    def reader(argument: str) -> Any:
        return attrs.converters.optional(functools.partial(read_argument, argument))

    return [f.evolve(converter=reader(f.name)) for f in fields]


@frozen(field_transformer=_at_the_door)
class GenerationRequest:
    """Prompts, and what is asked beside them; every value is checked and converted when it is made.

    None leaves a value to whoever knows best: `n` to the strategy, the sampling to the model's
    preset, `batch` to n and the model's size. What names mean (the registry), who watches
    (observers) and whether contracts are checked are no part of a request: they change no result.

    Args:
        prompts: to decode, in this order.
        model: a registered name, `"module:load"`, or an adapter.
        strategy: a registered name, a mapping as in `config.yaml`, or a `Strategy`.
        n: candidates for each prompt.
        seed: keys all randomness, together with each prompt's content.
        guidance, temperature, top_k, top_p: in place of the model's preset.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (the model's choice), "float32", "bfloat16", "float16".
        settings: dotted settings of the strategy, `{"termination.quantile": 0.2}`.
        weights: the model's weights, where it takes any.
        options: of the model's loader, `{"scripted_decoder": "decoder.jit"}`.
        model_hash: the fingerprint that the weights must have.
        batch: prompts that share a forward batch.
        max_memory: bytes for the candidates of a batch, beside the weights (given as "8GiB", or as
            a number). `batch` and `passes` follow from it.
        passes: decode each prompt's candidates in so many parts, one after the other.

    Raises:
        ScalingarError: a value breaks its rule, or two of them exclude each other.
    """

    prompts: tuple[Prompt, ...]
    model: str | ModelAdapter = "shapes"
    strategy: str | Mapping[str, Any] | Strategy = "scalingar"
    n: int | None = None
    seed: int = 0
    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "auto"
    settings: Mapping[str, Any] = field(factory=dict)
    weights: str | Path | None = None
    options: Mapping[str, Any] = field(factory=dict)
    model_hash: str | None = None
    batch: int | None = None
    max_memory: int | None = None
    passes: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_memory is not None and self.passes is not None:
            raise ScalingarError(
                "Give max_memory or passes, not both: passes follow from a budget."
            )

    @classmethod
    def of(cls, prompts: Any, /, **asked: Any) -> GenerationRequest:
        """A request from a prompt, or a list, in any form, and `Asked`; None is not asked."""
        known = [f.name for f in attrs.fields(cls) if f.name != "prompts"]
        for name in asked:
            if name not in known:
                raise TypeError(str(unknown_name("argument of generate:", name, known)))
        return cls(prompts, **{k: v for k, v in asked.items() if v is not None})

    @classmethod
    def from_data(cls, data: Any, where: str = "the configuration") -> GenerationRequest:
        """A request from a configuration file's content; `where` names it in messages."""
        given = parse_settings(data, where)
        if "prompts" not in given:
            raise ScalingarError(f"{where} holds no prompt: add `prompt: TEXT`.")
        return cls(**given)

    def sampling(self, preset: Sampling) -> Sampling:
        """The preset of a model with what was asked in its place."""
        given = {name: getattr(self, name) for name in rules(Sampling)}
        return attrs.evolve(preset, **{k: v for k, v in given.items() if v is not None})

    def build_strategy(self, registry: Registry) -> Strategy:
        """The strategy that is named, with the settings applied.

        Raises:
            ScalingarError: a name, a setting or a value that the strategy does not have.
        """
        built: Strategy = build("strategy", self.strategy, registry)
        return override(built, self.settings, registry)


def laid_over(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A file's arguments with those of flags in their place; None is not given.

    Settings and options are merged by name. Where a flag changes what others of the file's
    arguments followed from, these go: weights, options and their hash are those of the file's
    model, and `batch` and `passes` follow from its memory.
    """
    given = {k: v for k, v in given.items() if v is not None}
    dropped: set[str] = set()
    if "model" in given:
        dropped |= {"weights", "options"}
    if given.keys() & {"model", "weights", "options"}:
        dropped |= {"model_hash"}
    if "max_memory" in given:
        dropped |= {"batch", "passes"}
    kept = {k: v for k, v in below.items() if k not in dropped}
    out = {**kept, **given}
    for key in given.keys() & {"settings", "options"}:
        out[key] = {**kept.get(key, {}), **given[key]}
    return out


__all__ = ["Asked", "GenerationRequest", "laid_over"]
