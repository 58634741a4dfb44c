"""What every model adapter must do, as runnable checks; third-party adapters use the same ones.

    from scalingar_fw.testing.adapters import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
    def test_my_model(check):
        check.run(Subject.of(my_model))

Each check is a sentence; a failure is an AssertionError that says what was compared.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import ReadsWholeSequences
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.state import Logits
from scalingar_fw.errors import ScalingarError

#: Tried in this order by `Subject.of`: texts of different lengths, then classes.
_PROMPTS = (
    (Prompt("a red circle"), Prompt("a green square left of a blue circle")),
    (Prompt(class_id=0), Prompt(class_id=1)),
)
#: Largest difference of logits, relative to the largest logit, that rounding may explain: five
#: trained layers showed 2e-5 with some numbers of threads and batch shapes.
_ROUNDING = {torch.float32: 5e-5, torch.float64: 1e-9}
_HALF_ROUNDING = 3e-2
MEMORY_SHARE = 0.15


@frozen(eq=False)
class Subject:
    """An adapter under test, two prompts that it reads, and how many steps to follow it.

    Prompts of different lengths show the most. `steps` should pass the end of a grid row, where
    forced tokens are.
    """

    model: Any
    prompts: Sequence[Prompt]
    steps: int

    @classmethod
    def of(
        cls, model: Any, prompts: Sequence[Prompt] | None = None, steps: int | None = None
    ) -> Subject:
        """A subject with prompts that the model accepts.

        Raises:
            ScalingarError: none of the usual prompts is accepted: pass two that are.
        """
        if prompts is None:
            prompts = _accepted(model)
        most: int = model.grid.size - 1
        steps = min(most, max(4, model.grid.cols + 1)) if steps is None else min(most, steps)
        return cls(model, tuple(prompts), steps)

    def tokens(self, rows: int, seed: int = 0) -> Tensor:
        """Permitted tokens `[rows, steps]` to feed, the same at each call."""
        generator = torch.Generator().manual_seed(seed)
        mask = self.start().permitted
        if mask is None:
            drawn = torch.randint(self.model.vocab_size, (rows, self.steps), generator=generator)
        else:
            allowed = mask.all(0).nonzero()[:, 0].cpu()
            assert len(allowed), "No token is permitted for every prompt: pass other prompts."
            drawn = allowed[torch.randint(len(allowed), (rows, self.steps), generator=generator)]
        return drawn.to(self.model.device)

    def start(self) -> Logits:
        """The first step's logits, one row for each prompt."""
        logits: Logits = self.prefill()[1]
        return logits

    def prefill(self, prompts: Sequence[Prompt] | None = None, copies: int = 1) -> Any:
        """Cache and logits after reading `prompts`."""
        with torch.inference_mode():
            chosen = self.prompts if prompts is None else prompts
            return self.model.prefill(self.model.encode(chosen), copies)

    def step(self, cache: Any, token: Tensor, index: int) -> Logits:
        with torch.inference_mode():
            logits: Logits = self.model.step(cache, token, index)
            return logits

    def follow(self, prompts: Sequence[Prompt], tokens: Tensor, copies: int = 1) -> list[Logits]:
        """Logits at each step, feeding `tokens [rows, steps]`."""
        cache, logits = self.prefill(prompts, copies)
        trail = [logits]
        for index in range(tokens.shape[1]):
            trail.append(self.step(cache, tokens[:, index], index))
        return trail

    def agree(self, ours: Logits, theirs: Logits, what: str) -> None:
        """Both branches equal up to rounding."""
        rounding = _ROUNDING.get(self.model.dtype, _HALF_ROUNDING)
        for name in ("cond", "uncond"):
            a, b = getattr(ours, name).float(), getattr(theirs, name).float()
            assert a.shape == b.shape, f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}."
            finite = torch.isfinite(a)
            assert torch.equal(finite, torch.isfinite(b)), f"{what}: other tokens are forbidden."
            scale = max(1.0, float(a[finite].abs().max()))
            gap = float((a[finite] - b[finite]).abs().max())
            assert gap <= rounding * scale, (
                f"{what}: {name} logits differ by {gap:.3g} (allowed {rounding * scale:.3g})."
            )
        same = (ours.permitted is None) == (theirs.permitted is None)
        if same and ours.permitted is not None and theirs.permitted is not None:
            same = torch.equal(ours.permitted, theirs.permitted)
        assert same, f"{what}: permitted tokens differ."


