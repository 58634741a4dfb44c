"""Any list of prompts as a benchmark: formats, tags, names of images, scorers, and what is refused."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalingar_fw.benchmark import Sample, make_benchmark
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.sweep import make_sweep
from scalingar_fw.registry import load_registry
from scalingar_plugins.benchmarks.prompt_file import UNTAGGED, PromptFileBenchmark

ROWS = [
    {"prompt": "a cat, sleeping", "tag": "animals"},
    {"prompt": "ein Hund\u2028mit Hut", "tag": "animals"},
    {"prompt": "a red car", "tag": "things"},
]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"mine.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(r) for r in ROWS) + "\n", encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        comma = "\t" if kind == "tsv" else ","
        lines = [comma.join(f'"{v}"' for v in r.values()) for r in ROWS]
        path.write_text("\n".join([comma.join(ROWS[0]), *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_items(tmp_path: Path, kind: str) -> None:
    items = PromptFileBenchmark(file=str(write(tmp_path, kind)), tags="tag").items("test")
    assert [i.prompt.text for i in items] == [r["prompt"] for r in ROWS]
    assert [i.task for i in items] == ["animals", "animals", "things"]


def test_a_text_file_has_a_prompt_on_each_line_and_equal_ones_are_different_draws(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a cat\n\n  a dog \na cat\n", encoding="utf-8")
    items = PromptFileBenchmark(file=str(path)).items("test")
    assert [i.prompt.text for i in items] == ["a cat", "a dog", "a cat"]
    assert [i.replica for i in items] == [0, 0, 1]
    assert {i.task for i in items} == {UNTAGGED}


def test_a_files_name_is_the_benchmark_and_a_sweep_keeps_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "jsonl")
    monkeypatch.chdir(tmp_path)
    registry = load_registry()
    assert len(make_benchmark(registry, "mine.jsonl").items("test")) == 3
    given = {
        "benchmark": "mine.jsonl",
        "benchmark_options": {"tags": "tag"},
        "strategies": ["base"],
    }
    sweep = make_sweep(given, registry)
    assert sweep.benchmark == "prompts"
    assert sweep.benchmark_options == {"tags": "tag", "file": str(tmp_path / "mine.jsonl")}


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a cat")
    benchmark = PromptFileBenchmark(file=str(path))
    assert len(benchmark.items("test")) == 1
    path.write_text("a cat\na dog")
    assert len(benchmark.items("test")) == 2


def brightness(prompts: Any, images: Any) -> list[float]:
    return [float(image.mean() / 255) for image in images]


def too_much(prompts: Any, images: Any) -> list[float]:
    return [2.0 for _ in images]


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("prompt_judges")
    module.brightness, module.too_much = brightness, too_much  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prompt_judges", module)


def test_a_scorer_judges_in_0_to_1(tmp_path: Path, judges: None) -> None:
    file = str(write(tmp_path, "jsonl"))
    images = np.stack([np.full((2, 2, 3), v, np.uint8) for v in (0, 255)])
    mine = PromptFileBenchmark(file=file, scorer="prompt_judges:brightness")
    assert not mine.judged_elsewhere and mine.scorer == "prompt_judges:brightness"
    assert mine.score(mine.items("test")[:2], images) == [0.0, 1.0]
    with pytest.raises(ScalingarError, match=r"gave 2.*\[0, 1\]"):
        other = PromptFileBenchmark(file=file, scorer="prompt_judges:too_much")
        other.score(other.items("test")[:2], images)
    unjudged = PromptFileBenchmark(file=file)
    assert "scorer=module:function" in unjudged.judged_elsewhere
    assert np.isnan(unjudged.score(unjudged.items("test"), images)).all()


def test_exported_names_follow_the_pattern_and_scores_come_back_by_them(tmp_path: Path) -> None:
    mine = PromptFileBenchmark(
        file=str(write(tmp_path, "jsonl")), tags="tag", images="{task}/{index:03d}_{seed}.png"
    )
    items = mine.items("test")
    samples = [Sample(i, item, seed=7) for i, item in enumerate(items)]
    places = [mine.place("test", s, "m") for s in samples]
    assert places == ["animals/000_7.png", "animals/001_7.png", "things/002_7.png"]
    listed = mine.companions("test", samples, "m")["prompts.jsonl"].split("\n")
    assert [json.loads(line)["image"] for line in listed if line] == places
    results = tmp_path / "scores.csv"
    results.write_text("image,score\n" + "\n".join(f"{p},0.5" for p in places))
    assert mine.read_results(tmp_path) == dict.fromkeys(places, 0.5)
    for line, said in (("a.png,2", "0 to 1"), ("a.png,", "0 to 1"), (",1", "found image")):
        results.write_text(f"image,score\n{line}\n")
        with pytest.raises(ScalingarError, match=said):
            mine.read_results(results)


@pytest.mark.parametrize(
    "pattern", ["{index}.jpg", "{seed}.png", "../{index}.png", "{x}{index}.png"]
)
def test_a_pattern_that_names_no_image_is_refused(pattern: str) -> None:
    with pytest.raises(ScalingarError, match="images="):
        PromptFileBenchmark(images=pattern)


@pytest.mark.parametrize(
    ("options", "content", "said"),
    [
        ({"prompt": "promt"}, '{"prompt": "a"}', r"no 'promt'.*prompt"),
        ({"tags": "kind"}, '{"prompt": "a"}', "no 'kind'"),
        ({}, '{"prompt": " "}', "is empty"),
        ({}, "", "is empty"),
        ({}, "[1]", "no JSON object"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, options: dict[str, str], content: str, said: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(ScalingarError, match=said):
        PromptFileBenchmark(file=str(path), **options).items("test")


def test_a_missing_file_and_another_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScalingarError, match="does not exist"):
        make_benchmark(load_registry(), "nowhere.jsonl")
    with pytest.raises(ScalingarError, match="one split"):
        PromptFileBenchmark(file=str(write(tmp_path, "csv"))).items("train")
    with pytest.raises(ScalingarError, match="needs its prompts"):
        PromptFileBenchmark().items("test")


def test_a_dataset_is_asked_for_by_name_subset_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, subset: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, subset, split))
        if split == "train":
            raise ValueError("Unknown split 'train'.")
        return [{"caption": "a cat", "tag": ["x", "y"]}]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    mine = PromptFileBenchmark(dataset="org/name", subset="en", prompt="caption", tags="tag")
    (item,) = mine.items("validation")
    assert (item.prompt.text, item.task) == ("a cat", "x, y")
    assert asked == [("org/name", "en", "validation")]
    with pytest.raises(ScalingarError, match=r"Unknown split.*--split"):
        mine.items("train")
