"""Termination wrappers: each rule on scripted verdicts, and that none ever empties a prompt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingar_fw.decoding.components import (
    ConfidenceEstimator,
    Context,
    Promises,
    Step,
    Termination,
    Verdict,
)
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Signals
from scalingar_fw.decoding.state import Grid, Proposal, Rows, take
from scalingar_fw.decoding.strategy import Multinomial, Strategy
from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.samplers.beam import BeamSampler, DiverseBeamSampler
from scalingar_plugins.samplers.confidence_beam import ConfidenceBeamSampler
from scalingar_plugins.samplers.smc import ParticleSampler
from scalingar_plugins.termination.wrappers import (
    EverySteps,
    MinSurvivors,
    Patience,
    RecoveryWindow,
    TokenBudget,
    Warmup,
)

GRID = Grid(4, 5)
T = GRID.size
MODEL = ReferenceModel(vocab_size=6, grid=GRID)
PROMPTS = [Prompt("a"), Prompt("b")]


@frozen
class Below(Termination):
    """Wants to end whoever has C below `level`, at every step; keeps nobody back."""

    level: float = 0.5

    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        return Verdict(confidence.value < self.level, reason="C was {confidence:.2f}"), None


def run(policy: Termination, script: list[list[float]], total: int = T) -> list[list[bool]]:
    """The verdicts on rows of one prompt whose C is `script[t]`; ended rows leave."""
    live = list(range(len(script[0])))
    rows = Rows.of([0] * len(live), live, 1)
    state = policy.init(Context(rows, GRID, 6, Sampling(), torch.device("cpu")))
    out = []
    for t, values in enumerate(script):
        value = torch.tensor([values[i] for i in live])
        confidence = Confidence.of(value)
        step = Step(t, total, GRID, rows, torch.zeros(len(live)))
        verdict, state = policy.update(state, confidence, step)
        gone = [False] * len(live) if verdict.terminate is None else verdict.terminate.tolist()
        assert not all(gone), "a prompt was emptied"
        out.append(
            [i in [r for r, g in zip(live, gone, strict=True) if g] for i in range(len(values))]
        )
        keep = torch.tensor([k for k, g in enumerate(gone) if not g])
        state, rows = take(state, keep), rows.take(keep)
        live = [live[k] for k in keep.tolist()]
    return out


def ends(policy: Termination, script: list[list[float]], total: int = T) -> dict[int, int]:
    """Row to the step at which it ended."""
    verdicts = run(policy, script, total)
    return {i: t for t, line in enumerate(verdicts) for i, gone in enumerate(line) if gone}


LOW = [[0.9, 0.1]] * T


def test_nobody_is_ended_during_warmup() -> None:
    assert ends(Warmup(0.33, Below()), LOW) == {1: 7}  # ceil(0.33 * 20)
    assert ends(Warmup(0.35, Below()), LOW) == {1: 7}  # 0.35 * 20 rounds up past 7.0 in floats
    assert ends(Warmup(0.0, Below()), LOW) == {1: 0}
    assert ends(Warmup(1.0, Below()), LOW) == {}


def test_verdicts_count_at_every_kth_step_only() -> None:
    assert ends(EverySteps(8, Below()), LOW) == {1: 7}
    assert ends(EverySteps(1, Below()), LOW) == {1: 0}
    between = [[0.9, 0.1 if t in (3, 5) else 0.9] for t in range(T)]
    assert ends(EverySteps(8, Below()), between) == {}


def test_patience_wants_the_verdict_several_times_in_a_row() -> None:
    assert ends(Patience(4, Below()), LOW) == {1: 3}
    assert ends(Patience(1, Below()), LOW) == {1: 0}
    wavering = [[0.9, 0.9 if t % 4 == 3 else 0.1] for t in range(T)]
    assert ends(Patience(4, Below()), wavering) == {}


def test_a_flagged_row_ends_when_its_window_passes_without_a_rebound() -> None:
    assert ends(RecoveryWindow(3, 0.05, policy=Below()), LOW) == {1: 3}
    assert ends(RecoveryWindow(0, 0.05, policy=Below()), LOW) == {1: 0}


def test_a_rebound_within_the_window_clears_the_flag() -> None:
    saved = [[0.9, 0.10]] * 2 + [[0.9, 0.12]] + [[0.9, 0.6]] * (T - 3)
    assert ends(RecoveryWindow(3, 0.05, policy=Below()), saved) == {}
    slight = [[0.9, 0.100]] * 2 + [[0.9, 0.104]] + [[0.9, 0.6]] * (T - 3)
    assert ends(RecoveryWindow(2, 0.05, policy=Below()), slight) == {1: 2}


def test_the_rebound_is_measured_from_the_lowest_point_since_the_flag() -> None:
    falling_first = [[0.9, c] for c in (0.9, 0.30, 0.20, 0.205, 0.205, 0.205, 0.205)]
    assert ends(RecoveryWindow(4, 0.05, policy=Below()), falling_first) == {1: 5}
    rising = [[0.9, c] for c in (0.9, 0.30, 0.20, 0.215, 0.215, 0.6, 0.6)]
    assert ends(RecoveryWindow(4, 0.05, policy=Below()), rising) == {}


def test_after_a_recovery_the_policy_may_flag_again() -> None:
    script = [[0.9, c] for c in (0.1, 0.2, 0.2, 0.2, 0.2, 0.2)]
    assert ends(RecoveryWindow(2, 0.05, policy=Below()), script) == {1: 4}  # again at step 2


def test_a_window_that_the_last_token_cuts_short_ends_in_survival() -> None:
    late = [[0.9, 0.9]] * (T - 2) + [[0.9, 0.1]] * 2
    assert ends(RecoveryWindow(5, 0.05, policy=Below()), late) == {}


def test_the_survivors_are_those_with_the_highest_confidence_then_the_lowest_id() -> None:
    script = [[0.1, 0.4, 0.3, 0.4]] * 3
    assert ends(MinSurvivors(2, Below()), script) == {0: 0, 2: 0}
    assert ends(MinSurvivors(1, Below()), script) == {0: 0, 2: 0, 3: 0}
    assert ends(MinSurvivors(4, Below()), script) == {}
    kept_anyway = [[0.1, 0.4, 0.9]] * 3
    assert ends(MinSurvivors(2, Below()), kept_anyway) == {0: 0}


def test_wrappers_compose() -> None:
    policy = MinSurvivors(2, Warmup(0.25, Patience(3, Below())))
    script = [[0.1, 0.2, 0.3, 0.4]] * T
    assert ends(policy, script) == {0: 5, 1: 5}
    assert policy.promises(T) == Promises(warmup=5, survivors=2)


@pytest.mark.parametrize(
    "policy",
    [Patience(3, Below()), RecoveryWindow(3, 0.05, policy=Below()), MinSurvivors(1, Below())],
)
@given(
    st.lists(
        st.lists(st.sampled_from([0.1, 0.2, 0.6]), min_size=4, max_size=4), min_size=12, max_size=12
    )
)
@settings(max_examples=25)
def test_no_wrapper_empties_a_prompt_even_if_its_policy_would(
    policy: Termination, script: list[list[float]]
) -> None:
    run(policy, script)  # asserts it at every step


# --- token budget ------------------------------------------------------------------------------


@frozen
class Drawn(ConfidenceEstimator):
    """C is a function of the row's own history: its last entropy."""

    def update(self, state: None, signals: Signals, step: Step) -> tuple[Confidence, None]:
        return Confidence.of(1.0 - signals.entropy), None


