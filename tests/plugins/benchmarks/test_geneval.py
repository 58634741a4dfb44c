"""GenEval's prompts and files: nothing here needs torch, transformers or weights."""

from __future__ import annotations

import collections
import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalingar_fw.benchmark import Benchmark, Item, OfficialFiles, Sample, judged_elsewhere
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.benchmarks.geneval import (
    CLIP_VARIABLE,
    DETECTOR_VARIABLE,
    GenEvalBenchmark,
    wanted_by,
)
from scalingar_plugins.benchmarks.geneval_prompts import class_names, metadata_lines

DATA = files("scalingar_plugins.benchmarks") / "data"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DETECTOR_VARIABLE, raising=False)
    monkeypatch.delenv(CLIP_VARIABLE, raising=False)


def test_the_prompts_are_the_official_ones_and_carry_their_notice() -> None:
    """553 lines in six tags, as published; the licence asks for its notice beside them."""
    content = (DATA / "geneval_metadata.jsonl").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    notice = (DATA / "geneval_NOTICE.txt").read_text(encoding="utf-8")
    assert "MIT License" in notice and "Copyright (c) 2023 Dhruba Ghosh" in notice
    items = GenEvalBenchmark().items("test")
    assert collections.Counter(item.task for item in items) == {
        "single_object": 80,
        "two_object": 99,
        "counting": 80,
        "colors": 94,
        "position": 100,
        "color_attr": 100,
    }
    assert len({item.prompt for item in items}) == len(items) == 553


SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"


def test_a_cluster_is_the_prompts_metadata() -> None:
    """The official summary groups images by it."""
    for item, line in zip(GenEvalBenchmark().items("test"), metadata_lines(), strict=True):
        assert json.loads(item.cluster) == json.loads(line)
        assert json.loads(item.cluster)["prompt"] == item.prompt.text


def test_every_class_is_one_of_cocos() -> None:
    assert len(class_names()) == 80


def test_without_weights_images_wait_for_the_official_evaluator() -> None:
    made = GenEvalBenchmark()
    assert isinstance(made, Benchmark) and isinstance(made, OfficialFiles)
    assert "scalingar export geneval" in judged_elsewhere(made)
    assert made.scorer == ""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert np.isnan(made.score(made.items("test")[:2], images)).all()


def test_one_model_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScalingarError, match="its detector but not its clip"):
        GenEvalBenchmark(detector="somewhere")
    monkeypatch.setenv(CLIP_VARIABLE, "somewhere")
    with pytest.raises(ScalingarError, match="its clip but not its detector"):
        GenEvalBenchmark()


def test_other_prompts_and_splits_are_refused() -> None:
    with pytest.raises(ScalingarError, match="none of GenEval's 553"):
        wanted_by("a photo of a unicorn")
    with pytest.raises(ScalingarError, match="Did you mean 'test'"):
        GenEvalBenchmark().items("tst")


def test_showing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from scalingar_fw.cli import main\n"
        "main(['show', 'geneval'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "counting 80" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


# -- the official evaluator ----------------------------------------------------------------------


def line(index: int, sample: int = 0, correct: Any = True, **changes: Any) -> str:
    """A line as evaluate_images.py writes it."""
    wanted = json.loads(metadata_lines()[index])
    record = {
        "filename": f"/images/{index:05d}/samples/{sample:04d}.png",
        "tag": wanted["tag"],
        "prompt": wanted["prompt"],
        "correct": correct,
        "reason": "",
        "metadata": metadata_lines()[index],
        "details": "{}",
    }
    return json.dumps(record | changes) + "\n"


def test_places_and_companions_are_what_the_evaluator_reads() -> None:
    made = GenEvalBenchmark()
    items = made.items("test")
    sample = Sample(12, items[12], seed=7, number=3, total=4)
    assert made.place("test", sample, "any") == "00012/samples/0003.png"
    assert made.companions("test", [sample], "any") == {
        "00012/metadata.jsonl": metadata_lines()[12]
    }


def test_its_results_are_read_by_place(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(line(0) + line(552, 3, False) + "\n")
    assert GenEvalBenchmark().read_results(path) == {
        "00000/samples/0000.png": 1.0,
        "00552/samples/0003.png": 0.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json\n", "line 1 is damaged or not JSON"),
        (line(0) + line(0), "line 2: 00000/samples/0000.png is judged twice"),
        (line(0, correct="yes"), "must be true or false"),
        (line(0, filename="/images/0.png"), "must end in INDEX/samples"),
        (line(0, prompt="a photo of a cat"), "another set of prompts"),
        (line(0, filename="/images/00553/samples/0000.png"), "another set of prompts"),
        ("", "holds no results"),
    ],
)
def test_other_files_are_refused_with_the_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(ScalingarError, match=message):
        GenEvalBenchmark().read_results(path)


def test_a_task_is_no_part_of_what_a_prompt_asks_for() -> None:
    """An oracle knows a prompt alone."""
    found = wanted_by(Item(Prompt("a photo of a bench"), task="", cluster="").prompt.text)
    assert found["include"] == [{"class": "bench", "count": 1}]
