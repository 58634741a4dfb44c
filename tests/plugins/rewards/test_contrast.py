"""The contrast of prompts: alternatives, reading finished candidates again, and the choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.decoding import likelihood
from scalingar_fw.decoding.alternatives import alternatives
from scalingar_fw.decoding.components import Pool
from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Ledger, Status, Trajectory
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.models.shapes.adapter import load
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.prompts import split_items
from scalingar_plugins.models.shapes.words import WORD_CLASSES
from scalingar_plugins.rewards.contrast import KINDS, PromptContrast
from scalingar_plugins.selectors.rewarded import BestReward

ASKED = Prompt("a red ring left of a blue tee")
MODEL = ReferenceModel(vocab_size=7, grid=Grid(2, 3))


def candidate(number: int, log_prob: float, tokens: int = 0) -> Trajectory:
    signals = {"log_prob_cond": np.full(4, log_prob / 4)}
    return Trajectory(0, number, Status.COMPLETED, "", np.full(4, tokens), signals)


def pool(own: list[float], under_others: list[list[float]], prompt: Prompt = ASKED) -> Pool:
    """`own [K]`: log p of each candidate; `under_others [M][K]`: under each alternative."""
    asked: list[int] = []

    def read(some, prompts):
        asked.append(len(prompts) * len(some))
        table = np.array(under_others)[: len(prompts), [t.candidate for t in some]]
        return np.repeat(table[..., None] / 4, 4, axis=2)

    made = [candidate(i, value) for i, value in enumerate(own)]
    return Pool(prompt, made, 0, read=read, word_classes=WORD_CLASSES)


# Alternatives ------------------------------------------------------------------------------------


def test_words_are_exchanged_and_replaced_within_their_class() -> None:
    found = alternatives(ASKED.text, WORD_CLASSES, "exchange")
    assert found == [
        "a red tee left of a blue ring",
        "a blue ring left of a red tee",
        "a red ring right of a blue tee",
    ]
    more = alternatives(ASKED.text, WORD_CLASSES, "substitute")
    assert set(found) < set(more) and len(more) == 2 + 11 + 9 + 11 + 9 + 1


def test_a_prompt_of_unknown_words_is_reordered_and_shortened() -> None:
    found = alternatives("a cat on a mat", (), "substitute")
    assert found == ["a mat on a cat", "a on a mat", "a cat on a"]
    assert found == alternatives("a cat on a mat", WORD_CLASSES, "reorder")


@given(st.sampled_from(split_items("test")), st.sampled_from(KINDS), st.integers(1, 9))
def test_alternatives_differ_from_the_prompt_and_from_each_other(item, kind, most) -> None:
    every = alternatives(item.prompt, WORD_CLASSES, kind)
    some = alternatives(item.prompt, WORD_CLASSES, kind, most)
    assert item.prompt not in every and len(set(every)) == len(every) > 0
    assert len(some) == min(most, len(every)) and set(some) <= set(every)
    assert some == sorted(some, key=every.index)
    if kind == "substitute":
        assert sum(parse_or_none(text) != item.spec for text in every) == len(every)


def parse_or_none(text: str):
    try:
        return parse(text)
    except ScalingarError:
        return None


# Reading again -----------------------------------------------------------------------------------


def test_reading_a_candidate_under_its_own_prompt_gives_what_decoding_recorded() -> None:
    result = decode(MODEL, Strategy(), [Prompt("x")], n=3)
    ledger = Ledger()
    found = likelihood.read(MODEL, result.trajectories, [Prompt("x"), Prompt("y")], ledger)
    assert found.shape == (2, 3, 6)
    recorded = np.stack([t.signals["log_prob_cond"] for t in result.trajectories])
    np.testing.assert_allclose(found[0], recorded, rtol=1e-5)
    assert not np.allclose(found[1], recorded)
    assert ledger.scored_rows == MODEL.branches * 6 * 6 and ledger.model_calls == 5


def test_the_parallel_pass_of_shapes_equals_stepping() -> None:
    model = load()
    assert isinstance(model, likelihood.ReadsWhole)
    result = decode(model, Strategy(), [Prompt("a circle")], n=2)
    tokens = torch.from_numpy(np.stack([t.tokens for t in result.trajectories]))
    asked = [Prompt("a red square"), Prompt("two rings")]
    ledger = Ledger()
    with torch.inference_mode():
        stepped = likelihood._stepped(model, asked, tokens, Ledger())
    whole = likelihood.read(model, result.trajectories, asked, ledger)
    np.testing.assert_allclose(whole[0, 0], stepped[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(whole[1, 1], stepped[1].numpy(), atol=1e-4)
    assert ledger.scored_rows == 4 * 64 and ledger.model_calls == 1


def test_what_is_read_is_paid_for_in_the_decodes_ledger() -> None:
    strategy = Strategy(selector=BestReward(PromptContrast(most=2, finalists=3)))
    result = decode(load(), strategy, [Prompt("a red circle")], n=3)
    assert result.ledger.scored_rows == 2 * 3 * 64
    plain = decode(load(), Strategy(), [Prompt("a red circle")], n=3)
    assert plain.ledger.scored_rows == 0
    assert result.ledger.forward_rows == plain.ledger.forward_rows + 2 * 3 * 64


def test_a_pool_of_a_recording_cannot_be_read_and_says_so() -> None:
    with pytest.raises(ScalingarError, match="recording"):
        Pool(ASKED, [candidate(0, -1.0)], 0).log_probs([ASKED])


# The score ---------------------------------------------------------------------------------------


def test_the_score_is_likelihood_plus_weighted_log_posterior() -> None:
    own, others = [-10.0, -12.0], [[-10.0, -20.0], [-40.0, -15.0], [-40.0, -40.0]]
    found = PromptContrast(weight=3.0, others="exchange").score(pool(own, others))
    posterior = [
        -np.log(1 + np.exp(0.0) + 2 * np.exp(-30.0)),
        -np.log(1 + np.exp(-8.0) + np.exp(-3.0) + np.exp(-28.0)),
    ]
    np.testing.assert_allclose(found, np.array(own) + 3.0 * np.array(posterior), rtol=1e-12)


def test_a_picture_that_fits_another_prompt_better_loses() -> None:
    likelier_but_wrong = pool([-10.0, -11.0], [[-5.0, -30.0]] * 3)
    assert BestReward(PromptContrast(others="exchange")).select(likelier_but_wrong) == 1
    assert BestReward(PromptContrast(weight=0.0)).select(likelier_but_wrong) == 0


def test_only_finalists_are_read_and_the_others_rank_below_them() -> None:
    own = [-30.0, -10.0, -11.0, -20.0]
    made = pool(own, [[-1.0, -1.0, -1.0, -1.0]] * 3)
    seen: list[list[int]] = []
    read = made.read
    made = evolve(
        made, read=lambda some, ps: (seen.append([t.candidate for t in some]), read(some, ps))[1]
    )
    scores = PromptContrast(others="exchange", finalists=2, weight=50.0).score(made)
    assert seen == [[1, 2]]
    assert min(scores[1], scores[2]) > max(scores[0], scores[3]) and np.isfinite(scores).all()


def test_one_candidate_is_not_read() -> None:
    assert PromptContrast().score(evolve(pool([-3.0], [[0.0]]), read=None)).tolist() == [-3.0]


def test_a_class_has_no_words_to_contrast() -> None:
    with pytest.raises(ScalingarError, match="mean-log-prob"):
        PromptContrast().score(pool([-1.0, -2.0], [[0.0, 0.0]], Prompt(class_id=3)))
