"""The decoding loop: a fold of `decode_step` over one immutable state. Read this first.

Order in a step (Algorithm 1): signals of the logits -> confidence -> guidance scale -> proposal ->
append -> commit the chosen log-probabilities -> termination -> hooks -> retire -> forward pass.
The only mutations are writes into the preallocated token buffer and the KV cache, which also moves
its rows in place where it can.
"""

from __future__ import annotations

import fnmatch
import operator
from collections.abc import Collection, Sequence

import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from pluggy import HookRelay
from torch import Tensor

from scalingar_fw.decoding.components import Context, ModelAdapter, Pool, Step, Verdict
from scalingar_fw.decoding.events import CandidateEnd, DecodeStart, TokenEvent
from scalingar_fw.decoding.likelihood import KnowsWordClasses, read
from scalingar_fw.decoding.memory_budget import passes_within
from scalingar_fw.decoding.noise import Prompt, check_seeds, noise_table
from scalingar_fw.decoding.recorder import Recorder, StepRecord
from scalingar_fw.decoding.result import Array, Decoded, Ledger, Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided, compute_signals, guided_logits, sanitize
from scalingar_fw.decoding.state import (
    Cache,
    Children,
    GivenUp,
    Logits,
    Proposal,
    Rows,
    candidate_field,
    take,
)
from scalingar_fw.decoding.step import (
    Memories,
    commit,
    departures,
    observe,
    recorded,
    remember,
    terminate,
)
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.decoding.timing import Clock, peak_bytes, reset_peak
from scalingar_fw.errors import ContractError, ScalingarError, shown
from scalingar_fw.hooks import make_hooks


@frozen(eq=False)
class DecodeState:
    """Everything the next step needs; print it to see where a decode stands.

    Grouped: where we are; who the rows are; what they have written; what the model says next;
    what the components remember.
    """

    step: int
    next_candidate: tuple[int, ...]  # per prompt: the id that the next fork gets
    rows: Rows = candidate_field()
    tokens: Tensor = candidate_field()  # [N, T] int64, written in place; read [:, :step]
    noise: Tensor = candidate_field()  # [N, T] float64
    scale: Tensor = candidate_field()  # [N]: of the previous step
    logits: Logits = candidate_field()
    cache: Cache = candidate_field()
    memories: Memories = candidate_field()


@frozen(eq=False)
class BoundStrategy:
    """A strategy bound to a model and a way of sampling, with a seed for each prompt."""

    model: ModelAdapter
    strategy: Strategy
    sampling: Sampling
    prompts: Sequence[Prompt]
    seeds: Sequence[int]

    def at(self, state: DecodeState) -> Step:
        return Step(
            index=state.step,
            total=self.model.grid.size,
            grid=self.model.grid,
            rows=state.rows,
            noise=state.noise[:, state.step],
            prompts=self.prompts,
            seeds=self.seeds,
            next_candidate=state.next_candidate,
        )


def decode(
    model: ModelAdapter,
    strategy: Strategy,
    prompts: Sequence[Prompt],
    *,
    n: int | None = None,
    seed: int | Sequence[int] = 0,
    sampling: Sampling | None = None,
    hooks: HookRelay | None = None,
    max_memory: int | None = None,
    passes: int = 1,
) -> Decoded:
    """Decode `n` candidates for each prompt and choose one of each.

    Args:
        model: the adapter; its `encode` validates the prompts.
        strategy: what to do with the candidates.
        prompts: decoded in one batch; results do not depend on their company (see noise.py).
        n: candidates per prompt; the strategy's own default where None.
        seed: keys all randomness together with each prompt's content; one for all prompts, or
            one each (the same prompt twice in a batch needs two).
        sampling: guidance, temperature, truncation; the model's preset where None.
        hooks: from `make_hooks`; no observers where None.
        max_memory: bytes for the candidates; where they do not fit together and the strategy
            looks at each alone, they are decoded in passes (memory.py).
        passes: at least so many, whatever fits.

    Raises:
        ScalingarError: bad input, found before the first token.
        ContractError: the model or a component returned something impossible.
    """
    n = strategy.default_n if n is None else n
    sampling = model.preset if sampling is None else sampling
    hooks = make_hooks() if hooks is None else hooks
    check(model, sampling, prompts, n)
    seeds = check_seeds(seed, len(prompts))
    bound = BoundStrategy(model, strategy, sampling, tuple(prompts), seeds)
    split = passes_within(
        model, strategy, n=n, prompts=len(prompts), max_memory=max_memory, passes=passes
    )
    ledger, clock = Ledger(), Clock()
    trajectories: list[Trajectory] = []
    reset_peak(model.device)
    with torch.inference_mode():
        for first, count in split:
            state: DecodeState | None = start(bound, n, ledger, clock, first, count)
            if first == 0:
                hooks.on_decode_start(
                    event=DecodeStart(bound.prompts, n, seeds, model.grid, sampling)
                )
            recorder = Recorder()
            while state is not None:
                before = state.rows.candidate
                state, record, verdict = decode_step(bound, state, ledger, recorder, hooks)
                if record.index == 0:
                    check_recorded(strategy, record.values)
                clock.mark("policy")
                hooks.on_token(
                    event=TokenEvent(
                        record.index,
                        record.rows.prompt,
                        record.rows.candidate,
                        record.values,
                        before,
                        record.parent,
                    )
                )
                state = retire(bound, state, record, verdict, recorder, hooks)
                clock.mark("policy")
                if state is not None:
                    state = advance(bound, state, ledger)
                    clock.mark("model")
            trajectories += recorder.trajectories()
    if len(split) > 1:
        trajectories.sort(key=lambda t: (t.prompt, t.candidate))
    chosen = choose(bound, trajectories, ledger)
    clock.mark("select")
    ledger.seconds, ledger.peak_bytes = clock.seconds, peak_bytes(model.device)
    result = Decoded(bound.prompts, trajectories, chosen, ledger, model.grid.size, n)
    hooks.on_decode_end(result=result)
    return result


