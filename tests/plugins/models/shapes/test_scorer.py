"""The learned scorer: its training examples, its weights, and the reward that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scalingar_fw.decoding.components import Pool
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Status, Trajectory
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.shapes import train_scorer
from scalingar_plugins.models.shapes.evaluate import random_generator
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.heldout import trained
from scalingar_plugins.models.shapes.judge import judge_batch
from scalingar_plugins.models.shapes.prompts import split_items
from scalingar_plugins.models.shapes.scenes import render_batch, sample_scene
from scalingar_plugins.models.shapes.scorer import Scorer, ScorerConfig
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.weights import load_scorer, save_scorer
from scalingar_plugins.models.shapes.words import SHAPES
from scalingar_plugins.rewards.shapes_scorer import ShapesScorer

TOKENIZER = Tokenizer.of_world()


def test_a_label_is_what_the_judge_says_and_prompts_are_training_prompts() -> None:
    texts, tokens, labels = train_scorer.examples(400, random_generator(3), TOKENIZER)
    assert all(trained(parse(text)) for text in texts)
    judged = judge_batch(TOKENIZER.decode(tokens).numpy(), texts)
    assert [j.correct for j in judged] == labels.tolist()
    assert 0.4 < labels.float().mean() < 0.8


def test_a_score_hangs_on_words_and_cells_and_not_on_the_company(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scorer = Scorer(ScorerConfig(TOKENIZER.config.codebook, dim=24, heads=2)).eval()
    scorer.codebook.copy_(TOKENIZER.codebook)
    texts, tokens, _ = train_scorer.examples(4, random_generator(2), TOKENIZER)
    ids = prompt_ids(texts)
    with torch.no_grad():
        together = scorer(ids, tokens)
        torch.testing.assert_close(scorer(ids[:1], tokens[:1]), together[:1])
        assert not torch.allclose(scorer(ids.roll(1, 0), tokens), together)
        assert not torch.allclose(scorer(ids, tokens.flip(1)), together)
        save_scorer(scorer, tmp_path)
        loaded = load_scorer(tmp_path)
        torch.testing.assert_close(loaded(ids, tokens), together, rtol=1e-2, atol=1e-2)


def test_the_shipped_scorer_knows_held_out_pictures_from_contradicting_ones() -> None:
    """Pairs of a right picture and one of another item of the task: the right one scores higher."""
    scorer, rng = load_scorer(), random_generator(8)
    items = [i for i in split_items("test") if i.task != "single_object"][::5]
    pictures = torch.from_numpy(render_batch([sample_scene(i.spec, rng) for i in items]))
    ids, tokens = prompt_ids([i.prompt for i in items]), TOKENIZER.encode(pictures)
    with torch.inference_mode():
        right, wrong = scorer(ids, tokens), scorer(ids, tokens.roll(1, 0))
    assert float((right > wrong).float().mean()) > 0.8


def test_the_shipped_scorer_reads_colours_of_shapes_that_no_training_prompt_named_in_them() -> None:
    """Colours that are not each other's neighbours; the scorer takes orange for yellow."""
    scorer, rng = load_scorer(), random_generator(4)
    asked = [(c, s) for c in ("red", "blue", "green") for s in SHAPES]
    held = [(c, s) for c, s in asked if not trained(parse(f"a {c} {s}"))]
    assert len(held) > 10
    verdicts = []
    for colour, shape in held:
        others = {"red": "blue", "blue": "green", "green": "red"}
        scenes = [sample_scene(parse(f"a {c} {shape}"), rng) for c in (colour, others[colour])]
        tokens = TOKENIZER.encode(torch.from_numpy(render_batch(scenes)))
        with torch.inference_mode():
            right, wrong = scorer(prompt_ids([f"a {colour} {shape}"] * 2), tokens).tolist()
        verdicts.append(right > 0 > wrong)
    assert sum(verdicts) > 0.9 * len(verdicts)


def _pool(images: np.ndarray) -> Pool:
    made = [
        Trajectory(0, i, Status.COMPLETED, "", np.zeros(1, np.int64), {})
        for i in range(len(images))
    ]
    return Pool(Prompt("a red circle"), made, 0, decode=lambda some: images)


def test_the_reward_prefers_the_picture_that_fits() -> None:
    rng = random_generator(0)
    pictures = [sample_scene(parse(p), rng) for p in ("a blue circle", "a red circle", "two rings")]
    scores = ShapesScorer().score(_pool(render_batch(pictures)))
    assert scores.shape == (3,) and int(scores.argmax()) == 1


def test_pictures_of_another_model_are_refused() -> None:
    with pytest.raises(ScalingarError, match="48 x 48"):
        ShapesScorer().score(_pool(np.zeros((2, 32, 32, 3), np.uint8)))


def test_the_command_writes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--out", str(tmp_path), "--minutes", "0", "--checked", "100"]
    assert train_scorer.main(command) == 0
    assert "0 examples" in capsys.readouterr().out
    assert isinstance(load_scorer(tmp_path), Scorer)
