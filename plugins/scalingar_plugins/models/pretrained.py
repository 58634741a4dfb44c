"""Models of transformers from a user's folder: offline, safetensors, no code but transformers' own.

Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalingar_fw.errors import ScalingarError

REMEDY = (
    "Download facebook/mask2former-swin-small-coco-instance (detector) and "
    "openai/clip-vit-large-patch14 (clip) whole, with model.safetensors."
)


def need_transformers() -> Any:
    """The transformers package, where Mask2Former's own need is met too, or a `ScalingarError`."""
    for name in ("transformers", "scipy"):
        if importlib.util.find_spec(name) is None:
            raise ScalingarError(
                f"GenEval's scorer needs {name}: pip install 'scalingar-fw[geneval]'."
            )
    import transformers

    return transformers


def read_from(folder: Path, what: str, read: Any, **options: Any) -> Any:
    """`read(folder)`, offline; whatever goes wrong becomes a `ScalingarError`."""
    if not (folder / "config.json").is_file():
        raise ScalingarError(f"{what}={str(folder)!r} has no config.json. {REMEDY}")
    try:
        with _quietly():
            # Said out loud: unset, transformers asks on a terminal whether to run foreign code.
            return read(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ScalingarError(
            f"{what}={str(folder)!r} cannot be read ({type(error).__name__}: {said}). {REMEDY}"
        ) from error


def image_processor(folder: Path, what: str) -> Any:
    read = need_transformers().AutoImageProcessor.from_pretrained
    # PIL everywhere: with and without torchvision the same pixels give the same score.
    return read_from(folder, what, read, backend="pil")


def network_of(cls: Any, folder: Path, what: str, device: Any) -> Any:
    import torch

    from scalingar_plugins.models.hf import load_pretrained

    if not any(folder.glob("*.safetensors")):
        raise ScalingarError(f"{what}={str(folder)!r} has no *.safetensors. {REMEDY}")
    with _quietly():
        network = load_pretrained(
            cls, folder, torch.float32, use_safetensors=True, trust_remote_code=False
        )
    return network.to(device)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars among our lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
