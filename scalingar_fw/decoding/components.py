"""What a plugin implements. Components decide; each is a pair (init, update) without own memory.

A component is a frozen attrs class: its fields are its configuration, its memory travels in the
state that `init` returns and `update` passes on. Inherit from the base classes here for their
defaults, or implement the same methods without them.

All tensors are `[N]` over the live rows unless said otherwise. A component's `scope` says what it
may read: "row" (each candidate alone) or "cohort" (other candidates of the same prompt as well).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from attrs import Factory, field, frozen
from torch import Tensor

from scalingar_fw.decoding.noise import EXTRA, Prompt, uniforms
from scalingar_fw.decoding.result import Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import (
    Cache,
    Children,
    Chosen,
    Confidence,
    Grid,
    Logits,
    Proposal,
    Rows,
)

Scope = Literal["row", "cohort"]
Distribution = Literal["conditional", "guided"]


@frozen(eq=False)
class Context:
    """What a component may know before the first step.

    `most_rows`: of a prompt after the first step, from which on no step has more of them than the
    one before left (`Sampler.most_rows`); None where the sampler may add rows at any step.
    """

    rows: Rows
    grid: Grid
    vocab_size: int
    sampling: Sampling
    device: torch.device
    most_rows: int | None = field(
        default=Factory(lambda self: int(self.rows.live.max()), takes_self=True)
    )

    def full(self, value: float, *shape: int) -> Tensor:
        """`[N, *shape]` float32 filled with `value`."""
        return torch.full((len(self.rows), *shape), value, device=self.device)


@frozen(eq=False)
class Step:
    """Where the decode is: step `index` of `total`, choosing the token of grid cell `cell`."""

    index: int
    total: int
    grid: Grid
    rows: Rows
    noise: Tensor  # [N] float64 in [0, 1), keyed by (seed, prompt, candidate, index)
    prompts: Sequence[Prompt] = ()
    seeds: Sequence[int] = ()  # one for each prompt
    next_candidate: Sequence[int] = ()  # per prompt: the id that the next fork gets

    @property
    def cell(self) -> tuple[int, int]:
        return divmod(self.index, self.grid.cols)

    def noise_for(self, parent: Tensor) -> Tensor:
        """This step's noise for the children of `parent [M]`, `[M]` float64.

        The first child of a row draws with that row's noise and each further one with its own, so
        branches of a fork never share noise.
        """
        names = Children.of(self.rows, parent, self.next_candidate)
        noise = self.noise.index_select(0, parent.to(self.noise.device))
        for child in names.forks:
            prompt, candidate = int(names.prompt[child]), int(names.candidate[child])
            own = uniforms(self.seeds[prompt], self.prompts[prompt], candidate, self.index + 1)
            noise[child] = own[-1]
        return noise

    def prompt_uniforms(self, prompt: int, count: int, stream: int = EXTRA) -> Any:
        """`count` further numbers of this step for a prompt as a whole (resampling, ...)."""
        return uniforms(self.seeds[prompt], self.prompts[prompt], self.index, count, stream)


class Component:
    """Defaults shared by all: no memory."""

    scope: ClassVar[Scope] = "row"

    def init(self, context: Context) -> Any:
        """The memory before the first step: None, a tensor, a dict of tensors, or an attrs class
        whose per-candidate fields are `candidate_field()`s."""
        return None


class ConfidenceEstimator(Component):
    """Confidence from signals. `update` runs before sampling and feeds the guidance scale;
    `commit` runs after it and may use the chosen tokens' log-probabilities."""

    distribution: Distribution = "conditional"

    #: The closed interval that each quantity lies in, by the name under which it is recorded
    #: ("confidence", "drift", an extra); a quantity that is not named may be any finite number.
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def update(self, state: Any, signals: Signals, step: Step) -> tuple[Confidence, Any]:
        raise NotImplementedError

    def commit(
        self, state: Any, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, Any]:
        return confidence, state


class Guidance(Component):
    """The guidance scale for the token being chosen."""

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Tensor, Any]:
        """`scale [N]`, finite, and the new memory."""
        raise NotImplementedError

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        """The interval that every scale lies in."""
        return (-float("inf"), float("inf"))


@frozen(eq=False)
class Verdict:
    """Whom a termination policy ends at this step.

    `terminate [N]` bool, or None for nobody (which spares the loop its host read). `reason` is a
    sentence with fields of the step's record, such as "{confidence:.3f} below {threshold:.3f}".
    `trace`: named `[N]` tensors to record. `exceptions`: rows of `terminate` that end for another
    reason, each with its own rows, status and sentence (the first that names a row counts).
    """

    terminate: Tensor | None = None
    status: Status = Status.PRUNED
    reason: str = "ended by its termination policy"
    trace: dict[str, Tensor] = field(factory=dict)
    exceptions: tuple[Verdict, ...] = ()


@frozen
class Promises:
    """What a termination policy guarantees, whatever the confidence does.

    `warmup`: steps at the start at which nobody is ended. `survivors`: candidates of a prompt that
    it never goes below. `tokens`: the most that a prompt may cost, None for no cap of its own.
    """

    warmup: int = 0
    survivors: int = 1
    tokens: int | None = None


