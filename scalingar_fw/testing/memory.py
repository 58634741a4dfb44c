"""A component's memory with its tensors replaced: how the kit saves and loads one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor


def restored(memory: Any, replace: Callable[[Tensor], Tensor]) -> Any:
    """`memory` with every tensor and array replaced, in a fixed order.

    Numbers, text, enumerations and None stay; `TypeError` for anything that safe loading could
    not bring back.
    """
    if memory is None or isinstance(memory, (bool, int, float, str, enum.Enum, np.generic)):
        return memory
    if isinstance(memory, Tensor):
        return replace(memory)
    if isinstance(memory, np.ndarray):
        return replace(torch.from_numpy(memory)).numpy()
    if isinstance(memory, Mapping):
        return {k: restored(v, replace) for k, v in memory.items()}
    if isinstance(memory, (list, tuple)):
        items = [restored(v, replace) for v in memory]
        cls: Any = type(memory)
        return cls(*items) if hasattr(cls, "_fields") else cls(items)
    if attrs.has(type(memory)):
        fields = [a for a in attrs.fields(type(memory)) if a.init]
        return attrs.evolve(
            memory, **{a.alias: restored(getattr(memory, a.name), replace) for a in fields}
        )
    raise TypeError(
        f"a {type(memory).__name__} is kept, which is no tensor: keep memory in tensors, numbers, "
        "dicts, tuples or attrs classes"
    )
