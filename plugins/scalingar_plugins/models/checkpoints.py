"""Reading weights that strangers made: nothing is executed, nothing is silently left out.

Every official form is accepted (a bare state dict, or one under `model`, `module` or
`state_dict`, beside optimiser state or not; safetensors or PyTorch's own format). Entries that a
loader drops are dropped by name; every other difference is an error that lists names and shapes.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from attrs import field, frozen
from torch import Tensor, nn

from scalingar_fw.errors import ScalingarError

#: Where official training scripts keep the model inside a checkpoint.
WRAPPERS = ("model", "module", "state_dict")
#: Prefixes that wrappers of a module put before every name.
MODULE_PREFIXES = ("module.", "_orig_mod.")
#: How deep such wrappers may lie in one another.
MOST_WRAPPERS = 8
#: Buffers that early LlamaGen checkpoints hold and that are recomputed.
STRAY = ("freqs_cis", "*.freqs_cis", "*causal_mask*", "*kv_cache*")

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, on the CPU, memory-mapped where possible.

    Nothing in the file is executed: safetensors holds data only, and PyTorch's format is read with
    `weights_only=True`, extended by `argparse.Namespace` alone (LlamaGen's training scripts save
    their arguments beside the model).

    Raises:
        ScalingarError: missing, damaged, foreign, or asking to execute something.
    """
    if not path.is_file():
        raise ScalingarError(f"The weights file {str(path)!r} does not exist.")
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = _unwrap(raw)
    if not state:
        raise ScalingarError(
            f"{str(path)!r} holds no weights: expected tensors by name, bare or under one of "
            f"{', '.join(WRAPPERS)}. Is it the right file?"
        )
    return state


