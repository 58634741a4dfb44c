"""Decodes side by side: each as it would be alone, and stopped at a word."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from attrs import evolve

from scalingar_analysis.playground.decodes import Decodes
from scalingar_analysis.playground.scene import Tokens
from scalingar_fw import NeverTerminate


class Breaks(NeverTerminate):
    def update(self, state, confidence, step):
        if step.index == 3:
            raise RuntimeError("it broke")
        return super().update(state, confidence, step)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_side_by_side_each_is_what_it_is_alone(plan):
    names = ["scalingar", "beam"]
    together = Decodes([plan(n) for n in names])
    list(together.watch())
    for side, name in zip(together.sides, names, strict=True):
        alone = Decodes([plan(name)])
        list(alone.watch())
        for a, b in zip(side.result.candidates, alone.sides[0].result.candidates, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist() and a.reason == b.reason


def test_strategies_that_only_choose_see_the_same_candidates(plan):
    decodes = Decodes([plan("best-of-n"), plan("base", n=1)])
    list(decodes.watch())
    many, one = (s.scene.candidates for s in decodes.sides)
    assert many[0].tokens == one[0].tokens


def test_two_take_turns_token_by_token(plan):
    order = []

    class Noted(deque):
        def append(self, event):
            if isinstance(event, Tokens):
                order.append(id(self))
            super().append(event)

    decodes = Decodes([plan("best-of-n"), plan("best-of-n", seed=8)])
    for side in decodes.sides:
        side.heard = Noted()
    list(decodes.watch())
    first, second = (id(side.heard) for side in decodes.sides)
    assert order == [first, second] * decodes.sides[0].scene.total


def test_stop_ends_a_decode_before_its_end(plan):
    # A pause in the first hook makes sure that it cannot have finished before it is told.
    told, first = threading.Event(), plan()

    class Waits(NeverTerminate):
        def update(self, state, confidence, step):
            if step.index == 2:
                assert told.wait(60)
            return super().update(state, confidence, step)

    first = evolve(first, strategy=evolve(first.strategy, termination=Waits()))
    decodes = Decodes([first])
    for scenes in decodes.watch():
        if scenes[0].steps >= 1:
            decodes.stop()
            told.set()
    assert decodes.stopped and decodes.error is None
    assert decodes.sides[0].result is None and decodes.sides[0].scene.chosen is None


def test_a_browser_that_goes_away_ends_the_decode(plan):
    decodes = Decodes([plan(), plan("beam")])
    watching = decodes.watch(pace=60.0)
    next(watching)
    watching.close()
    assert decodes.stopped


def test_an_error_is_kept_for_the_page_and_ends_the_other_side(plan):
    broken = plan()
    broken = evolve(broken, strategy=evolve(broken.strategy, termination=Breaks()))
    decodes = Decodes([plan(), broken])
    list(decodes.watch())
    assert str(decodes.error) == "it broke"
    assert decodes.stopped


def test_what_is_shown_slowly_lags_behind_what_was_decoded(plan):
    decodes = Decodes([plan()])
    watching = decodes.watch(pace=3600.0)
    for scenes in watching:
        assert scenes[0].steps <= 1
        if scenes[0].steps:
            break
    for _ in range(1200):
        if decodes.sides[0].result is not None:
            break
        time.sleep(0.05)
    assert decodes.sides[0].result is not None, "the decode does not wait for whoever watches"
    watching.close()
