"""A run's resolved configuration: what to type (as YAML) to get the same result again, and its hash.

The keys of a file are the flags of `scalingar generate`. A file that a person writes may leave out
any; the `config.yaml` of a run holds all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml
from attrs import field, frozen

from scalingar_fw.config.serialization import build, canonical, describe, scalar
from scalingar_fw.config.settings import override, settings_of
from scalingar_fw.decoding.memory_budget import parse_bytes
from scalingar_fw.decoding.noise import Prompt, check_seed
from scalingar_fw.decoding.params import Rule, rules
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.errors import ScalingarError, unknown_name

#: Raised whenever the same configuration would give other tokens than before: part of every key.
RESULT_VERSION = 1

_SAMPLING = tuple(rules(Sampling))
_TEXTS = ("model", "weights", "model_hash", "device", "dtype")
_NUMBERS = {
    "n": Rule("candidates per prompt", ge=1, kind=int),
    "seed": Rule("keys all randomness", ge=0, kind=int),
    "batch": Rule("prompts decoded together", ge=1, kind=int),
    "passes": Rule("parts in which a prompt's candidates are decoded", ge=1, kind=int),
    **rules(Sampling),
}
#: Every key that a configuration file may hold.
KEYS = ("prompt", "prompts", *_TEXTS, "options", "strategy", "set", *_NUMBERS, "max_memory")
#: What a person's file may hold and a run's has resolved into other keys.
_REQUESTS = {"set": "settings", "max_memory": "max_memory"}


@frozen
class RunConfig:
    """All that a run's result follows from.

    `strategy`: as `describe(..., full=True)` gives it. `model_hash`: the weights' fingerprint.
    `batch`: prompts that share a forward batch; matrix products round with the batch's shape, so
    it belongs to what makes a run repeatable to the byte, and so does `passes`, the parts in which
    each prompt's candidates are decoded (both follow from `max_memory`, where one was stated).
    `options`: of the model's loader; what they change is in `model_hash` (preparing.identity).
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
        """sha256 over the fields that can change the result, and only those.

        Left out: names of strategies (labels), `default_n` (`n` is resolved), the folder of the
        weights and the loader's options (their hash is in), which of several GPUs. Kept: the device's type and the dtype,
        since both round.
        """
        parts = {k: v for k, v in self.strategy.items() if k not in ("name", "default_n")}
        unhashed = [self.weights, dict(self.options)] if self.options else self.weights
        relevant = {
            "version": RESULT_VERSION,
            "model": [self.model, self.model_hash or unhashed],
            "strategy": parts,
            "prompts": [attrs.astuple(p, filter=lambda a, _: a.init) for p in self.prompts],
            "n": self.n,
            "seed": self.seed,
            "sampling": describe_sampling(self.sampling),
            "device": self.device.split(":")[0],
            "dtype": self.dtype,
            "batch": min(self.batch, len(self.prompts)),
        }
        if min(self.passes, self.n) > 1:
            relevant["passes"] = min(self.passes, self.n)
        return hashlib.sha256(canonical(relevant).encode()).hexdigest()

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
        for key, argument in _REQUESTS.items():
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


def check_number(name: str, value: Any) -> None:
    """Raise `ScalingarError` unless `value` is a number that `name` (n, seed, batch) may have."""
    _NUMBERS[name].check(name, value)


def describe_sampling(sampling: Sampling) -> dict[str, Any]:
    """Sampling as plain data; equal settings give equal data (2 and 2.0)."""
    data = {}
    for name, rule in rules(sampling).items():
        value = getattr(sampling, name)
        data[name] = float(value) + 0.0 if rule.kind is float else value
    return data


def _prompt_data(prompt: Prompt) -> Any:
    if prompt.class_id is None and prompt.negative is None:
        return prompt.text
    extra = {"class_id": prompt.class_id, "negative": prompt.negative}
    return {"text": prompt.text, **{k: v for k, v in extra.items() if v is not None}}