def check(model: ModelAdapter, sampling: Sampling, prompts: Sequence[Prompt], n: int) -> None:
    """Every rule between model, prompts and settings, once, before any work."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ScalingarError(f"n={n!r} must be a whole number >= 1: candidates per prompt.")
    if not prompts:
        raise ScalingarError("There is no prompt to decode: give at least one.")
    if model.branches < 2 and sampling.guidance != 1.0:
        raise ScalingarError(
            f"guidance={sampling.guidance} needs unconditional logits, which {model.name!r} does "
            "not give: use guidance 1."
        )


def check_recorded(strategy: Strategy, recorded: Collection[str]) -> None:
    """A selector that needs a signal which nothing records is refused after one token, not T."""
    for name, setting in strategy.selector.requires.items():
        if not any(fnmatch.fnmatchcase(one, name) for one in recorded):
            raise ScalingarError(
                f"Strategy {strategy.name!r}: its selector reads the signal {name!r}, which no "
                f"component records: use {setting}. Recorded: {', '.join(sorted(recorded))}."
            )


def start(
    bound: BoundStrategy,
    n: int,
    ledger: Ledger,
    clock: Clock,
    first: int = 0,
    count: int | None = None,
) -> DecodeState:
    """Encode and prefill; every component's `init`.

    `first`, `count`: which of the `n` candidates of each prompt (all by default).
    """
    count = n if count is None else count
    model, prompts = bound.model, bound.prompts
    clock.restart()
    conditioning = model.encode(prompts)
    clock.mark("encode")
    cache, logits = model.prefill(conditioning, count)
    clock.mark("prefill")
    ledger.prefill_rows += model.branches * len(prompts)
    ledger.model_calls += 1
    prompt = np.repeat(np.arange(len(prompts)), count)
    candidate = np.tile(np.arange(first, first + count), len(prompts))
    rows = Rows.of(prompt, candidate, len(prompts), model.device)
    logits = _received(model, logits, len(rows), ledger)
    # Half-precision overflow shows at once as NaN or inf: better said here than sampled from.
    both = torch.stack([logits.cond, logits.uncond])
    reach = both if logits.permitted is None else both[:, logits.permitted]
    if not bool(torch.isfinite(reach).all()):
        raise ContractError(
            f"{model.name!r} gave logits that are not finite for the first token "
            f"(dtype {model.dtype}): use --dtype float32 or bfloat16, or check the weights."
        )
    strategy = bound.strategy
    context = Context(rows, model.grid, model.vocab_size, bound.sampling, model.device)
    # MPS has no float64; there the table stays on the host, where inverse_cdf works as well.
    table = torch.from_numpy(noise_table(bound.seeds, prompts, prompt, candidate, model.grid.size))
    if model.device.type != "mps":
        table = table.to(model.device)
    state = DecodeState(
        step=0,
        next_candidate=(n,) * len(prompts),
        rows=rows,
        tokens=torch.zeros(len(rows), model.grid.size, dtype=torch.int64, device=model.device),
        noise=table,
        scale=context.full(bound.sampling.guidance),
        logits=logits,
        cache=cache,
        memories=remember(strategy, context),
    )
    clock.mark("policy")
    return state


def _received(model: ModelAdapter, logits: Logits, rows: int, ledger: Ledger) -> Logits:
    """Shape and dtype of an adapter's logits, checked where foreign code returns."""
    shape = (rows, model.vocab_size)
    if tuple(logits.cond.shape) != shape or tuple(logits.uncond.shape) != shape:
        raise ContractError(
            f"{model.name!r} returned logits of shape {tuple(logits.cond.shape)} and "
            f"{tuple(logits.uncond.shape)}; both must be {shape} (live rows, vocabulary)."
        )
    if model.finite_logits:  # no search for -inf, and so no wait for the device
        if logits.permitted is None and logits.cond.dtype is torch.float32:
            return logits
        cond = _masked(logits.cond, logits.permitted)
        same = logits.uncond is logits.cond
        uncond = cond if same else _masked(logits.uncond, logits.permitted)
        return Logits(cond, uncond, logits.permitted)
    clean, floored = sanitize(logits.cond, logits.uncond, logits.permitted)
    ledger.floored_logits += floored
    return clean


