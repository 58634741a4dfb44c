"""What an estimator says of each candidate: one number to compare by, and named signals beside it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.state import candidate_field
from scalingar_fw.errors import unknown_name

#: The name under which `Confidence.value` is recorded.
VALUE = "confidence"


@frozen(eq=False)
class Confidence:
    """How promising each live row is, `[N]` float32 each, higher is better.

    `value`: what policies and selectors compare candidates by. `signals`: further named quantities;
    schedules and policies may read them by name, and all are recorded in the trace under it.
    ScalingAR's channels are three of them: "intrinsic" (I), "drift" (D) and "rebound" (R). A signal
    that an estimator does not have is absent; whoever reads one decides what absence means.
    """

    value: Tensor = candidate_field()
    signals: Mapping[str, Tensor] = candidate_field(factory=dict)

    @classmethod
    def of(cls, value: Tensor, **signals: Tensor) -> Confidence:
        """`Confidence(value, signals)`, for signals whose names are known when it is written."""
        return cls(value, signals)

    def signal(self, name: str) -> Tensor:
        """A quantity by the name under which it is recorded: "confidence", or a signal's.

        Raises:
            ScalingarError: the estimator has no such signal.
        """
        if name == VALUE:
            return self.value
        if name not in self.signals:
            raise unknown_name("signal of the confidence estimator", name, [VALUE, *self.signals])
        return self.signals[name]

    def recorded(self) -> dict[str, Tensor]:
        """All quantities by the name under which they are recorded."""
        return {VALUE: self.value, **self.signals}


__all__ = ["VALUE", "Confidence"]