def _accepted(model: Any) -> Sequence[Prompt]:
    reasons = []
    for pair in _PROMPTS:
        try:
            with torch.inference_mode():
                model.encode(pair)
            return pair
        except ScalingarError as error:
            reasons.append(str(error))
    raise ScalingarError(
        f"{model.name!r} accepts none of the usual test prompts ({'; '.join(reasons)}): pass two "
        "that it reads."
    )


def rows_of(logits: Logits, rows: Tensor) -> Logits:
    """`logits` for some rows."""
    mask = logits.permitted
    return Logits(
        logits.cond.index_select(0, rows),
        logits.uncond.index_select(0, rows),
        None if mask is None else mask.index_select(0, rows),
    )


@frozen
class Check:
    """One sentence that must be true of an adapter. `id` is stable; `run` raises if it is not."""

    id: str
    sentence: str
    function: Callable[[Subject], None]

    def run(self, subject: Subject) -> None:
        self.function(subject)


def _index(subject: Subject, rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, device=subject.model.device)


def cached_equals_uncached(s: Subject) -> None:
    """The cache changes the cost of a step, never its result.

    Compared with the whole sequence read at once where the adapter can do that
    (`ReadsWholeSequences`), else with each row replayed by itself.
    """
    tokens = s.tokens(len(s.prompts))
    cached = s.follow(s.prompts, tokens)
    if isinstance(s.model, ReadsWholeSequences):
        with torch.inference_mode():
            whole = s.model.teacher_forced(s.prompts, tokens)
        for t, logits in enumerate(cached):
            s.agree(
                logits, Logits(whole.cond[:, t], whole.uncond[:, t], logits.permitted), f"step {t}"
            )
        return
    for row, prompt in enumerate(s.prompts):
        for t in range(s.steps + 1):
            replayed = s.follow([prompt], tokens[row : row + 1, :t])[-1]
            s.agree(rows_of(cached[t], _index(s, [row])), replayed, f"step {t} replayed")


def rows_are_independent(s: Subject) -> None:
    """A row's logits depend on its own prompt and tokens: a neighbour's tokens change nothing."""
    prompts = [s.prompts[0]]
    tokens = s.tokens(2)
    other = tokens.clone()
    other[1] = s.tokens(2, seed=1)[1]
    first = _index(s, [0])
    pairs = zip(s.follow(prompts, tokens, 2), s.follow(prompts, other, 2), strict=True)
    for t, (a, b) in enumerate(pairs):
        s.agree(rows_of(a, first), rows_of(b, first), f"step {t} with another neighbour")


def prompts_of_different_lengths_share_a_batch(s: Subject) -> None:
    """A prompt's logits do not depend on which prompts are read beside it."""
    tokens = s.tokens(len(s.prompts))
    together = s.follow(s.prompts, tokens)
    for row, prompt in enumerate(s.prompts):
        alone = s.follow([prompt], tokens[row : row + 1])
        for t, logits in enumerate(alone):
            s.agree(logits, rows_of(together[t], _index(s, [row])), f"prompt {row}, step {t}")