def _masked(logits: Tensor, permitted: Tensor | None) -> Tensor:
    logits = logits.float()
    return logits if permitted is None else logits.masked_fill(~permitted, -torch.inf)


def decode_step(
    bound: BoundStrategy, state: DecodeState, ledger: Ledger, recorder: Recorder, hooks: HookRelay
) -> tuple[DecodeState, StepRecord, Verdict]:
    """Choose one token for each live row. Each line uses only the lines above it."""
    strategy, step = bound.strategy, bound.at(state)

    # Profile: how sure is the model, and is it still listening to the prompt?
    # Policy: how hard to push towards the prompt.
    before = None
    if strategy.confidence.distribution == "guided":
        before = guided_logits(state.logits, state.scale)
    signals = compute_signals(state.logits, before)
    confidence, scale, memories = observe(strategy, state.memories, signals, step)

    # Act. A proposal with parents moves every per-candidate field before it is appended.
    guided = Guided(guided_logits(state.logits, scale))
    proposal, sampler = strategy.sampler.propose(
        memories.sampler, guided, confidence, step, bound.sampling
    )
    log_p_guided = guided.log_probs
    state = evolve(state, scale=scale, memories=evolve(memories, sampler=None))
    if proposal.parent is not None:
        parent = proposal.parent
        state, step = _follow(bound, state, proposal, recorder, hooks)
        signals, confidence = take(signals, parent), take(confidence, parent)
        log_p_guided = log_p_guided.index_select(0, parent)
    memories = evolve(state.memories, sampler=sampler)  # the children's, where there are parents
    state.tokens[:, state.step] = proposal.token
    ledger.tokens += len(state.rows)

    # Commit what was chosen; then, with everything known, who may stay.
    chosen = signals.commit(proposal.token, log_p_guided)
    confidence, memories = commit(strategy, memories, confidence, chosen, step)
    verdict, memories = terminate(strategy, memories, confidence, step)

    measured = {
        "token": proposal.token,
        "entropy_nats": signals.entropy_nats,
        "entropy": signals.entropy,
        "margin": signals.margin,
        "kl": signals.kl,
        "log_prob_cond": chosen.log_prob_cond,
        "log_prob_uncond": chosen.log_prob_uncond,
        "log_prob_guided": chosen.log_prob_guided,
        "scale": state.scale,
    }
    record = StepRecord(
        index=state.step,
        rows=state.rows,
        parent=proposal.parent,
        values=recorded(measured, confidence, verdict, proposal.trace),
    )
    recorder.add(record)
    return evolve(state, step=state.step + 1, memories=memories), record, verdict


def _follow(
    bound: BoundStrategy,
    state: DecodeState,
    proposal: Proposal,
    recorder: Recorder,
    hooks: HookRelay,
) -> tuple[DecodeState, Step]:
    """Give each proposed row the history it continues; name forks, end rows without a child."""
    assert proposal.parent is not None
    old = state.rows
    names = Children.of(old, proposal.parent, state.next_candidate)
    parents = proposal.parent.tolist()
    for child in names.forks:
        parent = int(old.candidate[parents[child]])
        recorder.fork(int(names.prompt[child]), int(names.candidate[child]), parent, state.step)
    if names.childless:
        recorder.end(old, names.childless, Status.DROPPED, Status.DROPPED.sentence)
        for i in names.childless:
            _say_goodbye(hooks, old, i, state.step, Status.DROPPED, Status.DROPPED.sentence)
    state = _moved(state, proposal.parent)
    rows = Rows.of(names.prompt, names.candidate, old.n_prompts, bound.model.device)
    noise = state.noise
    if names.forks:  # branches of a fork never share noise
        forks = list(names.forks)
        table = noise_table(
            bound.seeds,
            bound.prompts,
            names.prompt[forks],
            names.candidate[forks],
            noise.shape[1],
        )
        noise = noise.clone()
        noise[torch.tensor(forks, device=noise.device)] = torch.from_numpy(table).to(noise.device)
    state = evolve(state, rows=rows, noise=noise, next_candidate=names.next_candidate)
    return state, bound.at(state)


