"""The contract: six kinds of component, what each is asked, and the answer it gives by default.

A component decides; an observer (hookspecs.py) only watches. A component is a frozen attrs class
that inherits from the base class of its kind. Its fields are its configuration. It has no memory of
its own: `init` returns the memory before the first step, every update takes the memory and returns
the next one, and the loop keeps it, moving each candidate's entry when candidates leave, fork or
change places (`take` in state.py). So one object serves any number of decodes at once.

Every question that the loop, the checker, the memory planner, the meter, replay or the conformance
kit asks is a method or property here, with a default. Nobody probes a component with `hasattr`, and
a wrapper (wrapper.py) that forwards everything here forwards everything there is.

Shapes: N live rows over all prompts, V tokens in the vocabulary, T tokens in an image. Tensors are
`[N]` float32 on the model's device unless said otherwise.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from attrs import Factory, field, frozen
from torch import Tensor

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.noise import EXTRA, Prompt, uniforms
from scalingar_fw.decoding.result import Array, Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided, Signals
from scalingar_fw.decoding.state import (
    Cache,
    Children,
    Chosen,
    Grid,
    Logits,
    Proposal,
    Rows,
)
from scalingar_fw.errors import ScalingarError

#: The type of a component's memory: None, a tensor, a dict of tensors, or an attrs class whose
#: per-candidate fields are `candidate_field()`s.
State = TypeVar("State")

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
        """Row and column of the token being chosen, in raster order from (0, 0)."""
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

    def prompt_uniforms(self, prompt: int, count: int, stream: int = EXTRA) -> Array:
        """`count` further numbers of this step for a prompt as a whole (resampling, ...), `[count]`
        float64 in [0, 1)."""
        return uniforms(self.seeds[prompt], self.prompts[prompt], self.index, count, stream)


class Component(Generic[State]):
    """What all kinds have in common."""

    #: The kind's name in settings, registries and messages; set by the six base classes.
    kind: ClassVar[str] = ""

    @property
    def scope(self) -> Scope:
        """What it may read: "row" (each candidate by itself) or "cohort" (other live candidates of
        the same prompt as well).

        Candidates under "row" components can be decoded in passes when memory is short, and can be
        replayed from a recording; those under a "cohort" component must stay together.
        """
        return "row"

    @property
    def expected_failures(self) -> Mapping[str, str]:
        """Checks of the conformance kit that it fails by design, each with the reason."""
        return {}

    def init(self, context: Context) -> State:
        """The memory before the first step.

        Raises:
            ScalingarError: its settings cannot work with this model or grid (before any token).
        """
        return None  # type: ignore[return-value]  # no memory


class ConfidenceEstimator(Component[State]):
    """How promising each candidate is, read off the logits.

    Called twice in a step. `update` runs before sampling and feeds the guidance schedule; `commit`
    runs once the tokens are chosen and feeds the termination policy, the trace and the selector.
    """

    kind = "confidence"

    @property
    def distribution(self) -> Distribution:
        """Whose entropy and margin `signals` hold: the conditional distribution's, or the guided
        one's under the previous step's scale."""
        return "conditional"

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The closed interval that each quantity lies in, by the name under which it is recorded
        ("confidence", or a signal's); one that is not named may be any finite number."""
        return {}

    def update(self, state: State, signals: Signals, step: Step) -> tuple[Confidence, State]:
        """Confidence before the token is chosen, and the new memory.

        Guarantee: finite, within `ranges`, the same for the same inputs; `signals` untouched.
        """
        raise NotImplementedError

    def commit(
        self, state: State, confidence: Confidence, chosen: Chosen, step: Step
    ) -> tuple[Confidence, State]:
        """Confidence after the token is chosen, and the new memory.

        `confidence` is what `update` returned (the parents' where rows forked); `chosen` has the
        tokens and their log-probabilities in nats. By default nothing changes.
        """
        return confidence, state


class Guidance(Component[State]):
    """The scale of classifier-free guidance for the token being chosen."""

    kind = "guidance"

    def update(self, state: State, confidence: Confidence, step: Step) -> tuple[Tensor, State]:
        """The scale s in l_u + s (l_c - l_u), `[N]` float32, and the new memory.

        Guarantee: finite and within `bounds`.
        """
        raise NotImplementedError

    def bounds(self, sampling: Sampling) -> tuple[float, float]:
        """The closed interval that every scale lies in, given the user's sampling settings."""
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