def take_then_step_equals_step_then_take(s: Subject) -> None:
    """Pruning, reordering and forking move a row's whole memory with it."""
    tokens = s.tokens(2 * len(s.prompts))
    half = max(1, s.steps // 2)
    for picked in ([0], [3, 1], [2, 0, 0, 3, 1, 2], list(range(2 * len(s.prompts)))[::-1]):
        rows = _index(s, [p % len(tokens) for p in picked])
        full, _ = s.prefill(copies=2)
        for index in range(half):
            s.step(full, tokens[:, index], index)
        moved = full.take(rows)
        for index in range(half, s.steps):
            stayed = s.step(full, tokens[:, index], index)
            after = s.step(moved, tokens[rows, index], index)
            s.agree(after, rows_of(stayed, rows), f"rows {picked}, step {index + 1}")


def forks_do_not_share_memory(s: Subject) -> None:
    """After a fork, what one branch reads is not seen by the other, nor by the original."""
    if s.steps < 2:
        return
    prompt, tokens = [s.prompts[0]], s.tokens(1)
    other = s.tokens(1, seed=1)
    expected = [s.follow(prompt, t) for t in (tokens, torch.cat([tokens[:, :1], other[:, 1:]], 1))]
    cache, _ = s.prefill(prompt)
    s.step(cache, tokens[:, 0], 0)
    forked = cache.take(_index(s, [0, 0]))
    for index in range(1, s.steps):
        both = s.step(forked, torch.cat([tokens[:, index], other[:, index]]), index)
        for branch in (0, 1):
            one = rows_of(both, _index(s, [branch]))
            s.agree(one, expected[branch][index + 1], f"branch {branch}, step {index + 1}")
    for index in range(1, s.steps):
        after = s.step(cache, tokens[:, index], index)
        s.agree(after, expected[0][index + 1], f"the original, step {index + 1}")


def both_branches_are_given(s: Subject) -> None:
    """Unconditional logits exist whatever the guidance scale (signals need them at scale 1)."""
    tokens = s.tokens(len(s.prompts))
    for t, logits in enumerate(s.follow(s.prompts, tokens)):
        shape = (len(s.prompts), s.model.vocab_size)
        assert tuple(logits.cond.shape) == shape, f"step {t}: cond is {tuple(logits.cond.shape)}."
        assert tuple(logits.uncond.shape) == shape, f"step {t}: uncond has another shape."
        if s.model.branches == 1:
            assert logits.uncond is logits.cond, "One branch: uncond must be cond itself."
        else:
            assert s.model.branches == 2, f"branches={s.model.branches} must be 1 or 2."
            assert not torch.equal(logits.uncond, logits.cond), f"step {t}: the branches are equal."


def permitted_tokens_are_finite(s: Subject) -> None:
    """Each row permits a token at each step, with logits that are finite where promised."""
    for t, logits in enumerate(s.follow(s.prompts, s.tokens(len(s.prompts)))):
        mask = logits.permitted
        if mask is not None:
            assert mask.dtype is torch.bool and mask.shape == logits.cond.shape, (
                f"step {t}: permitted must be bool, of the logits' shape."
            )
            assert bool(mask.any(-1).all()), f"step {t}: a row permits no token."
        for branch in (logits.cond, logits.uncond):
            reach = branch if mask is None else branch[mask]
            assert not bool(torch.isnan(reach).any()), f"step {t}: NaN."
            assert not bool(torch.isposinf(reach).any()), f"step {t}: +inf."
            if s.model.finite_logits:
                assert bool(torch.isfinite(reach).all()), f"step {t}: promised finite, but is not."


def copies_of_a_prompt_are_identical(s: Subject) -> None:
    """`copies` consecutive rows for each prompt, equal to the bit: they differ by noise alone."""
    cache, logits = s.prefill(copies=3)
    assert logits.cond.shape[0] == 3 * len(s.prompts), "prefill must give `copies` rows each."
    for branch in (logits.cond, logits.uncond):
        grouped = branch.view(len(s.prompts), 3, -1)
        assert torch.equal(grouped, grouped[:, :1].expand_as(grouped)), "copies differ."
    once = s.start()
    s.agree(rows_of(logits, _index(s, [0, 3])), once, "copies against a single row")


def the_same_input_gives_the_same_bits(s: Subject) -> None:
    """Two runs agree exactly, leave global randomness alone and do not change what they are given."""
    tokens = s.tokens(len(s.prompts))
    given, before = tokens.clone(), torch.random.get_rng_state()
    first, second = s.follow(s.prompts, tokens), s.follow(s.prompts, tokens)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.cond, b.cond) and torch.equal(a.uncond, b.uncond), "runs differ."
    assert torch.equal(tokens, given), "step changed the tokens that it was given."
    assert torch.equal(before, torch.random.get_rng_state()), "global randomness was used."
    assert s.model.fingerprint() == s.model.fingerprint() != "", "the fingerprint changes."


def dtype_and_device_are_as_stated(s: Subject) -> None:
    """Logits are floating point on the model's device; images too."""
    logits = s.start()
    for branch in (logits.cond, logits.uncond):
        assert branch.device.type == s.model.device.type, f"logits are on {branch.device}."
        assert branch.dtype.is_floating_point, f"logits are {branch.dtype}."
    image = _images(s)
    assert image.dtype.is_floating_point, f"images are {image.dtype}."
    assert image.device.type == s.model.device.type, f"images are on {image.device}."


def _images(s: Subject) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(s.model.vocab_size, (2, s.model.grid.size), generator=generator)
    with torch.inference_mode():
        image: Tensor = s.model.decode_images(tokens.to(s.model.device))
        return image


def the_grid_fits_the_image(s: Subject) -> None:
    """`grid` counts the tokens of an image; each is a square of whole pixels; `calls` is whole."""
    image, grid = _images(s), s.model.grid
    assert image.dim() == 4 and image.shape[:2] == (2, 3), f"images are {tuple(image.shape)}."
    height, width = image.shape[2] / grid.rows, image.shape[3] / grid.cols
    assert height == width == int(height), f"a token is {height} x {width} pixels."
    for index in range(grid.size - 1):
        calls = s.model.calls(index)
        assert isinstance(calls, int) and calls >= 1, f"calls({index}) is {calls!r}."


