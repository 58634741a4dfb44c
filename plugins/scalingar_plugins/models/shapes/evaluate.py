"""Measure the parts of the shapes world: judge, tokenizer, generator.

``python -m scalingar_plugins.models.shapes.evaluate`` prints the numbers of the model card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scalingar_plugins.models.shapes.generator import Generator, sample_tokens
from scalingar_plugins.models.shapes.grammar import Spec
from scalingar_plugins.models.shapes.judge import Judgement, judge_batch
from scalingar_plugins.models.shapes.prompts import Item, overall_accuracy, split_items
from scalingar_plugins.models.shapes.scenes import (
    CELL,
    OBJECT_CELLS,
    PALETTE,
    PLACES,
    TINTS,
    Scene,
    SceneObject,
    render,
    render_batch,
    sample_scene,
)
from scalingar_plugins.models.shapes.silhouettes import OBJECT_SIZE, masks
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.training_prompts import draw_spec
from scalingar_plugins.models.shapes.weights import load_generator, load_tokenizer
from scalingar_plugins.models.shapes.words import COLOURS, SHAPES

UInt8 = NDArray[np.uint8]

#: Ways in which :func:`contradiction` makes a picture wrong.
CONTRADICTIONS: tuple[str, ...] = (
    "colour",
    "shape",
    "count",
    "relation",
    "extra",
    "half",
    "chipped",
    "blob",
    "merged",
    "two_tone",
    "stripe",
    "specks",
    "stranger",
)


def random_generator(seed: int) -> np.random.Generator:
    """A numpy generator that depends on ``seed`` only."""
    return np.random.Generator(np.random.Philox(seed))


def mixed_specs(count: int, rng: np.random.Generator) -> list[Spec]:
    """Specifications as in training, one in ten from the split ``beyond``."""
    specs = [draw_spec(rng) for _ in range(count)]
    beyond = split_items("beyond")
    for index in range(0, count, 10):
        specs[index] = beyond[int(rng.integers(len(beyond)))].spec
    return specs


def _free_place(scene: Scene, rng: np.random.Generator) -> tuple[int, int] | None:
    free = [
        (row, col)
        for row in range(PLACES)
        for col in range(PLACES)
        if all(max(abs(row - o.row), abs(col - o.col)) > OBJECT_CELLS for o in scene.objects)
    ]
    return free[int(rng.integers(len(free)))] if free else None


def _other(options: Sequence[str], but: str, rng: np.random.Generator) -> str:
    rest = [option for option in options if option != but]
    return rest[int(rng.integers(len(rest)))]


#: Colours without a name: an object in one of them is malformed.
STRANGERS: tuple[tuple[int, int, int], ...] = ((140, 140, 140), (0, 0, 139), (90, 200, 160))


def _specks(picture: UInt8, scene: Scene, rng: np.random.Generator) -> UInt8 | None:
    """Up to a dozen marks of five pixels, apart from objects and each other; None below two."""
    marks = 0
    for row, col in np.argwhere(np.ones((4, 3))).tolist():
        y, x = row * 12 + 5, col * 16 + 5 + int(rng.integers(3))
        near = any(
            abs(y - CELL * o.row - OBJECT_SIZE / 2) < OBJECT_SIZE / 2 + 4
            and abs(x - CELL * o.col - OBJECT_SIZE / 2) < OBJECT_SIZE / 2 + 8
            for o in scene.objects
        )
        if not near:
            picture[y, x : x + 5] = PALETTE["red"]
            marks += 1
    return picture if marks > 1 else None


def contradiction(kind: str, spec: Spec, rng: np.random.Generator) -> UInt8 | None:
    """A picture that contradicts ``spec`` in one respect, or None where ``kind`` does not apply.

    ``colour``, ``shape``, ``count``, ``relation``: one of these is changed; ``extra``: one object
    more; ``half``: half of an object is missing; ``chipped``: one cell of an object is; ``blob``: an
    object is a random half of its cells; ``merged``: two shapes drawn over each other in one place;
    ``two_tone``: an object's halves have two colours; ``stripe``: its two top rows have another;
    ``specks``: marks of five pixels each; ``stranger``: an extra square in a colour of no name.
    """
    scene = sample_scene(spec, rng)
    pick = int(rng.integers(len(scene.objects)))
    chosen = scene.objects[pick]

    # Where a shape is open, another object may take the role of the one that is changed.
    if kind in ("colour", "shape") and any(o.shape is None for o in spec.objects):
        return None

    def swap(other: SceneObject) -> UInt8:
        objects = list(scene.objects)
        objects[pick] = other
        return render(replace(scene, objects=tuple(objects)))

    if kind == "colour":
        if spec.objects[pick].colour is None or spec.same_colour:
            return None
        return swap(replace(chosen, colour=_other(COLOURS, chosen.colour, rng)))
    if kind == "shape":
        return swap(replace(chosen, shape=_other(SHAPES, chosen.shape, rng)))
    if kind == "count":
        if len(scene.objects) < 2:
            return None
        return render(replace(scene, objects=scene.objects[:pick] + scene.objects[pick + 1 :]))
    if kind == "relation":
        if spec.relation is None:
            return None
        relation = _other(("left of", "right of", "above", "below"), spec.relation, rng)
        return render(sample_scene(replace(spec, relation=relation), rng))
    if kind == "extra":
        place = _free_place(scene, rng)
        if place is None:
            return None
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        colour = COLOURS[int(rng.integers(len(COLOURS)))]
        extra = SceneObject(shape, colour, *place)
        return render(replace(scene, objects=(*scene.objects, extra)))

    picture = render(scene)
    y, x = CELL * chosen.row, CELL * chosen.col
    box = picture[y : y + OBJECT_SIZE, x : x + OBJECT_SIZE]
    tint = np.array(TINTS[scene.tint], dtype=np.uint8)
    half = OBJECT_SIZE // 2
    side = int(rng.integers(4))
    part = (
        (slice(None, half), slice(None)),
        (slice(half, None), slice(None)),
        (slice(None), slice(None, half)),
        (slice(None), slice(half, None)),
    )[side]
    if kind == "half":
        box[part] = tint
    elif kind == "chipped":
        shown = masks()[chosen.shape].reshape(OBJECT_CELLS, CELL, OBJECT_CELLS, CELL)
        # A cell of at least a third of its pixels: less is within the templates' tolerance.
        whole = np.argwhere(shown.sum((1, 3)) >= CELL * CELL // 3)
        i, j = (CELL * whole[int(rng.integers(len(whole)))]).tolist()
        box[i : i + CELL, j : j + CELL] = tint
    elif kind == "two_tone":
        shown = masks()[chosen.shape][part]
        box[part][shown] = PALETTE[_other(COLOURS, chosen.colour, rng)]
    elif kind == "stripe":
        shown = masks()[chosen.shape][:2]
        if 20 * shown.sum() <= masks()[chosen.shape].sum():  # a tip: within the colour's tolerance
            return None
        box[:2][shown] = PALETTE[_other(COLOURS, chosen.colour, rng)]
    elif kind == "specks":
        return _specks(picture, scene, rng)
    elif kind == "stranger":
        place = _free_place(scene, rng)
        if place is None:
            return None
        y, x = (CELL * place[0], CELL * place[1])
        strange = STRANGERS[int(rng.integers(len(STRANGERS)))]
        picture[y : y + OBJECT_SIZE, x : x + OBJECT_SIZE] = strange
    elif kind == "merged":
        other = masks()[_other(SHAPES, chosen.shape, rng)]
        # Shifted by a cell or two, so that the union is no shape of its own.
        dy, dx = int(rng.integers(-2, 3)) * CELL, int(rng.integers(-2, 3)) * CELL
        if dy == dx == 0:
            dy = 2 * CELL
        y2 = min(max(y + dy, 0), CELL * (PLACES - 1))
        x2 = min(max(x + dx, 0), CELL * (PLACES - 1))
        if (y2, x2) == (y, x):
            return None
        picture[y2 : y2 + OBJECT_SIZE, x2 : x2 + OBJECT_SIZE][other] = PALETTE[chosen.colour]
    elif kind == "blob":
        # Some of the cells, as a generator's botched object looks.
        cells = rng.random((OBJECT_CELLS, OBJECT_CELLS)) < 0.5
        cells[0, 0] = True
        blob = np.kron(cells, np.ones((CELL, CELL))).astype(bool)
        if any((blob == mask).all() for mask in masks().values()):
            return None
        box[:] = np.where(blob[..., None], np.array(PALETTE[chosen.colour], dtype=np.uint8), tint)
    else:
        raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(CONTRADICTIONS)}.")
    return picture


def measure_judge(count: int, seed: int = 0) -> dict[str, float]:
    """Share of rendered scenes judged right, and of contradicting ones accepted, per kind.

    Args:
        count: Scenes for the first number, and about as many for each kind of contradiction.
        seed: Of the scenes.

    Returns:
        ``{"right": ..., "accepted": ..., "accepted/<kind>": ...}``; ``accepted`` pools all kinds.
    """
    rng = random_generator(seed)
    specs = mixed_specs(count, rng)
    pictures = render_batch([sample_scene(spec, rng) for spec in specs])
    result = {"right": float(np.mean([v.correct for v in judge_batch(pictures, specs)]))}
    wrong = total = 0
    for kind in CONTRADICTIONS:
        pairs = [(spec, contradiction(kind, spec, rng)) for spec in mixed_specs(count, rng)]
        kept = [(spec, picture) for spec, picture in pairs if picture is not None]
        verdicts = judge_batch(np.stack([p for _, p in kept]), [s for s, _ in kept])
        accepted = sum(v.correct for v in verdicts)
        result[f"accepted/{kind}"] = accepted / len(kept)
        wrong += accepted
        total += len(kept)
    return result | {"accepted": wrong / total}


def measure_tokenizer(tokenizer: Tokenizer, count: int, seed: int = 0) -> dict[str, float]:
    """Judge accuracy on encoded and decoded scenes, codes in use, and the mean absolute error."""
    rng = random_generator(seed)
    specs = mixed_specs(count, rng)
    correct = 0
    used: set[int] = set()
    error = 0.0
    for start in range(0, count, 256):
        chunk = specs[start : start + 256]
        pictures = render_batch([sample_scene(spec, rng) for spec in chunk])
        tokens = tokenizer.encode(torch.from_numpy(pictures))
        decoded = tokenizer.decode(tokens).numpy()
        used.update(tokens.flatten().tolist())
        error += float(np.abs(decoded.astype(np.int16) - pictures).mean()) * len(chunk)
        correct += sum(v.correct for v in judge_batch(decoded, chunk))
    return {"right": correct / count, "codes": float(len(used)), "error": error / count}


def generate(
    generator: Generator,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    *,
    guidance: float,
    seed: int,
    temperature: float = 1.0,
    batch: int = 128,
) -> tuple[list[Judgement], UInt8]:
    """Draw and judge one picture per item; returns verdicts and uint8 ``[B, 48, 48, 3]``."""
    rng = torch.Generator().manual_seed(seed)
    verdicts: list[Judgement] = []
    pictures: list[UInt8] = []
    for start in range(0, len(items), batch):
        chunk = items[start : start + batch]
        tokens = sample_tokens(
            generator,
            [item.prompt for item in chunk],
            guidance=guidance,
            temperature=temperature,
            rng=rng,
        )
        decoded = tokenizer.decode(tokens.cpu()).numpy()
        pictures.append(decoded)
        verdicts += judge_batch(decoded, [item.spec for item in chunk])
    return verdicts, np.concatenate(pictures)


def measure_generator(
    generator: Generator,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    *,
    guidance: float = 1.5,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy of one sample per item: ``overall`` (unweighted over tasks) and per task."""
    verdicts, _ = generate(generator, tokenizer, items, guidance=guidance, seed=seed)
    correct = [v.correct for v in verdicts]
    result = {"overall": overall_accuracy(correct, items)}
    for task in dict.fromkeys(item.task for item in items):
        chosen = [c for c, item in zip(correct, items, strict=True) if item.task == task]
        result[task] = float(np.mean(chosen))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(description="Measure judge, tokenizer and generator.")
    parser.add_argument("--weights", type=Path, help="folder (default: the shipped weights)")
    parser.add_argument("--count", type=int, default=4000, help="scenes (default 4000)")
    parser.add_argument("--split", help="also sample the generator on this split")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    report: dict[str, dict[str, float]] = {"judge": measure_judge(options.count, options.seed)}
    tokenizer = load_tokenizer(options.weights)
    report["tokenizer"] = measure_tokenizer(tokenizer, options.count, options.seed)
    if options.split:
        report["generator"] = measure_generator(
            load_generator(options.weights),
            tokenizer,
            split_items(options.split),
            guidance=options.guidance,
            seed=options.seed,
        )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
