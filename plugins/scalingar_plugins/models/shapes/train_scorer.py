"""Train the scorer: pictures that fit their prompt, and ones that nearly do.

``python -m scalingar_plugins.models.shapes.train_scorer --out DIR --minutes 17``

Half of the examples are wrong in one respect: the prompt asks for another word, or the picture has
an object more, less, moved, recoloured, exchanged or with a broken cell. Prompts are training
prompts only, wrong ones included, so the held-out facts stay new to the scorer as to the generator.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scalingar_fw.decoding.alternatives import alternatives
from scalingar_plugins.models.shapes.grammar import ObjectSpec, Spec, parse
from scalingar_plugins.models.shapes.heldout import Fact, facts, part_of, trained
from scalingar_plugins.models.shapes.judge import judge_batch
from scalingar_plugins.models.shapes.progress import Reporter
from scalingar_plugins.models.shapes.scenes import (
    GRID,
    OBJECT_CELLS,
    PLACES,
    Scene,
    SceneObject,
    holds,
    render_batch,
    sample_scene,
)
from scalingar_plugins.models.shapes.scorer import Scorer, ScorerConfig
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.training_prompts import draw_spec, word
from scalingar_plugins.models.shapes.weights import save_scorer
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES, WORD_CLASSES, PromptError

BATCH = 64
CHUNK = 2048
#: Until which share of the training scenes hold how many objects at most: what a word looks like is
#: learnt from single objects in thousands of examples, from crowded scenes in far more.
_CURRICULUM = ((0.1, 1), (0.3, 2), (1.0, 4))
_SPOILED = ("prompt", "prompt", "extra", "missing", "moved", "recoloured", "exchanged", "cell")


def _fits(scene: Scene, spec: Spec) -> bool:
    """Whether a scene holds exactly what a specification says, without rendering it."""
    got = scene.objects
    if len(got) != len(spec.objects):
        return False
    colours = {o.colour for o in got}
    if spec.same_colour and len(colours) > 1:
        return False
    if spec.absent is not None and spec.absent in colours | {o.shape for o in got}:
        return False
    return any(
        all(_is(one, want) for one, want in zip(order, spec.objects, strict=True))
        and (
            spec.relation is None
            or holds(spec.relation, order[0].row - order[1].row, order[0].col - order[1].col)
        )
        for order in itertools.permutations(got)
    )


def _is(got: SceneObject, want: ObjectSpec) -> bool:
    return want.shape in (None, got.shape) and want.colour in (None, got.colour)


def _adds_nothing_held_out(before: Scene, after: Scene) -> bool:
    """Whether everything that is new in a spoiled scene is something that training may name.

    Else held-out combinations would stand in wrong pictures more often than in right ones, and the
    scorer would learn that a red circle is wrong instead of looking at it.
    """
    return all(part_of(fact) == "train" for fact in _facts(after) - _facts(before))


def _facts(scene: Scene) -> frozenset[Fact]:
    return facts(Spec(tuple(ObjectSpec(o.shape, o.colour) for o in scene.objects)))


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _spoil(kind: str, text: str, scene: Scene, rng: np.random.Generator) -> tuple[str, Scene]:
    """A prompt and a scene that differ from the given ones in one respect, if it can be."""
    objects = list(scene.objects)
    at = int(rng.integers(len(objects)))
    if kind == "prompt":
        return _pick(alternatives(text, WORD_CLASSES, "substitute"), rng), scene
    if kind == "extra":
        row, col = rng.integers(0, PLACES, 2).tolist()
        clear = all(max(abs(row - o.row), abs(col - o.col)) > OBJECT_CELLS for o in objects)
        if clear:
            objects.append(SceneObject(_pick(SHAPES, rng), _pick(COLOURS, rng), row, col))
    elif kind == "missing" and len(objects) > 1:
        del objects[at]
    elif kind == "recoloured":
        objects[at] = replace(objects[at], colour=_pick(COLOURS, rng))
    elif len(objects) == 2:
        first, second = objects
        if kind == "moved":
            objects = [
                replace(first, row=second.row, col=second.col),
                replace(second, row=first.row, col=first.col),
            ]
        else:
            objects = [replace(first, colour=second.colour), replace(second, colour=first.colour)]
    return text, replace(scene, objects=tuple(objects))


def _broken(tokens: Tensor, scene: Scene, rng: np.random.Generator) -> None:
    """Give one cell of an object the content of a random other cell of the picture."""
    chosen = scene.objects[int(rng.integers(len(scene.objects)))]
    row, col = chosen.row + int(rng.integers(2)), chosen.col + int(rng.integers(2))
    tokens[row * GRID + col] = tokens[int(rng.integers(len(tokens)))].clone()


def examples(
    count: int, rng: np.random.Generator, tokenizer: Tokenizer, most: int = 4
) -> tuple[list[str], Tensor, Tensor]:
    """Prompts of at most `most` objects, tokens int64 `[count, 64]`, whether they fit, bool `[count]`."""
    texts: list[str] = []
    scenes: list[Scene] = []
    labels: list[bool] = []
    broken: list[int] = []
    while len(texts) < count:
        spec = draw_spec(rng)
        if len(spec.objects) > most:
            continue
        text, scene, label = word(spec, rng), sample_scene(spec, rng), True
        if rng.random() < 0.55:
            kind = _pick(_SPOILED, rng)
            if kind == "cell":
                broken.append(len(texts))
            else:
                text, other = _spoil(kind, text, scene, rng)
                if not _adds_nothing_held_out(scene, other):
                    continue
                scene = other
                try:
                    asked = parse(text)
                except PromptError:
                    continue
                if not trained(asked):
                    continue
                label = _fits(scene, asked)
        texts.append(text)
        scenes.append(scene)
        labels.append(label)
    pictures = torch.from_numpy(render_batch(scenes))
    tokens = torch.cat([tokenizer.encode(some) for some in torch.split(pictures, 512)])
    for index in broken:
        _broken(tokens[index], scenes[index], rng)
    if broken:  # a broken cell may be as good as new: the judge knows
        judged = judge_batch(tokenizer.decode(tokens[broken]).numpy(), [texts[i] for i in broken])
        for index, verdict in zip(broken, judged, strict=True):
            labels[index] = verdict.correct
    return texts, tokens, torch.tensor(labels)


def accuracy(scorer: Scorer, count: int, seed: int, tokenizer: Tokenizer) -> float:
    """Share of fresh examples whose sign of the log-odds agrees with the truth."""
    texts, tokens, labels = examples(count, _rng(seed), tokenizer)
    with torch.inference_mode():
        odds = scorer(prompt_ids(texts), tokens)
    return float(((odds > 0) == labels).float().mean())


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def train(minutes: float, seed: int, lr: float = 2e-3) -> tuple[Scorer, int]:
    """Train for `minutes` of the clock; the scorer and the number of examples."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.of_world()
    scorer = Scorer(ScorerConfig(tokenizer.config.codebook))
    scorer.codebook.copy_(6 * tokenizer.codebook)
    optimiser = torch.optim.AdamW(scorer.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng = _rng(seed + 1)
    start, seen, mean = time.monotonic(), 0, 0.7
    minutes = max(minutes, 1e-9)
    with Reporter("scorer", int(minutes * 60)) as reporter:
        while (spent := (time.monotonic() - start) / (60 * minutes)) < 1:
            most = next(number for share, number in _CURRICULUM if spent <= share)
            texts, tokens, labels = examples(CHUNK, rng, tokenizer, most)
            ids, wanted = prompt_ids(texts), labels.float()
            # Rendering takes as long as a step: each example is read twice.
            order = torch.cat([torch.randperm(CHUNK), torch.randperm(CHUNK)])
            for batch in torch.split(order, BATCH):
                spent = min(1.0, (time.monotonic() - start) / (60 * minutes))
                rate = min(1.0, (seen + BATCH) / 10_000, 2 * (1 - spent) + 0.02)
                optimiser.param_groups[0]["lr"] = lr * rate
                odds = scorer(ids[batch], tokens[batch])
                loss = functional.binary_cross_entropy_with_logits(odds, wanted[batch])
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
                optimiser.step()
                seen += BATCH
                mean = 0.995 * mean + 0.005 * float(loss.detach())
            reporter.update(int(spent * minutes * 60), f"{seen // 2} examples, loss {mean:.3f}")
    return scorer.eval().requires_grad_(False), seen // 2


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m scalingar_plugins.models.shapes.train_scorer",
        description=__doc__.split("\n")[0],
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--minutes", type=float, default=17.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--checked", type=int, default=4000, help="fresh examples at the end")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    scorer, seen = train(options.minutes, options.seed)
    right = accuracy(scorer, options.checked, options.seed + 7, Tokenizer.of_world())
    path = save_scorer(scorer, options.out, examples=str(seen), seed=str(options.seed))
    print(f"wrote {path}: {seen} examples, right on {right:.3f} of fresh ones", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
