"""Weights files: float16 safetensors with their configuration in the metadata, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig
from scalingar_plugins.models.shapes.scorer import Scorer, ScorerConfig
from scalingar_plugins.models.shapes.tokenizer import Tokenizer, TokenizerConfig

TOKENIZER_FILE = "tokenizer.safetensors"
GENERATOR_FILE = "generator.safetensors"
SCORER_FILE = "scorer.safetensors"
_REMEDY = "Reinstall the package, or train again: python -m scalingar_plugins.models.shapes.train."


class WeightsError(ScalingarError):
    """A weights file is missing, damaged or made for another model; the message has the remedy."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"cannot load weights {path}: {why}. {_REMEDY}")


def default_folder() -> Path:
    """The folder of the weights that ship with the package."""
    return Path(str(files("scalingar_plugins.models.shapes") / "weights"))


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    with open(beside, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(path)


def save_weights(
    path: Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, int],
    dtype: torch.dtype = torch.float16,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write tensors as ``dtype`` with ``config`` (and free notes) in the metadata, atomically."""
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()
    }
    metadata = {"format": "pt", "config": json.dumps(dict(config), sort_keys=True), **(notes or {})}
    write_atomically(path, save(tensors, metadata))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, int], dict[str, str]]:
    """Return tensors (as stored), configuration and the whole metadata of a weights file.

    Raises:
        WeightsError: The file is missing, damaged or has no configuration.
    """
    if not path.is_file():
        raise WeightsError(path, "there is no such file")
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = dict(handle.metadata() or {})
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(path, f"it is damaged ({error})") from error
    try:
        config = json.loads(metadata["config"])
        if not isinstance(config, dict) or not all(type(v) is int for v in config.values()):
            raise TypeError("not a table of integers")
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(path, f"its metadata holds no configuration ({error})") from error
    return tensors, config, metadata


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        why = []
        if missing:
            why.append(f"missing tensors: {', '.join(missing[:5])}")
        if extra:
            why.append(f"unknown tensors: {', '.join(extra[:5])}")
        raise WeightsError(path, "; ".join(why))
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                path,
                f"{name} has shape {list(tensor.shape)}, expected {list(expected[name].shape)}",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(path, f"{name} holds values that are not finite")
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    module.eval().requires_grad_(False)


Module = TypeVar("Module", bound=nn.Module)


def _load(folder: Path | str | None, name: str, make: Callable[[dict[str, int]], Module]) -> Module:
    path = Path(folder or default_folder()) / name
    tensors, config, _ = read_weights(path)
    try:
        module = make(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(path, f"its configuration does not fit ({error})") from error
    _fill(module, tensors, path)
    return module


def load_tokenizer(folder: Path | str | None = None) -> Tokenizer:
    """Load ``tokenizer.safetensors`` (default: the shipped one) as a float32 module in eval mode.

    Raises:
        WeightsError: A ValueError with a remedy; the file is missing, damaged or does not fit.
    """
    return _load(folder, TOKENIZER_FILE, lambda config: Tokenizer(TokenizerConfig(**config)))


def load_generator(folder: Path | str | None = None) -> Generator:
    """Load ``generator.safetensors``; otherwise as :func:`load_tokenizer`."""
    return _load(folder, GENERATOR_FILE, lambda config: Generator(GeneratorConfig(**config)))


def load_scorer(folder: Path | str | None = None) -> Scorer:
    """Load ``scorer.safetensors``; otherwise as :func:`load_tokenizer`."""
    return _load(folder, SCORER_FILE, lambda config: Scorer(ScorerConfig(**config)))


def save_tokenizer(
    tokenizer: Tokenizer, folder: Path, dtype: torch.dtype = torch.float16, **notes: str
) -> Path:
    """Write ``tokenizer.safetensors`` into ``folder``; return its path."""
    path = Path(folder) / TOKENIZER_FILE
    save_weights(path, tokenizer.state_dict(), asdict(tokenizer.config), dtype, notes)
    return path


def save_generator(
    generator: Generator, folder: Path, dtype: torch.dtype = torch.float16, **notes: str
) -> Path:
    """Write ``generator.safetensors`` into ``folder``; return its path."""
    path = Path(folder) / GENERATOR_FILE
    save_weights(path, generator.state_dict(), generator.config.as_dict(), dtype, notes)
    return path


def save_scorer(scorer: Scorer, folder: Path, **notes: str) -> Path:
    """Write ``scorer.safetensors`` as float16 into ``folder``; return its path."""
    path = Path(folder) / SCORER_FILE
    save_weights(path, scorer.state_dict(), scorer.config.as_dict(), torch.float16, notes)
    return path
