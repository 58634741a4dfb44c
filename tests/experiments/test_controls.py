"""What a benchmark says beside a score: whether an item is held out, and crude controls."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from attrs import frozen

from scalingar_fw.benchmark import Item, controls_of
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.evaluate import decode_items
from scalingar_fw.experiments.tables import candidates_table, with_later_columns
from scalingar_fw.testing import ReferenceModel
from scalingar_plugins.benchmarks.shapes import ShapesBenchmark, ShapesInstructions
from scalingar_plugins.models.shapes.grammar import parse
from scalingar_plugins.models.shapes.scenes import Scene, render_batch, sample_scene

OLD = Path(__file__).parents[1] / "fixtures" / "v0_1"


@frozen
class Bright:
    name: str = "bright"
    splits: tuple[str, ...] = ("test",)
    broken: bool = False

    def items(self, split):
        return [Item(Prompt("a"), "t", "c", held_out=True), Item(Prompt("b"), "t", "d")]

    def score(self, items, images):
        return [float(image.mean() > 127) for image in images]

    def controls(self, items, images):
        return {"darkest": [np.nan if self.broken else -float(i.mean()) for i in images]}


CONFIG = {"model": "m", "benchmark": "bright", "split": "test", "n": 3, "seed": 0}


def test_controls_and_held_out_are_kept_with_each_candidate():
    benchmark = Bright()
    found = decode_items(
        ReferenceModel(),
        Strategy(name="x"),
        benchmark,
        list(enumerate(benchmark.items("test"))),
        n=3,
    )
    rows = candidates_table("key", "x", CONFIG, False, found).to_pylist()
    assert [r["held_out"] for r in rows] == [True] * 3 + [None] * 3
    for result, three in zip(found, (rows[:3], rows[3:]), strict=True):
        means = [-float(image.mean()) for image in result.images]
        assert [dict(r["controls"])["darkest"] for r in three] == pytest.approx(means)


def test_a_control_that_is_no_number_is_named():
    with pytest.raises(ScalingarError, match="control 'darkest' of benchmark 'bright'"):
        controls_of(Bright(broken=True), [], np.zeros((2, 4, 4, 3), np.uint8))


def test_a_benchmark_without_controls_has_none():
    assert controls_of(object(), [], np.zeros((2, 4, 4, 3), np.uint8)) == {}


def test_the_number_of_objects_is_a_control_of_shapes_and_looks_at_no_prompt():
    benchmark = ShapesBenchmark()
    items = benchmark.items("test")[:2]
    empty = render_batch([Scene(()), Scene((), tint=1)])
    assert controls_of(benchmark, items, empty) == {"fewest objects": pytest.approx([0, 0])}
    assert controls_of(benchmark, items[::-1], empty).keys() == {"fewest objects"}


def test_shapes_says_which_tasks_are_held_out():
    items = ShapesBenchmark().items("test")
    kinds = {i.task: i.held_out for i in items}
    assert not kinds["single_object"] and kinds["counting"]
    assert kinds["position"] and kinds["colors"] and kinds["color_attr"] and kinds["two_object"]
    assert not any(i.held_out for i in ShapesBenchmark().items("seen"))
    assert all(i.held_out for i in ShapesInstructions().items("test"))


@pytest.mark.parametrize("benchmark", [ShapesBenchmark(), ShapesInstructions()])
def test_the_embedded_benchmarks_accept_right_pictures_and_name_their_splits(benchmark):
    for split in benchmark.splits:
        items = benchmark.items(split)[:8]
        rng = np.random.default_rng(0)
        pictures = render_batch([sample_scene(parse(i.prompt.text), rng) for i in items])
        assert benchmark.score(items, pictures) == [1.0] * 8
    with pytest.raises(ScalingarError, match="test"):
        benchmark.items("train")


def test_candidates_of_an_earlier_version_have_these_columns_empty(tmp_path):
    store = next(p.parent for p in OLD.rglob("store.json"))
    shutil.copytree(store, tmp_path / "store")
    table = open_store(tmp_path / "store").candidates()
    assert table["held_out"].null_count == table["controls"].null_count == len(table) > 0
    (first, *_) = (tmp_path / "store").rglob("candidates.parquet")
    written = pq.read_table(first)
    assert "controls" not in written.column_names
    again = with_later_columns(with_later_columns(written))
    assert again.column_names.count("controls") == 1