def spent(result: Decoded, prompt: int) -> int:
    return sum(len(t) - t.forked_at for t in result.of_prompt(prompt))


budgets = st.floats(1.0, 6.0)


@given(budgets, st.integers(1, 6), st.floats(0.0, 1.0))
@settings(max_examples=30)
def test_no_prompt_costs_more_than_its_budget_and_one_image_is_always_completed(
    budget: float, n: int, level: float
) -> None:
    policy = TokenBudget(budget, MinSurvivors(1, Below(level)))
    strategy = Strategy(confidence=Drawn(), termination=policy)
    if policy.cap(T) < n + T - 1:
        with pytest.raises(ScalingarError, match="is too small for"):
            decode(MODEL, strategy, PROMPTS, n=n)
        return
    result = decode(MODEL, strategy, PROMPTS, n=n)
    for prompt in range(2):
        assert spent(result, prompt) <= policy.cap(T) == policy.promises(T).tokens
        assert any(t.completed for t in result.of_prompt(prompt))
    assert result.ledger.tokens == spent(result, 0) + spent(result, 1)


def test_a_budget_of_all_tokens_changes_nothing_and_a_tight_one_is_spent_to_the_last_token() -> (
    None
):
    free = decode(MODEL, Strategy(confidence=Drawn()), PROMPTS, n=4)
    full = Strategy(confidence=Drawn(), termination=TokenBudget(4.0))
    assert decode(MODEL, full, PROMPTS, n=4).ledger.counts() == free.ledger.counts()
    tight = decode(MODEL, evolve(full, termination=TokenBudget(2.5)), PROMPTS, n=4)
    assert [spent(tight, p) for p in range(2)] == [50, 50]
    out = [t for t in tight.trajectories if t.status is Status.OUT_OF_BUDGET]
    assert len(out) == 6
    assert out[0].reason.startswith("the budget of 50 tokens was spent")