def images_lie_in_range(s: Subject) -> None:
    """Pixels are finite, in [-1, 1], and follow the tokens."""
    image = _images(s)
    assert bool(torch.isfinite(image).all()), "an image is not finite."
    assert float(image.abs().max()) <= 1.0, f"pixels reach {float(image.abs().max()):.3g}."
    assert not torch.equal(image[0], image[1]), "different tokens give the same image."


def memory_is_as_estimated(s: Subject) -> None:
    """`row_bytes()` is within 15 % of what a candidate holds: planning by it must not run out.

    On a CPU, the bytes of the cache's and the logits' tensors; on a GPU, the growth of the
    allocator's peak with the number of candidates.
    """
    stated = s.model.row_bytes()
    held = _gpu_bytes(s) if s.model.device.type == "cuda" else _cpu_bytes(s)
    assert abs(stated - held) <= MEMORY_SHARE * held, (
        f"row_bytes() says {stated}; a candidate holds {held:.0f} bytes."
    )


def _cpu_bytes(s: Subject) -> float:
    copies = 4
    prompt = [max(s.prompts, key=lambda p: len(p.text))]
    cache, logits = s.prefill(prompt, copies)
    tokens = s.tokens(1)[:, :1].expand(copies, -1)
    for index in range(s.model.grid.size - 1):
        logits = s.step(cache, tokens[:, 0], index)
    branches = [logits.cond] if logits.uncond is logits.cond else [logits.cond, logits.uncond]
    # The logits may be half of one tensor: count what they show, not the storage behind it.
    shown = sum(b.numel() * 4 for b in branches)
    held: int = sum(b for _, b in held_tensors(cache)) + shown
    return held / copies


def held_tensors(value: Any, seen: set[int] | None = None) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each storage reachable from `value`; a plain number counts 8 bytes."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            yield storage.data_ptr(), storage.nbytes()
    elif isinstance(value, (bool, str, bytes)) or value is None:
        return
    elif isinstance(value, (int, float)):
        yield 0, 8
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, Mapping):
            inside: Any = value.values()
        elif isinstance(value, (list, tuple)):
            inside = value
        elif isinstance(value, Prompt) or callable(value):
            return
        else:
            names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
            inside = [getattr(value, n) for n in names if n != "__weakref__"]
        for item in inside:
            yield from held_tensors(item, seen)


def _gpu_bytes(s: Subject) -> float:
    peaks: list[int] = []
    counts = (2, 6)
    for copies in counts:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(s.model.device)
        cache, logits = s.prefill([s.prompts[-1]], copies)
        token = logits.cond.argmax(-1)
        for index in range(s.steps):
            token = s.step(cache, token, index).cond.argmax(-1)
        peaks.append(torch.cuda.max_memory_allocated(s.model.device))
        del cache, logits, token
    return (peaks[1] - peaks[0]) / (counts[1] - counts[0])


def _checks(*functions: Callable[[Subject], None]) -> tuple[Check, ...]:
    return tuple(
        Check(f.__name__.replace("_", "-"), (f.__doc__ or "").strip().splitlines()[0], f)
        for f in functions
    )


#: Every check, in the order in which failures are easiest to understand.
CHECKS = _checks(
    both_branches_are_given,
    permitted_tokens_are_finite,
    dtype_and_device_are_as_stated,
    the_same_input_gives_the_same_bits,
    copies_of_a_prompt_are_identical,
    cached_equals_uncached,
    rows_are_independent,
    prompts_of_different_lengths_share_a_batch,
    take_then_step_equals_step_then_take,
    forks_do_not_share_memory,
    the_grid_fits_the_image,
    images_lie_in_range,
    memory_is_as_estimated,
)


@frozen
class Finding:
    """The outcome of one check; `detail` is empty where it passed."""

    check: Check
    detail: str

    @property
    def passed(self) -> bool:
        return not self.detail


def check_adapter(
    model: Any, prompts: Sequence[Prompt] | None = None, only: Sequence[str] = ()
) -> list[Finding]:
    """All checks on one adapter (or those of the ids `only`); a check that raises anything has
    failed, with what it said."""
    subject = Subject.of(model, prompts)
    findings = []
    for check in CHECKS:
        if only and check.id not in only:
            continue
        detail = ""
        try:
            check.run(subject)
        except Exception as error:
            detail = str(error) or type(error).__name__
        findings.append(Finding(check, detail))
    return findings
