"""Which device and which precision: from what a user types to torch's objects."""

from __future__ import annotations

import torch

from scalingar_fw.errors import ScalingarError, unknown_name

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_KINDS = ("auto", "cpu", "cuda", "mps")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device that `device` means on this machine.

    "auto" is a CUDA GPU if torch sees one, else Apple's MPS if a first operation works there, else
    the CPU. A device that is asked for by name and is not there is an error, never a fallback: a
    run that silently took a hundred times as long would be worse.
    """
    text = str(device).strip().lower()
    kind, _, index = text.partition(":")
    if kind not in _KINDS or (index and not index.isdigit()) or (kind == "auto" and index):
        raise unknown_name("device", str(device), [*_KINDS, "cuda:0"])
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if _mps_trouble() is None else "cpu"
    if kind == "cuda":
        return _cuda(text if index else "cuda")
    if kind == "mps":
        trouble = _mps_trouble()
        if trouble is not None:
            raise ScalingarError(f"device='mps' cannot be used: {trouble} Use --device cpu.")
    return torch.device(kind)


def _cuda(text: str) -> torch.device:
    if not torch.cuda.is_available():
        why = (
            "this torch was built without CUDA"
            if torch.version.cuda is None
            else "torch sees none (no GPU, or no working driver)"
        )
        raise ScalingarError(
            f"device={text!r} needs an NVIDIA GPU, and {why}. Use --device auto or --device cpu."
        )
    device = torch.device(text)
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ScalingarError(f"device={text!r} does not exist: this machine has {count} GPU(s).")
    return device


def _mps_trouble() -> str | None:
    """Why MPS does not work here, or None where it does.

    It has no float64; what needs that (the noise table and the CDF) stays on the host.
    """
    if not torch.backends.mps.is_available():
        return "torch finds no Apple GPU here."
    try:
        ones = torch.ones(2, device="mps")
        if float((ones + ones).sum().cpu()) != 4.0:
            return "a test sum came out wrong."
    except Exception as error:
        return f"a test operation failed ({error})."
    return None


def resolve_dtype(dtype: str | torch.dtype = "auto") -> torch.dtype | None:
    """torch's dtype for a name; None for "auto", which leaves the choice to the model."""
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    name = dtype.strip().lower()
    if name == "auto":
        return None
    if name not in DTYPES:
        raise unknown_name("dtype", dtype, ["auto", *DTYPES])
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """ "float32" for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