def _read_safetensors(path: Path) -> Any:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    try:
        # Only the zip container can be mapped; older files are read whole.
        with path.open("rb") as handle:
            mapped = handle.read(4) == b"PK\3\4"
            if mapped and _is_packed(handle):
                raise ValueError("its parts are compressed, which PyTorch never does")
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        text = str(error)
        if "Unsupported global" in text or "GLOBAL" in text:
            named = text.partition("GLOBAL ")[2].split(" ")[0] or "an object"
            raise ScalingarError(
                f"{str(path)!r} asks to build {named}, which could run code, so it was not read. "
                "Convert it to safetensors with the software that wrote it, or use another copy."
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:
        # Damage surfaces as almost any exception, depending on the byte that is wrong.
        raise _damaged(path, error) from error


def _is_packed(handle: BinaryIO) -> bool:
    """Whether a part of a zip container is compressed: a few bytes may stand for gigabytes."""
    try:
        with zipfile.ZipFile(handle) as archive:
            return any(entry.compress_type for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError):
        return False  # PyTorch's own reader says what is wrong with it


def _damaged(path: Path, error: Exception) -> ScalingarError:
    detail = (str(error).strip().splitlines() or [""])[0][:160]
    return ScalingarError(
        f"{str(path)!r} ({path.stat().st_size} bytes) could not be read as weights "
        f"({type(error).__name__}: {detail}): it is damaged, cut short or of another kind. "
        "Compare its size with the published one and download it again."
    )


def _unwrap(raw: Any) -> dict[str, Tensor]:
    for _ in range(MOST_WRAPPERS):  # a dictionary may hold itself
        if not isinstance(raw, Mapping):
            return {}
        inner = next((raw[k] for k in WRAPPERS if isinstance(raw.get(k), Mapping)), None)
        if inner is None:
            break
        raw = inner
    state = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    while state:  # wrappers nest: compiled inside of data-parallel, and the other way round
        prefix = next((p for p in MODULE_PREFIXES if all(n.startswith(p) for n in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    odd = next((n for n, v in state.items() if v.layout != torch.strided or v.is_quantized), None)
    if odd is not None:
        raise ScalingarError(
            f"The weights' tensor {odd!r} is sparse or quantized: convert it to a plain one."
        )
    return state


def without(state: Mapping[str, Tensor], patterns: Iterable[str]) -> dict[str, Tensor]:
    """`state` less the names that match one of the shell-style `patterns`."""
    patterns = tuple(patterns)
    return {
        name: value
        for name, value in state.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below `prefix`, without it."""
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


@frozen
class Difference:
    """How a file's tensors differ from a network's: by name, and by shape under the same name."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = field(default=())

    @classmethod
    def between(
        cls, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
    ) -> Difference:
        return cls(
            missing=tuple(sorted(set(expected) - set(state))),
            unexpected=tuple(sorted(set(state) - set(expected))),
            shapes=tuple(
                (name, tuple(state[name].shape), shape)
                for name, shape in sorted(expected.items())
                if name in state and tuple(state[name].shape) != shape
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def report(self, limit: int = 6) -> str:
        """A few lines that name the first `limit` differences of each kind."""
        lines = []
        for label, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            if names:
                lines.append(f"  {len(names)} {label}: {_first(names, limit)}")
        if self.shapes:
            wrong = [f"{name} is {got}, expected {want}" for name, got, want in self.shapes]
            lines.append(f"  {len(wrong)} of another shape: {_first(wrong, limit, '; ')}")
        return "\n".join(lines)


def _first(names: Sequence[str], limit: int, between: str = ", ") -> str:
    rest = f"{between}... ({len(names) - limit} more)" if len(names) > limit else ""
    return between.join(names[:limit]) + rest


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], what: str, hint: str = "", ours: str = ""
) -> None:
    """Give `module` exactly the tensors of `state`; nothing missing, nothing left over.

    The tensors are assigned, not copied: `module` may live on the meta device, so that weights
    are in memory once. Their dtype stays that of the file.

    Args:
        module: the network to fill.
        state: tensors by name, after stray entries were dropped.
        what: names the file in the error.
        hint: what the user may have mixed up; ends the error.
        ours: a prefix that only our names have; left out of the report.

    Raises:
        ScalingarError: any difference of names or shapes, all of them listed.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    difference = Difference.between(state, expected)
    if difference:
        report = difference.report()
        if ours:
            report = re.sub(rf"\b{re.escape(ours)}", "", report)
        raise ScalingarError(f"{what} does not fit this model:\n{report}\n{hint}".strip())
    module.load_state_dict(dict(state), strict=True, assign=True)
    module.requires_grad_(False)


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The weights called one of `names` (any known suffix, or a folder of FSDP's) in `folder`.

    `name/consolidated.pth` is what FSDP's export writes.

    Raises:
        ScalingarError: none or no folder; lists what is there.
    """
    if folder.is_file():
        raise ScalingarError(
            f"{str(folder)!r} is a file: name the folder that holds it, since a model needs several."
        )
    if not folder.is_dir():
        raise ScalingarError(f"The weights folder {str(folder)!r} does not exist.")
    for name in names:
        stem = Path(name)
        if (folder / stem).is_file():
            return folder / stem
        base = stem.with_suffix("") if stem.suffix in SUFFIXES else stem
        for suffix in SUFFIXES:
            if (folder / base.with_suffix(suffix)).is_file():
                return folder / base.with_suffix(suffix)
        consolidated = folder / base / "consolidated.pth"
        if consolidated.is_file():
            return consolidated
    present = sorted(p.name for p in folder.iterdir())[:12]
    raise ScalingarError(
        f"{str(folder)!r} has no {what}: expected {' or '.join(repr(n) for n in names)} (or the "
        f"same name with {', '.join(SUFFIXES)}). It holds: {', '.join(present) or 'nothing'}."
    )


def fingerprint(files: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """The identity of a loaded model: its files and the settings that change what it computes.

    Sampling preset and dtype are left out: a run records both beside the fingerprint.
    """
    kept = {k: v for k, v in settings.items() if k not in ("preset", "dtype")}
    return fingerprint_files(files, json.dumps(kept, sort_keys=True))


def fingerprint_files(files: Iterable[Path], settings: str = "") -> str:
    """sha256 over `settings` and samples of each file: its size and 256 blocks of 64 KiB.

    Weights of 16 GB would take a minute to hash whole at each start. Any training changes every
    tensor, so evenly spaced samples tell two checkpoints apart; an adversary they would not stop.
    """
    digest = hashlib.sha256(settings.encode())
    block, samples = 1 << 16, 256
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as stream:
            if size <= block * samples:
                digest.update(stream.read())
                continue
            for i in range(samples):
                stream.seek((size - block) * i // (samples - 1))
                digest.update(stream.read(block))
    return digest.hexdigest()
