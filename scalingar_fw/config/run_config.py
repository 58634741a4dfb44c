"""A run's resolved configuration: what to type (as YAML) to get the same result again, and its hash.

The keys of a file are the flags of `scalingar generate`. A file that a person writes may leave out
any; the `config.yaml` of a run holds all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import yaml
from attrs import field, frozen

from scalingar_fw.config.identity import RESULT_VERSION, identity_of
from scalingar_fw.config.keys import parse_settings
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.params import rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError
from scalingar_fw.reading import load_yaml

_SAMPLING = tuple(rules(Sampling))
#: What a request may ask for, and a run has resolved into other keys.
_ASKED = {"settings": "set", "max_memory": "max_memory"}


@frozen
class RunConfig:
    """All that a run's result follows from.

    `strategy`: as `describe(..., full=True)` gives it. `model_hash`: the weights' fingerprint.
    `batch`: prompts that share a forward batch; matrix products round with the batch's shape, so
    it belongs to what makes a run repeatable to the byte, and so does `passes`, the parts in which
    each prompt's candidates are decoded (both follow from `max_memory`, where one was stated).
    `options`: of the model's loader; what they change is in `model_hash` (`model_identity`).
    """

    model: str
    strategy: Mapping[str, Any] = field(repr=False)
    prompts: tuple[Prompt, ...]
    n: int
    seed: int
    sampling: Sampling
    device: str
    dtype: str
    batch: int = 1
    passes: int = 1
    options: Mapping[str, Any] = field(factory=dict)
    weights: str | None = None
    model_hash: str | None = None

    def key(self) -> str:
        """The run's identity (see `identity_of`): of the fields that can change the result, alone.

        Left out are the number of candidates that the strategy would have taken (`n` is resolved),
        the folder of the weights and the loader's options (`model_hash` covers both), and which of
        several GPUs. The device's type and the dtype stay, since both round.
        """
        unhashed = [self.weights, dict(self.options)] if self.options else self.weights
        relevant = {
            "version": RESULT_VERSION,
            "model": [self.model, self.model_hash or unhashed],
            "strategy": self.strategy,
            "prompts": [attrs.astuple(p, filter=lambda a, _: a.init) for p in self.prompts],
            "n": self.n,
            "seed": self.seed,
            "sampling": describe_sampling(self.sampling),
            "device": self.device.split(":")[0],
            "dtype": self.dtype,
            "batch": min(self.batch, len(self.prompts)),
        }
        if len(set(self.prompts)) < len(self.prompts):
            relevant["repeats"] = "apart"  # in 0.1 equal prompts were equal pictures
        if min(self.passes, self.n) > 1:
            relevant["passes"] = min(self.passes, self.n)
        return identity_of(relevant)

    @property
    def hash6(self) -> str:
        """The key's first six digits, for folder names."""
        return self.key()[:6]

    def to_data(self) -> dict[str, Any]:
        """Plain data with the keys of a configuration file; None is left out."""
        prompts = [_prompt_data(p) for p in self.prompts]
        data = {
            **({"prompt": prompts[0]} if len(prompts) == 1 else {"prompts": prompts}),
            "model": self.model,
            "weights": self.weights,
            "options": dict(self.options) or None,
            "model_hash": self.model_hash,
            "n": self.n,
            "seed": self.seed,
            **describe_sampling(self.sampling),
            "device": self.device,
            "dtype": self.dtype,
            "batch": self.batch,
            "passes": self.passes if self.passes > 1 else None,
            "strategy": dict(self.strategy),
        }
        return {k: v for k, v in data.items() if v is not None}

    @classmethod
    def from_data(cls, data: Any, where: str = "the configuration") -> RunConfig:
        """The inverse of `to_data`; `where` names the source in messages."""
        given = parse_settings(data, where)
        missing = [k for k in ("prompts", "model", "strategy", "n", "seed") if k not in given]
        if missing:
            raise ScalingarError(f"{where} is not a run's configuration: it lacks {missing[0]!r}.")
        for argument, key in _ASKED.items():
            if argument in given:
                raise ScalingarError(
                    f"{where} is not a run's configuration: it holds {key!r}, which a run resolves."
                )
        sampling = Sampling(**{k: given.pop(k) for k in _SAMPLING if k in given})
        return cls(sampling=sampling, **{"device": "cpu", "dtype": "float32", **given})

    def to_yaml(self) -> str:
        """The text of `config.yaml`."""
        body = yaml.safe_dump(self.to_data(), sort_keys=False, allow_unicode=True, width=100)
        return f"# To get this run again: scalingar generate --config config.yaml\n{body}"

    @classmethod
    def from_yaml(cls, text: str, where: str = "the configuration") -> RunConfig:
        """The inverse of `to_yaml`."""
        return cls.from_data(load_yaml(text, where), where)


def describe_sampling(sampling: Sampling) -> dict[str, Any]:
    """Sampling as plain data."""
    return {name: getattr(sampling, name) for name in _SAMPLING}


def _prompt_data(prompt: Prompt) -> str | dict[str, str | int]:
    if prompt.class_id is None and prompt.negative is None:
        return prompt.text
    extra = {"class_id": prompt.class_id, "negative": prompt.negative}
    return {"text": prompt.text, **{k: v for k, v in extra.items() if v is not None}}


__all__ = ["RunConfig", "describe_sampling"]
