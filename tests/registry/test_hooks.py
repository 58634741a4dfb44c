"""Observers watch: they hear everything, may change nothing, and their failures stay their own."""

from __future__ import annotations

import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from attrs import frozen

from scalingar_fw.decoding.components import Step, Termination, Verdict
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Status
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_fw.hooks import EVENTS, make_hooks
from scalingar_fw.hookspecs import hookimpl
from scalingar_fw.testing import ReferenceModel

MODEL = ReferenceModel(grid=Grid(2, 2))
PROMPTS = [Prompt("a cat"), Prompt("a dog")]


@frozen
class EndSecond(Termination):
    def update(self, state: None, confidence: Confidence, step: Step) -> tuple[Verdict, None]:
        ends = (step.rows.candidate_id == 1) if step.index == 1 else None
        return Verdict(ends), None


def run(*observers: Any) -> Decoded:
    strategy = Strategy(termination=EndSecond())
    return decode(MODEL, strategy, PROMPTS, n=2, seed=5, hooks=make_hooks(observers))


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []

    @hookimpl
    def on_decode_start(self, event: Any) -> None:
        texts = [p.text for p in event.prompts]
        self.lines.append(f"start {texts} n={event.n} seeds={event.seeds} total={event.total}")

    @hookimpl
    def on_token(self, event: Any) -> None:
        names = list(zip(event.prompt.tolist(), event.candidate.tolist(), strict=True))
        self.lines.append(f"token {event.index}: {event.live} {names}")

    @hookimpl
    def on_candidate_end(self, event: Any) -> None:
        self.lines.append(
            f"end {event.prompt}/{event.candidate} {event.status.value} after {event.tokens}"
        )

    @hookimpl
    def on_decode_end(self, result: Decoded) -> None:
        self.lines.append(f"done {len(result.trajectories)}")


def test_an_observer_hears_a_run_in_order() -> None:
    diary = Diary()
    run(diary)
    everyone = "[(0, 0), (0, 1), (1, 0), (1, 1)]"
    assert diary.lines == [
        "start ['a cat', 'a dog'] n=2 seeds=(5, 5) total=4",
        f"token 0: 4 {everyone}",
        f"token 1: 4 {everyone}",
        "end 0/1 pruned after 2",
        "end 1/1 pruned after 2",
        "token 2: 2 [(0, 0), (1, 0)]",
        "token 3: 2 [(0, 0), (1, 0)]",
        "end 0/0 completed after 4",
        "end 1/0 completed after 4",
        "done 4",
    ]


def test_a_token_event_is_a_mapping_of_every_recorded_signal() -> None:
    seen: list[Any] = []

    class Reader:
        def on_token(self, event: Any) -> None:
            seen.append({name: event[name] for name in event})
            assert len(event) == len(seen[-1])
            assert "nonsense" not in event

    result = run(Reader())
    for t in result.trajectories:
        assert set(t.signals) | {"token"} == set(seen[0])
    first = [t.tokens[0] for t in result.trajectories]
    assert seen[0]["token"].tolist() == first
    kept = [t.signals["kl"][3] for t in result.trajectories if t.completed]
    assert seen[3]["kl"].tolist() == kept


def test_what_an_observer_receives_refuses_to_be_written() -> None:
    errors: list[type[Exception]] = []

    def attempt(change: Any) -> None:
        try:
            change()
        except (ValueError, TypeError, AttributeError) as error:
            errors.append(type(error))

    class Vandal:
        def on_decode_start(self, event: Any) -> None:
            attempt(lambda: setattr(event, "n", 99))
            attempt(lambda: event.prompts.append("a fish"))

        def on_token(self, event: Any) -> None:
            if event.index == 0:
                attempt(lambda: event["token"].fill(0))
                attempt(lambda: event["scale"].__setitem__(0, 9.0))
                attempt(lambda: event.candidate.__setitem__(0, 9))
                attempt(lambda: event.__setitem__("scale", 1))

        def on_candidate_end(self, event: Any) -> None:
            if event.candidate == 0 and event.prompt == 0:
                attempt(lambda: setattr(event, "status", Status.PRUNED))

        def on_decode_end(self, result: Decoded) -> None:
            attempt(lambda: result.answer().tokens.fill(0))
            attempt(lambda: result.chosen.__setitem__(0, 1))  # type: ignore[attr-defined]
            attempt(lambda: setattr(result, "chosen", [1, 1]))

    result = run(Vandal())
    assert len(errors) == 10
    alone = run()
    assert result.chosen == alone.chosen
    for one, other in zip(result.trajectories, alone.trajectories, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)