class Termination(Component):
    """Who may stay. Runs last in a step, after the chosen tokens are known."""

    def update(self, state: Any, confidence: Confidence, step: Step) -> tuple[Verdict, Any]:
        raise NotImplementedError

    def promises(self, total: int) -> Promises:
        """What holds for images of `total` tokens; `scalingar check` and `--check` test it."""
        return Promises()


class Sampler(Component):
    """Which tokens to append to which histories."""

    def most_rows(self, context: Context) -> int | None:
        """The most rows of a prompt after the first step, if no later step has more of them than
        the one before left; else None. A cap on tokens relies on it."""
        return context.most_rows

    def propose(
        self, state: Any, guided: Tensor, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Any]:
        """The tokens to append, and the new memory.

        `guided [N, V]`: guided logits, untempered, -inf where forbidden. Where the proposal names
        parents, the memory returned is the children's, one entry for each proposed row.
        """
        raise NotImplementedError


@frozen(eq=False)
class Pool:
    """The completed candidates of one prompt, from which a selector picks."""

    prompt: Prompt
    candidates: Sequence[Trajectory]
    seed: int
    decode: Callable[[Sequence[Trajectory]], np.ndarray[Any, Any]] | None = None

    def images(self) -> np.ndarray[Any, Any]:
        """The candidates' images, `[K, H, W, 3]` uint8 (for rewards that look)."""
        if self.decode is None:
            raise RuntimeError("This pool has no image decoder: it was made from signals alone.")
        return self.decode(self.candidates)


class Reward(Component):
    """How good completed candidates are; a part of selectors. Higher is better.

    `oracle`: whether it looks at what is being measured, so that its answers are an upper bound
    and no method; tables say so.
    """

    oracle: ClassVar[bool] = False

    @property
    def requires(self) -> Mapping[str, str]:
        """Signals that must have been recorded, each with the setting that records it."""
        return {}

    def score(self, pool: Pool) -> np.ndarray[Any, Any]:
        """`[K]` float64, one number for each of `pool.candidates`."""
        raise NotImplementedError


class Selector(Component):
    """Which completed candidate is the answer. It has no memory: `init` may refuse bad settings."""

    @property
    def requires(self) -> Mapping[str, str]:
        """Signals that must have been recorded, each with the setting that records it."""
        return {}

    @property
    def oracle(self) -> bool:
        """Whether it looks at what is being measured: an upper bound, no method."""
        return False

    def select(self, pool: Pool) -> int:
        """Index into `pool.candidates` (never empty)."""
        raise NotImplementedError


@runtime_checkable
class ModelAdapter(Protocol):
    """A next-token-prediction image model, as the loop sees it.

    `branches`: 2 with an unconditional branch (each candidate costs two forward rows), else 1.
    `finite_logits`: logits are finite wherever `permitted` says so (or everywhere): spares the
    loop the search for -inf. Forced tokens (end of line, ...) are fed by the adapter inside
    `step` and never seen by the loop; `calls(index)` counts them for the ledger.
    """

    # Properties, so that frozen adapters fit: the loop never sets them.
    @property
    def name(self) -> str:
        """How registries and manifests call it."""
        ...

    @property
    def grid(self) -> Grid:
        """The image's token grid."""
        ...

    @property
    def vocab_size(self) -> int:
        """V: the codebook, not a language model's vocabulary."""
        ...

    @property
    def branches(self) -> int:
        """Forward rows that one candidate costs: 2 with an unconditional branch."""
        ...

    @property
    def finite_logits(self) -> bool:
        """Whether logits are finite wherever `permitted` says so."""
        ...

    @property
    def preset(self) -> Sampling:
        """The model's own guidance, temperature and truncation."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; logits are float32 in any case."""
        ...

    def fingerprint(self) -> str:
        """A hash of the weights: part of every run's identity.

        An adapter whose loader has options may have a mapping `settings` of what they resolved
        to (plain data, recorded in `run.json`); then all that changes a result must be in this
        hash. Without it, a run's identity holds the options as they were given.
        """
        ...

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """Validate and encode the prompts; raises `ScalingarError` for one it cannot read."""
        ...

    def prefill(self, conditioning: Any, copies: int) -> tuple[Cache, Logits]:
        """Read each prompt once and copy it: `copies` consecutive rows for each prompt; the
        logits choose token 0."""
        ...

    def step(self, cache: Cache, token: Tensor, index: int) -> Logits:
        """Read `token [N]` (token `index` of each row), in place; logits for the next one."""
        ...

    def calls(self, index: int) -> int:
        """Model calls that `step(..., index)` makes: 1, or more where forced tokens follow."""
        ...

    def decode_images(self, tokens: Tensor) -> Tensor:
        """`[N, T]` tokens to `[N, 3, H, W]` images in [-1, 1]."""
        ...

    def row_bytes(self) -> int:
        """Bytes that one live candidate holds (all branches): cache and logits."""
        ...


__all__ = [
    "Component",
    "ConfidenceEstimator",
    "Context",
    "Guidance",
    "ModelAdapter",
    "Pool",
    "Promises",
    "Reward",
    "Sampler",
    "Scope",
    "Selector",
    "Step",
    "Termination",
    "Verdict",
]