def retire(
    bound: BoundStrategy,
    state: DecodeState,
    record: StepRecord,
    verdict: Verdict,
    recorder: Recorder,
    hooks: HookRelay,
) -> DecodeState | None:
    """Rows leave here and nowhere else; None when none is left. One host read, if any row may go."""
    rows, total = state.rows, bound.model.grid.size
    if state.step == total:
        sentence = Status.COMPLETED.sentence
        recorder.end(rows, range(len(rows)), Status.COMPLETED, sentence)
        for row in range(len(rows)):
            _say_goodbye(hooks, rows, row, state.step, Status.COMPLETED, sentence)
        return None
    just_taken = evolve(bound.at(state), index=record.index)
    leaving = departures(bound.strategy, verdict, record.values, just_taken)
    if not leaving:
        return state
    for gone in leaving:
        recorder.end(rows, [gone.row], gone.status, gone.sentence)
        _say_goodbye(hooks, rows, gone.row, state.step, gone.status, gone.sentence)
    stay = np.delete(np.arange(len(rows)), [gone.row for gone in leaving])
    keep = torch.from_numpy(stay).to(bound.model.device)
    recorder.keep(keep)
    return _moved(state, keep)


def _moved(state: DecodeState, rows: Tensor) -> DecodeState:
    """`take`, and `state` is given up: two caches at once are what memory is short of."""
    return take(evolve(state, cache=GivenUp(state.cache)), rows)


def _say_goodbye(
    hooks: HookRelay, rows: Rows, row: int, length: int, status: Status, sentence: str
) -> None:
    prompt, candidate = int(rows.prompt[row]), int(rows.candidate[row])
    hooks.on_candidate_end(event=CandidateEnd(prompt, candidate, length, status, sentence))


def advance(bound: BoundStrategy, state: DecodeState, ledger: Ledger) -> DecodeState:
    """Run the model on the tokens just written, survivors only."""
    model, index = bound.model, state.step - 1
    logits = model.step(state.cache, state.tokens[:, index], index)
    calls = model.calls(index)
    ledger.decode_rows += model.branches * len(state.rows) * calls
    ledger.model_calls += calls
    return evolve(state, logits=_received(model, logits, len(state.rows), ledger))


def choose(
    bound: BoundStrategy, trajectories: Sequence[Trajectory], ledger: Ledger | None = None
) -> list[int]:
    """Each prompt's answer, as an index into `trajectories`; `ledger` pays for what is read."""
    paid = Ledger() if ledger is None else ledger
    chosen = []
    for number, prompt in enumerate(bound.prompts):
        places = [i for i, t in enumerate(trajectories) if t.prompt == number and t.completed]
        if not places:
            raise ContractError(f"No candidate of prompt {number} was completed.")
        pool = Pool(
            prompt,
            [trajectories[i] for i in places],
            bound.seeds[number],
            lambda some: to_images(bound.model, some),
            lambda some, prompts: read(bound.model, some, prompts, paid),
            bound.model.word_classes if isinstance(bound.model, KnowsWordClasses) else (),
        )
        pick = bound.strategy.selector.select(pool)
        try:
            place = operator.index(pick)
        except TypeError:
            place = -1
        if isinstance(pick, (bool, np.bool_)) or not 0 <= place < len(places):
            raise ContractError(
                f"{type(bound.strategy.selector).__name__} chose {shown(pick, 60)} of "
                f"{len(places)} completed candidates: it must give the place of one."
            )
        chosen.append(places[place])
    return chosen


def to_images(
    model: ModelAdapter, trajectories: Sequence[Trajectory], hooks: HookRelay | None = None
) -> NDArray[np.uint8]:
    """Images `[K, H, W, 3]` uint8 of trajectories; a pruned one is filled up with token 0."""
    images = []
    for start_at in range(0, len(trajectories), 16):  # bounded memory at 512 x 512
        part = trajectories[start_at : start_at + 16]
        tokens = torch.zeros(len(part), model.grid.size, dtype=torch.int64)
        for i, t in enumerate(part):
            tokens[i, : len(t)] = torch.tensor(t.tokens)
        with torch.inference_mode():
            pixels = model.decode_images(tokens.to(model.device)).float().cpu()
        # Rounded, as torchvision's save_image does; official scripts differ by one level here.
        images.append(((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    array: Array = torch.cat(images).permute(0, 2, 3, 1).contiguous().numpy()
    array.setflags(write=False)
    if hooks is not None:
        for t, image in zip(trajectories, array, strict=True):
            hooks.on_image(prompt=t.prompt, candidate=t.candidate, image=image)
    return array