def to_prompt(value: Any, where: str = "prompt") -> Prompt:
    """A prompt from text, from a mapping `{text, class_id, negative}`, or itself."""
    if isinstance(value, str):
        value = Prompt(value)
    if isinstance(value, Prompt):
        try:
            f"{value.text}{value.negative}".encode()
        except UnicodeEncodeError as error:
            raise ScalingarError(
                f"{where}: {value.text!r} is not text in UTF-8, so no file can hold it."
            ) from error
        return value
    if isinstance(value, Mapping):
        known = ("text", "class_id", "negative")
        for key in value:
            if key not in known:
                raise unknown_name(f"key of {where}", str(key), known)
        text, class_id = value.get("text", ""), value.get("class_id")
        negative = value.get("negative")
        whole = class_id is None or (isinstance(class_id, int) and not isinstance(class_id, bool))
        if isinstance(text, str) and whole and (negative is None or isinstance(negative, str)):
            return to_prompt(Prompt(text, class_id, negative), where)
    raise ScalingarError(
        f"{where}: {value!r} is no prompt: give text, or text, class_id, negative."
    )


def parse_settings(data: Any, where: str) -> dict[str, Any]:
    """Checked arguments for `generate` from a configuration file's content.

    `prompt` and `prompts` both become `prompts` (a tuple), `set` becomes `settings`; what is null
    is left out.
    """
    if not isinstance(data, Mapping):
        raise ScalingarError(f"{where} must hold keys and values, such as `n: 8`.")
    given = {k: v for k, v in data.items() if v is not None}
    for key in given:
        if key not in KEYS:
            raise unknown_name(f"key in {where}:", str(key), KEYS)
    if "prompt" in given and "prompts" in given:
        raise ScalingarError(f"{where}: give prompt or prompts, not both.")
    out: dict[str, Any] = {}
    for key, value in given.items():
        if key == "prompt":
            out["prompts"] = (to_prompt(value, f"{where}: prompt"),)
        elif key == "prompts":
            if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
                raise ScalingarError(f"{where}: prompts must be a list with at least one entry.")
            out["prompts"] = tuple(to_prompt(v, f"{where}: prompts") for v in value)
        elif key in _NUMBERS:
            rule = _NUMBERS[key]
            out[key] = scalar(value, rule) if isinstance(value, str) else value
            rule.check(f"{where}: {key}", out[key])
        elif key == "set":
            if not isinstance(value, Mapping):
                raise ScalingarError(f"{where}: set must map settings to values.")
            out["settings"] = {str(k): v for k, v in value.items()}
        elif key == "options":
            if not isinstance(value, Mapping):
                raise ScalingarError(f"{where}: options must map a loader's options to values.")
            out[key] = {str(k): v for k, v in value.items()}
        elif key == "max_memory":
            parse_bytes(value, f"{where}: max_memory")
            out[key] = value
        elif key == "strategy":
            if not isinstance(value, (str, Mapping)):
                raise ScalingarError(f"{where}: strategy={value!r} must be a name or a mapping.")
            out[key] = value
        elif not isinstance(value, str):
            raise ScalingarError(f"{where}: {key}={value!r} must be text.")
        else:
            out[key] = value
    if "seed" in out:
        check_seed(out["seed"])
    return out


def read_settings(path: Path) -> dict[str, Any]:
    """`parse_settings` of a YAML file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScalingarError(f"{path} is not a text file in UTF-8: {error.reason}.") from error
    return parse_settings(load_yaml(text, str(path)), str(path))


class _Loader(yaml.SafeLoader):
    """YAML's safe subset; a key that is given twice is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else math.nan)
        return super().construct_mapping(node, deep)


def load_yaml(text: str, where: str) -> Any:
    """Plain data from YAML; `ScalingarError` names `where` and the line."""
    try:
        return yaml.load(text, _Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ScalingarError(f"{where}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ScalingarError(f"{where} is not valid YAML: {error}.") from error


__all__ = [
    "KEYS",
    "RESULT_VERSION",
    "RunConfig",
    "build",
    "canonical",
    "describe",
    "describe_sampling",
    "load_yaml",
    "override",
    "parse_settings",
    "read_settings",
    "settings_of",
    "to_prompt",
]