def test_the_policy_inside_decides_who_spends_the_rest() -> None:
    """Ending the weaker rows early lets the better ones go on for longer."""
    script = Strategy(confidence=Drawn(), termination=TokenBudget(2.0, MinSurvivors(2, Below(2.0))))
    result = decode(MODEL, script, [PROMPTS[0]], n=4)
    by_status = {s: [len(t) for t in result.trajectories if t.status is s] for s in Status}
    assert by_status[Status.PRUNED] == [1, 1]
    assert by_status[Status.COMPLETED] == [T]
    assert by_status[Status.OUT_OF_BUDGET] == [T - 2]  # 40 = 1 + 1 + 20 + 18
    assert "C was" in next(t.reason for t in result.trajectories if t.status is Status.PRUNED)


@pytest.mark.parametrize(
    "sampler",
    [
        BeamSampler(),
        BeamSampler(branching=2),
        DiverseBeamSampler(groups=2),
        ConfidenceBeamSampler(every=3),
        ParticleSampler(gain=20.0, threshold=1.0),
    ],
)
@pytest.mark.parametrize("budget", [1.25, 2.0, 3.1])
def test_the_budget_holds_for_samplers_that_fork(sampler: Any, budget: float) -> None:
    strategy = Strategy(confidence=Drawn(), sampler=sampler, termination=TokenBudget(budget))
    result = decode(MODEL, strategy, PROMPTS, n=5)
    for prompt in range(2):
        assert spent(result, prompt) <= budget * T
        assert any(t.completed for t in result.of_prompt(prompt))


def test_a_budget_below_one_image_is_refused() -> None:
    with pytest.raises(ScalingarError, match=r"budget=0.9 must lie in \[1, inf\)"):
        TokenBudget(0.9)


@pytest.mark.parametrize("sampler", [BeamSampler(width=6), DiverseBeamSampler(groups=2, width=6)])
@pytest.mark.parametrize("n", [1, 4])
def test_a_search_wider_than_n_keeps_its_budget_or_is_refused_before_the_first_token(
    sampler: Any, n: int
) -> None:
    """Six beams, filled at the first step: their first token and the rest of one are T + 5."""
    least = (T + 5) / T
    strategy = Strategy(sampler=sampler, termination=TokenBudget(least))
    result = decode(MODEL, strategy, PROMPTS, n=n)
    assert [spent(result, p) for p in range(2)] == [T + 5, T + 5]
    tight = evolve(strategy, termination=TokenBudget(least - 0.5 / T))
    with pytest.raises(ScalingarError, match="is too small for 6 candidates"):
        decode(MODEL, tight, PROMPTS, n=n)


def test_a_search_wider_than_the_vocabulary_is_refused_under_a_budget() -> None:
    few = evolve(MODEL, vocab_size=3)
    search = Strategy(sampler=BeamSampler(width=6))
    assert len(decode(few, search, PROMPTS, n=1).of_prompt(0)) >= 6
    with pytest.raises(ScalingarError, match="wider than the vocabulary"):
        decode(few, evolve(search, termination=TokenBudget(6.0)), PROMPTS, n=1)


@frozen
class Growing(Multinomial):
    """Continues every row twice at the third step, and does not say so."""

    def propose(self, state: Any, guided: Any, confidence: Any, step: Any, sampling: Any) -> Any:
        if step.index != 2:
            return super().propose(state, guided, confidence, step, sampling)
        parent = torch.arange(len(step.rows)).repeat_interleave(2)
        return Proposal(guided.logits[parent].argmax(-1), parent=parent), state


def test_a_sampler_that_adds_rows_unannounced_stops_the_decode() -> None:
    grown = Strategy(sampler=Growing(), termination=TokenBudget((T + 3) / T))
    with pytest.raises(ContractError, match="more rows than it was left with"):
        decode(MODEL, grown, PROMPTS, n=2)


@pytest.mark.parametrize(
    "wrapper",
    [MinSurvivors, Warmup, EverySteps, RecoveryWindow, Patience],
    ids=lambda w: w.__name__,
)
def test_a_rule_around_a_budget_is_refused_because_it_would_lift_it(wrapper: Any) -> None:
    strategy = Strategy(confidence=Drawn(), termination=wrapper(policy=TokenBudget(2.0)))
    with pytest.raises(ScalingarError, match="put TokenBudget outside"):
        decode(MODEL, strategy, PROMPTS, n=3)
    inside = evolve(strategy, termination=TokenBudget(2.0, wrapper()))
    assert decode(MODEL, inside, PROMPTS, n=3).ledger.tokens <= 2 * 2 * T