def test_an_arrays_copy_is_the_observers_own() -> None:
    class Scribbler:
        def on_token(self, event: Any) -> None:
            mine = event["scale"].copy()
            mine[:] = 99.0
            torch.from_numpy(mine).zero_()

    assert run(Scribbler()).answer().signals["scale"].tolist() == [2.0] * 4


def test_an_observer_that_raises_is_reported_once_and_left_out() -> None:
    calls: list[str] = []

    class Broken:
        def on_token(self, event: Any) -> None:
            calls.append("token")
            raise ZeroDivisionError("my plot")

        def on_decode_end(self, result: Decoded) -> None:
            calls.append("end")

    diary = Diary()
    with pytest.warns(PluginWarning) as caught:
        result = run(Broken(), diary)
    assert [str(w.message) for w in caught] == [
        "Observer 'Broken' failed in on_token and hears no more of this run: "
        "ZeroDivisionError: my plot"
    ]
    assert calls == ["token"], "what it would make of half a run is worse than nothing"
    assert len(diary.lines) == 10, "the others hear everything"
    assert result.count(Status.COMPLETED) == 2


def test_two_observers_of_one_class_fail_on_their_own() -> None:
    class Moody:
        def __init__(self, broken: bool) -> None:
            self.broken, self.heard = broken, 0

        def on_token(self, event: Any) -> None:
            self.heard += 1
            if self.broken:
                raise ValueError("no")

    bad, good = Moody(True), Moody(False)
    with pytest.warns(PluginWarning):
        run(bad, good)
    assert (bad.heard, good.heard) == (1, 4)


def test_an_interrupt_passes_through_an_observer() -> None:
    class Impatient:
        def on_token(self, event: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Impatient())


def test_a_mistyped_event_is_refused_with_a_suggestion() -> None:
    class Typo:
        def on_tokens(self, event: Any) -> None: ...

    expected = (
        r"Observer 'Typo' has a method 'on_tokens', which is no event. Did you mean 'on_token'\? "
        r"Events: on_decode_start, on_token, on_candidate_end, on_decode_end, on_image\."
    )
    with pytest.raises(ScalingarError, match=expected):
        make_hooks([Typo()])


def test_an_unknown_argument_is_refused() -> None:
    class Curious:
        def on_token(self, event: Any, logits: Any) -> None: ...

    with pytest.raises(
        ScalingarError, match=r"(?s)Observer 'Curious' does not fit its hook: .*logits"
    ):
        make_hooks([Curious()])


def test_a_forgotten_decorator_is_no_silence() -> None:
    heard: list[int] = []

    class Plain:
        def on_token(self, event: Any) -> None:
            heard.append(event.index)

    run(Plain())
    assert heard == [0, 1, 2, 3]


def test_an_observer_may_take_fewer_arguments_or_none() -> None:
    heard: list[str] = []

    class Brief:
        def on_token(self) -> None:
            heard.append("token")

    run(Brief())
    assert len(heard) == 4


def test_a_module_can_observe() -> None:
    module = types.ModuleType("my_observer")
    heard: list[Any] = []

    def on_decode_end(result: Decoded) -> None:
        heard.append(result)

    module.on_decode_end = on_decode_end  # type: ignore[attr-defined]
    result = run(module)
    assert heard == [result]


def test_a_wrapper_can_measure_around_the_others() -> None:
    order: list[str] = []

    class Timer:
        @hookimpl(wrapper=True)
        def on_decode_end(self, result: Decoded) -> Any:
            order.append("before")
            yield
            order.append("after")

    class Inner:
        def on_decode_end(self, result: Decoded) -> None:
            order.append("inner")

    run(Timer(), Inner())
    assert order == ["before", "inner", "after"]


def test_without_observers_nothing_is_heard_and_nothing_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


def test_runs_do_not_share_observers() -> None:
    first, second = Diary(), Diary()
    run(first)
    run(second)
    assert len(first.lines) == len(second.lines) == 10


def test_the_events_are_those_of_the_specification() -> None:
    from scalingar_fw import hookspecs

    named = [name for name in vars(hookspecs) if name.startswith("on_")]
    assert list(EVENTS) == named
    assert all(vars(hookspecs)[name].__doc__ for name in named)