class Termination(Component[State]):
    """Who may stay. Runs last in a step, when the chosen tokens are known."""

    kind = "termination"

    def update(self, state: State, confidence: Confidence, step: Step) -> tuple[Verdict, State]:
        """Whom to end, and the new memory.

        Guarantee: every prompt keeps a candidate; what `promises` says holds. At the last step the
        verdict is recorded and not acted on: every image is complete.
        """
        raise NotImplementedError

    def promises(self, total: int) -> Promises:
        """What holds for images of `total` tokens; `scalingar check` and `--check` test it."""
        return Promises()


class Sampler(Component[State]):
    """Which tokens to append to which histories."""

    kind = "sampler"

    @property
    def noise(self) -> str:
        """How its draws are keyed, as run.json records it."""
        return "Philox 4x64 keyed by (seed, prompt, candidate, step); inverse CDF in float64"

    def most_rows(self, context: Context) -> int | None:
        """The most rows of a prompt after the first step, if no later step has more of them than
        the one before left; None if it may add rows at any step. A cap on tokens relies on it."""
        return context.most_rows

    def drawn_from(self, guided: Guided, sampling: Sampling) -> Tensor | None:
        """The log-probabilities in nats, `[N, V]`, that each row's token is drawn from; the
        conformance kit counts draws against them. None where it searches and draws nothing."""
        return None

    def deterministic(self, sampling: Sampling) -> bool:
        """Whether it draws nothing at all with these settings, so that rows with equal logits get
        equal tokens: of such candidates `generate` decodes one."""
        return False

    def propose(
        self, state: State, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, State]:
        """The tokens to append, and the new memory.

        `guided.logits [N, V]`: guided, untempered, untruncated, -inf where forbidden;
        `guided.log_probs` their log-softmax in nats, computed once a step for everybody.
        Guarantee: permitted tokens, live parents, at least one row for each prompt, and no
        randomness but `step.noise` and `step.prompt_uniforms`. Where the proposal names parents,
        the memory returned is the children's: one entry for each proposed row.
        """
        raise NotImplementedError


@frozen(eq=False)
class Pool:
    """The completed candidates of one prompt, from which a selector picks."""

    prompt: Prompt
    candidates: Sequence[Trajectory]
    seed: int
    decode: Callable[[Sequence[Trajectory]], Array] | None = None
    read: Callable[[Sequence[Trajectory], Sequence[Prompt]], Array] | None = None
    word_classes: Sequence[Sequence[str]] = ()  # of the model's vocabulary, if it names any

    def log_probs(
        self, prompts: Sequence[Prompt], candidates: Sequence[Trajectory] | None = None
    ) -> Array:
        """Log-probabilities in nats of every token of the candidates (all by default) under each
        of `prompts`, `[M, K, T]` float64 (likelihood.py). It costs M K sequences of the model.

        Raises:
            ScalingarError: the pool was made from a recording, which holds no model.
        """
        if self.read is None:
            raise ScalingarError(
                "This pool cannot be read under other prompts: it was made from a recording, which "
                "holds signals and no model. Decode, or choose a selector that reads signals."
            )
        return self.read(self.candidates if candidates is None else candidates, prompts)

    def images(self) -> Array:
        """The candidates' images, `[K, H, W, 3]` uint8 (for rewards that look)."""
        if self.decode is None:
            raise RuntimeError("This pool has no image decoder: it was made from signals alone.")
        return self.decode(self.candidates)


class Reward(Component[None]):
    """How good completed candidates are; a part of selectors. Higher is better."""

    kind = "reward"

    @property
    def oracle(self) -> bool:
        """Whether it looks at what is being measured, so that its answers are an upper bound and
        no method; tables say so."""
        return False

    @property
    def requires(self) -> Mapping[str, str]:
        """Signals that must have been recorded, each with the setting that records it; `phi_*` is
        any signal whose name begins so."""
        return {}

    def score(self, pool: Pool) -> Array:
        """`[K]` float64, one finite number for each of `pool.candidates`, in their order."""
        raise NotImplementedError


class Selector(Component[None]):
    """Which completed candidate is the answer. It has no memory: `init` may refuse bad settings."""

    kind = "selector"

    @property
    def requires(self) -> Mapping[str, str]:
        """Signals that must have been recorded, each with the setting that records it; `phi_*` is
        any signal whose name begins so."""
        return {}

    @property
    def oracle(self) -> bool:
        """Whether it looks at what is being measured: an upper bound, no method."""
        return False

    def select(self, pool: Pool) -> int:
        """Index into `pool.candidates` (never empty). Ties go to the lower candidate id."""
        raise NotImplementedError


#: The base class of each kind, by its name in settings and registries.
BASES: dict[str, type[Component[Any]]] = {
    base.kind: base
    for base in (ConfidenceEstimator, Guidance, Termination, Sampler, Selector, Reward)
}


