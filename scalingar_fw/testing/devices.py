"""Finds, on a CPU, what would fail on a GPU: tensors that are made without saying where.

A component's inputs stand for tensors on a GPU. Whatever it makes without naming a device stands
for one on the CPU, until it is moved by `.to(...)`. On a real GPU the two must not meet, so they
must not here. (`torch.from_numpy` can not be overheard; what it brings in passes unseen.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from scalingar_fw.decoding.contracts import leaves
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import STEPPING, Broken, check
from scalingar_fw.testing.stepping import player

#: What moves a tensor to where another one is, or to a device that is named.
_MOVES = {"to", "cuda", "type_as", "copy_"}
#: What takes tensors of the CPU and of a GPU together: indices.
_MIXES = {"__getitem__", "__setitem__", "copy_", "index_put_", "index_put"}


class Elsewhere(TorchFunctionMode):
    """Remembers which tensors of one call lie on the CPU in truth."""

    def __init__(self) -> None:
        super().__init__()
        self._there: dict[int, Tensor] = {}
        self.met: str | None = None

    def __contains__(self, tensor: Tensor) -> bool:
        # A single number may lie anywhere: torch moves it.
        return id(tensor) in self._there and tensor.dim() > 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "?")
        given = list(_tensors((args, kwargs)))
        made = list(_tensors(out))
        if name in _MOVES:
            for tensor in made:
                self._there.pop(id(tensor), None)
        elif not given:
            if kwargs.get("device") is None:
                self._mark(made)
        elif all(id(tensor) in self._there for tensor in given):
            self._mark(made)
        elif any(tensor in self for tensor in given) and name not in _MIXES:
            self.met = self.met or name
        return out

    def _mark(self, tensors: list[Tensor]) -> None:
        self._there |= {id(tensor): tensor for tensor in tensors}


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))


@check("device", *STEPPING)
def tensors_lie_with_the_inputs(kind: str, component: Any, case: Case) -> None:
    """Tensors are made on the input's device, so that what works on a CPU works on a GPU.

    `torch.zeros(n)` lies on the CPU: a run on a GPU stops at its first step, on the machine of
    somebody who can not change the code. Say `device=x.device`, or make it from an input
    (`x.new_zeros(n)`, `context.full(0.0)`).
    """

    def watch(call: Callable[[], Any], inputs: tuple[Any, ...]) -> Any:
        with Elsewhere() as elsewhere:
            out = call()
        if elsewhere.met is not None:
            raise Broken(
                f"a tensor that was made without a device meets one of the inputs in "
                f"{elsewhere.met!r}."
            )
        lost = next((t for t in _tensors(out) if t in elsewhere), None)
        if lost is not None:
            raise Broken(
                f"a tensor of the shape {tuple(lost.shape)} is returned that was made without a "
                "device: it lies on the CPU."
            )
        return out

    player(kind, component, case, watch=watch).run()


__all__ = ["Elsewhere"]
