"""Scoring a run's stored images after it, by the benchmark's own scorer."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from scalingar_fw.benchmark import Benchmark, judged_elsewhere, scorer_of
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.scores import add_scores
from scalingar_fw.experiments.store import Store, UnitRecord
from scalingar_fw.experiments.unit import Unit
from scalingar_fw.files import slug


def score_images(
    store: Store, benchmark: Benchmark, again: bool = False
) -> Iterator[dict[str, Any]]:
    """Score what is stored, unit by unit; scores lie beside the units after each.

    Args:
        store: the run, with images kept (`images: chosen` or `all`).
        benchmark: able to score here.
        again: score also what has a score.

    Yields:
        `images` to score in all, those `scored` so far, and their `accuracy` (None before the
        first).

    Raises:
        ScalingarError: no scorer, no images, or a score that is none.
    """
    why = judged_elsewhere(benchmark)
    if why:
        raise ScalingarError(why)
    known = store.candidates().select(["unit", "item", "seed", "candidate", "score"]).to_pylist()
    judged = {_key(row) for row in known if row["score"] is not None and not again}
    work: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    units = {unit.key: unit for unit in store.units()}
    stored = 0
    for key, unit in units.items():
        for name in unit.receipt["files"]:
            if name.startswith("images/"):
                stored += 1
                row = _row(key, name)
                if _key(row) not in judged:
                    work.setdefault(key, []).append((name, row))
    if not stored:
        raise ScalingarError(
            f"{store.path} holds no images: run with `images: chosen` (--images chosen)."
        )
    total, correct, done = sum(map(len, work.values())), 0.0, 0
    judge = f"score {slug(scorer_of(benchmark) or benchmark.name, 16)}"
    yield {"images": total, "scored": 0, "accuracy": None}
    for key, images in work.items():
        items = dict(Unit(units[key].label, units[key].config).items)
        rows = []
        for name, row in images:
            pixels = _read(store, units[key], name)
            (score,) = benchmark.score([items[row["item"]]], pixels[None])
            rows.append({**row, "score": float(score)})
        add_scores(store.layout, benchmark.name, rows, judge)
        done += len(rows)
        correct += sum(row["score"] for row in rows)
        yield {"images": total, "scored": done, "accuracy": correct / done}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["unit"], row["item"], row["seed"], row["candidate"]


def _row(unit: str, name: str) -> dict[str, Any]:
    """The candidate of `images/<item>-<seed>-<candidate>.png`."""
    item, seed, candidate = name.removeprefix("images/").removesuffix(".png").split("-")
    return {"unit": unit, "item": int(item), "seed": int(seed), "candidate": int(candidate)}


def _read(store: Store, unit: UnitRecord, name: str) -> Array:
    import PIL.Image

    data = store.file(unit, name)
    try:
        # A picture says how large it is before it is unpacked: Pillow refuses bombs.
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises almost anything, depending on the byte
        raise ScalingarError(f"Unit {unit.key[:12]}: {name} is no picture: {error}.") from error
