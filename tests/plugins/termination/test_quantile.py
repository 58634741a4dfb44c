"""Eq. 9 and the probation of section 4.2.1: by hand, against the slow reference, at the edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import reference_scalingar as slow
import torch
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import context, step_at
from torch import Tensor

from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Grid, Rows, take
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.termination.quantile import QuantileTermination

Who = tuple[int, int]
Streams = Mapping[Who, Sequence[float]]


@frozen
class Played:
    """What a policy did: `ended`: who went at which step; the traces by step, then by who."""

    ended: dict[Who, int]
    threshold: list[dict[Who, float]]
    flagged: list[dict[Who, float]]
    recovered: list[dict[Who, float]]
    reasons: dict[Who, str]

    def at(self, name: str, step: int) -> list[Who]:
        return [who for who, x in getattr(self, name)[step].items() if x == 1.0]


def play(
    policy: QuantileTermination,
    c: Streams,
    r: Streams | None = None,
    order: np.random.Generator | None = None,
) -> Played:
    """The policy on given confidences (and rebounds), rows leaving as the loop lets them leave.
    `order`: shuffle the rows before every step."""
    who = list(c)
    total = len(c[who[0]])
    grid = Grid(1, total)
    prompts = 1 + max(p for p, _ in who)
    rows = Rows.of([p for p, _ in who], [k for _, k in who], prompts)
    state = policy.init(context(rows, grid))
    done = Played({}, [], [], [], {})
    for t in range(total):
        if order is not None:
            mixed = torch.from_numpy(order.permutation(len(rows)))
            rows, state = rows.take(mixed), take(state, mixed)
        names = list(zip(rows.prompt.tolist(), rows.candidate.tolist(), strict=True))
        value = torch.tensor([c[k][t] for k in names], dtype=torch.float32)
        risen = torch.tensor([0.0 if r is None else r[k][t] for k in names], dtype=torch.float32)
        confidence = Confidence.of(value, rebound=risen)
        verdict, state = policy.update(state, confidence, step_at(t, grid, rows))
        for name in ("threshold", "flagged", "recovered"):
            series = verdict.trace[name]
            assert series.shape == value.shape and series.dtype is torch.float32
            getattr(done, name).append(dict(zip(names, series.tolist(), strict=True)))
        if verdict.terminate is None:
            continue
        assert bool(verdict.terminate.any()) and verdict.status is Status.PRUNED
        for i, k in enumerate(names):
            if bool(verdict.terminate[i]):
                done.ended[k] = t
                done.reasons[k] = verdict.reason.format(
                    confidence=c[k][t],
                    rebound=float(risen[i]),
                    threshold=float(verdict.trace["threshold"][i]),
                )
        keep = (~verdict.terminate).nonzero()[:, 0]
        rows, state = rows.take(keep), take(state, keep)
    return done


def named(table: str, prompt: int = 0) -> dict[Who, list[float]]:
    """Candidates 0, 1, ... of a prompt; one line each, in hundredths, one number for each step;
    the last one is repeated."""
    lines = [[int(x) / 100 for x in line.split()] for line in table.strip().splitlines()]
    total = max(map(len, lines))
    return {(prompt, i): line + [line[-1]] * (total - len(line)) for i, line in enumerate(lines)}


def rebounds(c: Streams) -> dict[Who, list[float]]:
    """R_t of eq. 8."""
    return {who: slow.unified(line, line, 1.0, 0.0)[1] for who, line in c.items()}


A, B, C, D = ((0, i) for i in range(4))

#: T = 16; a warm-up of 2 steps; p = 0.5 and rate 0.5, so that thresholds can be done in the head; a
#: probation of 2 further steps; a recovery at +10 %.
EASY = QuantileTermination(
    quantile=0.5, rate=0.5, warmup=0.125, recovery_window=2, recovery_threshold=0.1
)
TABLE = named(
    """
    90 20 80 80 80 80 80 80 80 80 80 50 50 50 50 50
    90 70 60 60 60
    90 70 40 50 50 50 54
    90 70 70 70 70 60 60 67 60 60 60
    """
)


def test_the_window_step_by_step() -> None:
    """Flags, recoveries and prunings worked out by hand.

    step  live C              median  theta     what happens
    0, 1  (a dips to 20)                        warm-up: nothing is compared
    2     80 60 40 70         65      65        b and c are flagged, until step 4
    3     80 60 50 70         65      65        c recovers: (50 - 40) / 40 = 25 %
    4     80 60 50 70         65      65        c is flagged again, until 6; b never rose: ended
    5     80    50 60         60      62.5      d is flagged, until 7
    6     80    54 60         60      61.25     c rose by 8 % of the 50 at its flag: ended
    7     80       67         73.5    67.375    d recovers: (67 - 60) / 60 = 11.7 %
    8     80       60         70      68.6875   d is flagged, until 10
    9     80       60         70      69.34375
    10    80       60         70      69.671875 d never rose: ended
    11    50                  50      59.8...   a is flagged, until 13, and is the last: it stays
    """
    done = play(EASY, TABLE)
    assert done.ended == {B: 4, C: 6, D: 10}
    thetas = [0.65, 0.65, 0.65, 0.625, 0.6125, 0.67375, 0.686875, 0.6934375, 0.69671875]
    thetas += [0.598359375, 0.5491796875, 0.52458984375, 0.512294921875, 0.5061474609375]
    for t, theta in enumerate(thetas, start=2):
        np.testing.assert_allclose(list(done.threshold[t].values()), theta, rtol=1e-6)
    assert all(math.isnan(x) for t in (0, 1) for x in done.threshold[t].values())
    flagged = [[], [], [B, C], [B], [B, C], [C, D], [C, D], [], [D], [D], [D], *[[A]] * 5]
    assert [done.at("flagged", t) for t in range(16)] == flagged
    recovered = {3: [C], 7: [D]}
    assert [done.at("recovered", t) for t in range(16)] == [recovered.get(t, []) for t in range(16)]


def test_the_sentence_says_what_happened() -> None:
    reasons = play(EASY, TABLE).reasons
    assert reasons[B] == (
        "its confidence fell below the threshold and did not rebound by 10 % from its low within 2 "
        "steps, now 0.600 with the threshold at 0.650 (eq. 9)"
    )
    final = play(evolve(EASY, recovery_rule="final"), TABLE).reasons
    assert "did not rebound by 10 % from its low after 2 steps" in final[B]
    short = play(evolve(EASY, recovery_window=0), TABLE).reasons
    assert short[B] == (
        "confidence 0.600 was below the threshold 0.650, with a rebound of 0.0%, less than 10 % "
        "(Algorithm 1)"
    )


def test_only_the_last_steps_rebound_counts_under_the_final_rule() -> None:
    """c rises by 25 % at once and stays there: the flag is cleared at step 4 and not at 3. d rises
    at step 3 and is back at step 4: ended there."""
    c = named(
        """
        90 70 80 80 80 80 80 80
        90 70 80 80 80 80 80 80
        90 70 40 50 50 90 90 90
        90 70 40 70 40
        """
    )
    any_step = play(EASY, c)
    assert any_step.at("recovered", 3) == [C, D] and any_step.ended == {D: 6}
    last_step = play(evolve(EASY, recovery_rule="final"), c)
    assert last_step.at("recovered", 3) == [] and last_step.at("recovered", 4) == [C]
    assert last_step.at("flagged", 3) == [C, D]
    assert last_step.ended == {D: 4}


def test_the_rebound_since_the_start_is_the_states() -> None:
    """b's minimum of 20 lies before its flag: at 40 it has risen by 100 % since the start, which
    clears each flag as it is raised, and by nothing since the flag."""
    c = named(
        """
        90 80 80 80 80 80 80 80
        20 40 40 40 40 40 40 40
        """
    )
    since_flag = play(EASY, c, rebounds(c))
    assert since_flag.ended == {B: 3} and since_flag.at("flagged", 1) == [B]
    since_start = play(evolve(EASY, rebound_reference="start"), c, rebounds(c))
    assert since_start.ended == {}
    for t in range(1, 8):
        assert since_start.at("flagged", t) == []
        assert since_start.at("recovered", t) == [B]


@pytest.mark.parametrize("reference", ["flag", "start"])
@pytest.mark.parametrize("rule", ["any", "final"])
def test_without_a_window_it_is_algorithm_1s_short_form(reference: Any, rule: Any) -> None:
    """Prune where C < theta and R < delta_rec at this step, R being eq. 8's; whatever the
    decisions about probations say. Medians 60, 65 (theta 62.5), then 70 (66.25), 70 ...

    b falls to 50 at step 1, its minimum: ended there. c is at 60 after a minimum of 50: +20 %, so
    it stays at steps 2 and 3; at 4 it is at its minimum again: ended.
    """
    c = named(
        """
        90 80 80 80 80 80 80 80
        90 50
        50 60 60 60 50
        90 80 80 80 80 80 80 80
        """
    )
    policy = evolve(EASY, recovery_window=0, rebound_reference=reference, recovery_rule=rule)
    done = play(policy, c, rebounds(c))
    assert done.ended == {B: 1, C: 4}
    assert [done.at("recovered", t) for t in range(1, 5)] == [[C], [C], [C], []]
    assert done.at("flagged", 1) == [B] and done.at("flagged", 2) == []


def test_nothing_happens_in_the_warm_up_and_the_first_threshold_is_the_quantile_itself() -> None:
    """W_0 = ceil(0.3 * 9) = 3. The second threshold is the first moving average."""
    c = named(
        """
        90 90 90 90 90 90 90 90 90
        10 10 10 10 30 30 30 30 30
        """
    )
    policy = evolve(EASY, warmup=0.3, recovery_window=0, quantile=0.25)
    done = play(policy, c)
    assert all(math.isnan(x) for t in range(3) for x in done.threshold[t].values())
    assert all(done.at("flagged", t) == [] for t in range(3))
    np.testing.assert_allclose(list(done.threshold[3].values()), 0.30, rtol=1e-6)
    assert done.ended == {B: 3}
    later = play(evolve(policy, min_survivors=2), c)
    np.testing.assert_allclose(list(later.threshold[4].values()), (0.30 + 0.45) / 2, rtol=1e-6)


@pytest.mark.parametrize(("share", "first"), [(0.0, 0), (0.125, 2), (0.13, 3), (1.0, 16)])
def test_the_warm_up_is_rounded_up(share: float, first: int) -> None:
    done = play(evolve(EASY, warmup=share), TABLE)
    unset = [t for t in range(16) if all(math.isnan(x) for x in done.threshold[t].values())]
    assert unset == list(range(first))


def test_a_probation_that_the_last_token_cuts_short_ends_in_survival() -> None:
    """b is flagged at step 5 of 8: its probation would end at step 5 + window."""
    c = named(
        """
        90 80 80 80 80 80 80 80
        90 80 80 80 80 10 10 10
        """
    )
    for window, ended in [(0, {B: 5}), (1, {B: 6}), (2, {}), (3, {})]:
        done = play(evolve(EASY, recovery_window=window), c)
        assert done.ended == ended
    assert done.at("flagged", 7) == [B]


def test_the_best_stay_where_too_few_would() -> None:
    """Two flat leaders and three that fall together: at step 2, C is 10, 30 and 20. With 4
    survivors one goes, the lowest; those who are spared stay under their flag."""
    c = named(
        """
        90 80 80 80 80 80
        90 80 80 80 80 80
        90 80 10 10 10 10
        90 80 30 30 30 30
        90 80 20 20 20 20
        """
    )
    policy = QuantileTermination(quantile=0.75, rate=1.0, warmup=0.3, recovery_window=0)
    lines = {
        1: {C: 2, D: 2, (0, 4): 2},
        3: {C: 2, (0, 4): 2},
        4: {C: 2},
        5: {},
    }
    for survivors, ended in lines.items():
        done = play(evolve(policy, min_survivors=survivors), c)
        assert done.ended == ended
    assert done.at("flagged", 5) == [C, D, (0, 4)]


@pytest.mark.parametrize("survivors", [1, 2, 3])
def test_ties_go_to_the_lower_candidate_id_wherever_it_lies(survivors: int) -> None:
    """All fall alike below a threshold that remembers better times; rows in any order."""
    c = named("\n".join(["90 80 50 50 50 50"] * 4))
    policy = QuantileTermination(warmup=0.1, recovery_window=1, min_survivors=survivors)
    for seed in range(5):
        done = play(policy, c, order=np.random.default_rng(seed))
        assert done.ended == {(0, i): 3 for i in range(survivors, 4)}


def test_one_candidate_is_never_ended() -> None:
    done = play(evolve(EASY, recovery_window=0), named("90 80 70 60 50 40 30 20"))
    assert done.ended == {} and done.at("flagged", 4) == [A]


@pytest.mark.parametrize("window", [0, 2])
def test_quantile_zero_flags_nobody(window: int) -> None:
    done = play(evolve(EASY, quantile=0.0, recovery_window=window), TABLE)
    assert done.ended == {}
    assert all(x == -math.inf for line in done.threshold for x in line.values())
    assert all(done.at(name, t) == [] for name in ("flagged", "recovered") for t in range(16))


def test_prompts_never_share_a_threshold() -> None:
    """A prompt whose best is worse than the other's worst keeps its best, and is pruned as if it
    were alone: to the last bit."""
    other = {(1, k): [x / 4 for x in line] for (_, k), line in TABLE.items() if k != 0}
    both = play(EASY, {**TABLE, **other}, order=np.random.default_rng(0))
    first, second = play(EASY, TABLE), play(EASY, {(0, k): v for (_, k), v in other.items()})
    assert {k: t for k, t in both.ended.items() if k[0] == 0} == first.ended
    assert {k: t for (p, k), t in both.ended.items() if p == 1} == {
        k: t for (_, k), t in second.ended.items()
    }
    for t in range(16):
        for (p, k), theta in both.threshold[t].items():
            alone = (first if p == 0 else second).threshold[t][0, k]
            assert theta == alone or (math.isnan(theta) and math.isnan(alone))


# --- against the reference -----------------------------------------------------------------------

policies = st.builds(
    QuantileTermination,
    quantile=st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    rate=st.sampled_from([0.05, 0.2, 1.0]),
    warmup=st.sampled_from([0.0, 0.125, 0.4]),
    recovery_window=st.sampled_from([0, 1, 3, 8, 100]),
    recovery_threshold=st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    rebound_reference=st.sampled_from(["flag", "start"]),
    recovery_rule=st.sampled_from(["any", "final"]),
    min_survivors=st.integers(1, 3),
)


def walks(seed: int, counts: Sequence[int], total: int) -> dict[Who, list[float]]:
    """Confidences that wander between 0.05 and 1 and part ways, as float32 numbers."""
    rng = np.random.default_rng(seed)
    out = {}
    for prompt, count in enumerate(counts):
        for candidate in range(count):
            walk = 0.6 + rng.normal(0, 0.05, total).cumsum() - 0.01 * candidate
            out[prompt, candidate] = np.float32(0.05 + 0.95 * np.abs(walk) % 1).tolist()
    return out


def agrees(policy: QuantileTermination, c: Streams, r: Streams, done: Played) -> dict[str, int]:
    """Compare with the reference, prompt by prompt; how often things happened. Nothing is compared
    where float32 could have decided otherwise."""
    seen = {"ended": 0, "recovered": 0, "flagged": 0}
    total = len(next(iter(c.values())))
    for prompt in {p for p, _ in c}:
        expected = slow.terminate(
            {k: line for (p, k), line in c.items() if p == prompt},
            {k: line for (p, k), line in r.items() if p == prompt},
            total,
            p=policy.quantile,
            rate=policy.rate,
            warmup=policy.warmup,
            window=policy.recovery_window,
            threshold=policy.recovery_threshold,
            reference=policy.rebound_reference,
            rule=policy.recovery_rule,
            min_survivors=policy.min_survivors,
        )
        if expected["closest"] < 1e-6:
            continue
        assert {k: t for (p, k), t in done.ended.items() if p == prompt} == expected["ended"]
        for t in range(total):
            theta = expected["theta"].get(t, math.nan)
            mine = [x for (p, _), x in done.threshold[t].items() if p == prompt]
            np.testing.assert_allclose(mine, theta, rtol=1e-5)
            for name in ("flagged", "recovered"):
                found = {k for p, k in done.at(name, t) if p == prompt}
                assert found == expected[name].get(t, set())
        seen["ended"] += len(expected["ended"])
        for name in ("flagged", "recovered"):
            seen[name] += sum(map(len, expected[name].values()))
    return seen


@given(
    policy=policies,
    seed=st.integers(0, 10**6),
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=3),
)
@settings(max_examples=40)
def test_it_equals_the_reference(policy: Any, seed: int, counts: list[int]) -> None:
    """Several prompts of different live counts, rows in any order."""
    c = walks(seed, counts, 30)
    r = rebounds(c)
    agrees(policy, c, r, play(policy, c, r, order=np.random.default_rng(seed)))


def test_the_comparison_sees_every_event() -> None:
    seen = {"ended": 0, "recovered": 0, "flagged": 0}
    for seed in range(6):
        c = walks(seed, [6, 3], 40)
        policy = QuantileTermination(recovery_window=4)
        counted = agrees(policy, c, rebounds(c), play(policy, c, rebounds(c)))
        seen = {name: seen[name] + counted[name] for name in seen}
    assert min(seen.values()) >= 10


@given(
    lines=st.lists(st.lists(st.integers(1, 8), min_size=12, max_size=12), min_size=1, max_size=6),
    window=st.integers(0, 3),
    survivors=st.integers(1, 2),
)
def test_ties_are_decided_as_in_exact_arithmetic(
    lines: list[list[int]], window: int, survivors: int
) -> None:
    """C in eighths, medians and a rate of 1/2: float32 holds every threshold exactly."""
    c = {(0, i): [x / 8 for x in line] for i, line in enumerate(lines)}
    policy = evolve(EASY, recovery_window=window, min_survivors=survivors)
    done = play(policy, c, rebounds(c))
    expected = slow.terminate(
        {k: line for (_, k), line in c.items()},
        {k: line for (_, k), line in rebounds(c).items()},
        12,
        p=0.5,
        rate=0.5,
        window=window,
        threshold=0.1,
        min_survivors=survivors,
    )
    assert {k: t for (_, k), t in done.ended.items()} == expected["ended"]
    for t, theta in expected["theta"].items():
        assert set(done.threshold[t].values()) == {theta}
        assert {k for _, k in done.at("flagged", t)} == expected["flagged"][t]


# --- properties ----------------------------------------------------------------------------------


@given(policy=policies, seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_decisions_depend_on_the_past_only(policy: Any, seed: int) -> None:
    """Two continuations of one past have been decided alike up to where they part (a longer image
    apart, whose warm-up is longer)."""
    c = walks(seed, [5], 24)
    other = {k: line[:15] + line[:9] for k, line in c.items()}
    one, two = play(policy, c, rebounds(c)), play(policy, other, rebounds(other))
    assert {k: t for k, t in one.ended.items() if t < 15} == {
        k: t for k, t in two.ended.items() if t < 15
    }
    for name in ("flagged", "recovered"):
        assert getattr(one, name)[:15] == getattr(two, name)[:15]


@given(policy=policies, seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_its_promises_hold(policy: Any, seed: int) -> None:
    c = walks(seed, [6, 2], 24)
    done = play(policy, c, rebounds(c))
    promised = policy.promises(24)
    assert all(t >= promised.warmup for t in done.ended.values())
    for prompt, count in enumerate((6, 2)):
        left = count - sum(p == prompt for p, _ in done.ended)
        assert left >= min(count, promised.survivors)


@given(policy=policies, seed=st.integers(0, 10**6))
@settings(max_examples=15)
def test_inputs_and_earlier_states_are_left_alone(policy: Any, seed: int) -> None:
    """Every state can be continued twice, with the same outcome."""
    c = walks(seed, [5], 24)
    rows = Rows.of([0] * 5, range(5), 1)
    grid = Grid(4, 6)
    state = policy.init(context(rows, grid))

    def tensors(state: Any) -> list[Tensor]:
        found = [state.due, state.low, *state.idle.values()]
        return found + ([] if state.threshold is None else [state.threshold])

    for t in range(24):
        value = torch.tensor([c[0, i][t] for i in range(5)])
        confidence = Confidence.of(value)
        before = [x.clone() for x in (value, *tensors(state))]
        verdict, after = policy.update(state, confidence, step_at(t, grid, rows))
        again, _ = policy.update(state, confidence, step_at(t, grid, rows))
        for one, two in zip(before, (value, *tensors(state)), strict=True):
            assert torch.equal(one.nan_to_num(), two.nan_to_num())
        for name, series in verdict.trace.items():
            assert torch.equal(series.nan_to_num(), again.trace[name].nan_to_num())
        state = after


@given(policy=policies, seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=15)
def test_memory_follows_its_rows(policy: Any, seed: int, data: st.DataObject) -> None:
    """A fork inherits its parent's flag and the minimum since."""
    c = walks(seed, [4], 24)
    rows = Rows.of([0] * 4, range(4), 1)
    grid = Grid(4, 6)
    state = policy.init(context(rows, grid))
    cut = data.draw(st.integers(0, 23))
    for t in range(cut):
        value = torch.tensor([c[0, i][t] for i in range(4)])
        _, state = policy.update(state, Confidence.of(value), step_at(t, grid, rows))
    picked = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    moved = take(state, picked)
    assert torch.equal(moved.due, state.due[picked]) and torch.equal(moved.low, state.low[picked])
    assert moved.threshold is state.threshold


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": 1.0}, r"quantile=1.0 must lie in \[0, 1\): p, the share of a prompt's live"),
        ({"quantile": -0.1}, r"quantile=-0.1 must lie in \[0, 1\)"),
        ({"rate": 0.0}, r"rate=0.0 must lie in \(0, 1\]: lambda_theta"),
        ({"warmup": 1.5}, r"warmup=1.5 must lie in \[0, 1\]: the share of the T steps"),
        ({"recovery_window": -1}, r"recovery_window=-1 must lie in \[0, inf\): Delta_rec"),
        ({"recovery_window": 0.5}, "recovery_window=0.5 must be a whole number"),
        ({"recovery_threshold": math.inf}, "recovery_threshold=inf must be finite"),
        ({"rebound_reference": "now"}, "rebound_reference='now' must be one of 'flag', 'start'"),
        ({"recovery_rule": "all"}, "recovery_rule='all' must be one of 'any', 'final'"),
        ({"min_survivors": 0}, r"min_survivors=0 must lie in \[1, inf\): candidates of a prompt"),
        ({"rebound_eps": 0.0}, r"rebound_eps=0.0 must lie in \(0, inf\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ScalingarError, match=message):
        QuantileTermination(**settings)


def test_a_probation_given_as_a_share_follows_the_length_of_the_image() -> None:
    policy = QuantileTermination(recovery_share=1 / 32)
    assert [policy.probation(total) for total in (1024, 576, 144, 16)] == [32, 18, 5, 1]
    assert QuantileTermination().probation(144) == 32
    assert policy.promises(144).warmup == 18 + 5
