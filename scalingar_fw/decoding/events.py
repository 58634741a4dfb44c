"""What observers receive: light views, copied to the host (and made read-only) when read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Status, frozen_array
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid


@frozen(eq=False)
class DecodeStart:
    """`n` candidates for each of `prompts`, `total` tokens each."""

    prompts: Sequence[Prompt]
    n: int
    seeds: Sequence[int]
    grid: Grid
    sampling: Sampling

    @property
    def total(self) -> int:
        return self.grid.size


class TokenEvent(Mapping[str, Array]):
    """One step of all live candidates: a mapping from signal names to read-only `[N]` arrays.

    `index`: the step; `prompt`, `candidate` `[N]`: whose values they are; `parent [N]`: whose
    history each of them continues.
    """

    __slots__ = ("_before", "_candidate", "_parent", "_prompt", "_values", "index")

    def __init__(
        self,
        index: int,
        prompt: Array,
        candidate: Array,
        values: dict[str, Tensor],
        before: Array | None = None,
        parent: Tensor | None = None,
    ):
        self.index = index
        self._prompt, self._candidate = prompt, candidate
        self._values = values
        # Candidates that were live before the step, and the place among them of each one's parent.
        self._before, self._parent = before, parent

    @property
    def prompt(self) -> Array:
        return frozen_array(self._prompt)

    @property
    def candidate(self) -> Array:
        return frozen_array(self._candidate)

    @property
    def parent(self) -> Array:
        """`[N]`: the candidate whose tokens so far each one continues. Its own, unless the sampler
        forked or moved histories at this step (beam search, resampling)."""
        if self._before is None or self._parent is None:
            return self.candidate
        return frozen_array(self._before[self._parent.cpu().numpy()])

    @property
    def live(self) -> int:
        """N: candidates that received a token at this step."""
        return len(self._candidate)

    def __getitem__(self, name: str) -> Array:
        return frozen_array(self._values[name].detach().cpu().numpy())

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@frozen
class CandidateEnd:
    """How a candidate ended, after `tokens` tokens."""

    prompt: int
    candidate: int
    tokens: int
    status: Status
    reason: str