def kind_of(cls: Any) -> str | None:
    """The kind of component that a class is, or None."""
    if not (isinstance(cls, type) and issubclass(cls, Component)):
        return None
    return cls.kind or None


def check_kind(kind: str, component: Any) -> None:
    """Raise `ScalingarError` unless `component` is one of `kind`; it says what to write."""
    base = BASES[kind]
    if isinstance(component, base):
        return
    if isinstance(component, type) and issubclass(component, base):
        why = f"pass an object, not a class: {component.__name__}(...)"
    else:
        why = _what_to_write(base, component)
    raise ScalingarError(f"{component!r} is no {kind} component: {why}.")


def check_target(kind: str, target: Any) -> None:
    """Raise `ScalingarError` unless `target`, as a plugin registers it, can give components of
    `kind`: an object or a class of that kind, or a function whose answer `check_kind` sees later.
    """
    base = BASES[kind]
    whole = issubclass(target, base) if isinstance(target, type) else isinstance(target, base)
    function = inspect.isroutine(target) or isinstance(target, functools.partial)
    if not (whole or function):
        raise ScalingarError(f"{target!r} is no {kind} component: {_what_to_write(base, target)}.")


def _what_to_write(base: type[Component[Any]], thing: Any) -> str:
    """How `thing`, an object or a class, becomes a component of the kind of `base`."""
    cls = thing if isinstance(thing, type) else type(thing)
    if issubclass(cls, Component):
        return f"it is a {cls.kind} component"
    if cls.__module__ == "builtins":
        return "give a component of that kind"
    return f"inherit from its base class: class {cls.__name__}(scalingar_fw.{base.__name__})"


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

        An adapter whose loader has options may say what they resolved to (`HasSettings`); then
        all that changes a result must be in this hash. Without it, a run's identity holds the
        options as they were given.
        """
        ...

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """The prompts as `prefill` wants them, checked: no later method refuses a prompt.

        Raises:
            ScalingarError: the model cannot read one of them; names it.
        """
        ...

    def prefill(self, conditioning: Any, copies: int) -> tuple[Cache, Logits]:
        """Read each of P prompts once, and copy it to `copies` consecutive rows.

        The logits, `[P copies, V]` for each branch, choose token 0. The cache holds both branches
        and moves by `take`. Guarantee: a prompt's rows are the same whatever its company, up to the
        rounding of matrix products.
        """
        ...

    def step(self, cache: Cache, token: Tensor, index: int) -> Logits:
        """Read `token [N]` int64 (token `index` of each row) into the cache, in place.

        The logits, `[N, V]` for each branch, choose token `index + 1`: unnormalised, before guidance,
        temperature and truncation, in any floating dtype. N is the number of rows that the cache
        has now; it shrinks when candidates end and may grow when a sampler forks.
        """
        ...

    def calls(self, index: int) -> int:
        """Model calls that `step(..., index)` makes: 1, or more where forced tokens follow."""
        ...

    def decode_images(self, tokens: Tensor) -> Tensor:
        """`[N, T]` int64 tokens, complete, to `[N, 3, H, W]` float images in [-1, 1]; values
        beyond that are clipped by the caller."""
        ...

    def row_bytes(self) -> int:
        """Bytes that one live candidate holds at its last token, all branches: cache and logits.
        `--max-memory` plans by it, so too small a number runs out of memory."""
        ...


@runtime_checkable
class HasSettings(Protocol):
    """An adapter that says what its loader's options resolved to."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain data, recorded in `run.json`. What changes a result is in `fingerprint()` too."""
        ...


@runtime_checkable
class ReadsWholeSequences(Protocol):
    """An adapter that can read a sequence at once: a second opinion on its cache for the checks."""

    def teacher_forced(self, prompts: Sequence[Prompt], tokens: Tensor) -> Logits:
        """The logits before and after each of `tokens [P, steps]`, `[P, steps + 1, V]`."""
        ...


@runtime_checkable
class MovesByPieces(Protocol):
    """An adapter whose caches move their rows in place (`keep` in state.py), piece by piece.

    Without it, a prune is planned with a second cache beside the first.
    """

    def beside_bytes(self) -> int:
        """Bytes for each row that lie beside `row_bytes` while the cache grows or moves."""
        ...


__all__ = [
    "BASES",
    "Component",
    "ConfidenceEstimator",
    "Context",
    "Guidance",
    "HasSettings",
    "ModelAdapter",
    "MovesByPieces",
    "Pool",
    "Promises",
    "ReadsWholeSequences",
    "Reward",
    "Sampler",
    "Scope",
    "Selector",
    "State",
    "Step",
    "Termination",
    "Verdict",
    "check_kind",
    "check_target",
    "kind_of",
]
