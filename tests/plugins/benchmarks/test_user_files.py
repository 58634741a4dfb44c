"""TIIF-Bench and IPV-Txt from files in the published formats, written here."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalingar_fw.benchmark import Benchmark, OfficialFiles, Sample, judged_elsewhere
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.benchmarks import ipv_txt, tiif
from scalingar_plugins.benchmarks.ipv_txt import IPVTxtBenchmark
from scalingar_plugins.benchmarks.tiif import TIIFBenchmark

BOTH = [
    pytest.param(TIIFBenchmark, tiif.VARIABLE, "github.com/A113N-W3I/TIIF-Bench", id="tiif"),
    pytest.param(IPVTxtBenchmark, ipv_txt.VARIABLE, "showlab/ImpossibleVideos", id="ipv-txt"),
]


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tiif.VARIABLE, raising=False)
    monkeypatch.delenv(ipv_txt.VARIABLE, raising=False)


@pytest.mark.parametrize(("made", "variable", "source"), BOTH)
def test_without_the_files_it_says_where_to_get_them(
    made: Any, variable: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScalingarError, match=f"needs its official files.*{source}.*{variable}"):
        made().items(made().splits[0])
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ScalingarError, match=f"there is no .* in .*{source}"):
        made().items(made().splits[0])


@pytest.mark.parametrize(("made", "variable", "source"), BOTH)
def test_nobody_here_judges_it(made: Any, variable: str, source: str) -> None:
    one = made()
    assert isinstance(one, Benchmark) and isinstance(one, OfficialFiles)
    assert f"scalingar export {one.name}" in judged_elsewhere(one)
    assert np.isnan(one.score([None] * 3, np.zeros((3, 4, 4, 3), np.uint8))).all()


@pytest.mark.parametrize(("made", "variable", "source"), BOTH)
def test_an_unknown_split_gets_a_suggestion(made: Any, variable: str, source: str) -> None:
    with pytest.raises(ScalingarError, match="Did you mean"):
        made().items("tset")


def samples(made: Any, split: str, total: int = 1) -> list[Sample]:
    items = made.items(split)
    return [
        Sample(i, item, seed=k, number=k, total=total)
        for k in range(total)
        for i, item in enumerate(items)
    ]


# -- TIIF-Bench ----------------------------------------------------------------------------------

LINES = {
    "action+3d": [("A cat leaps behind a bus.", "A long tale of a cat."), ("Same.", "Other.")],
    "text": [("Same.", "A sign, at length.")],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "testmini_prompts"
    folder.mkdir(parents=True)
    for kind, lines in LINES.items():
        records = [
            {"type": kind, "short_description": short, "long_description": long}
            for short, long in lines
        ]
        text = "".join(json.dumps(r) + "\n" for r in records)
        (folder / f"{kind}_prompts.jsonl").write_text(text + "\n")
    return tmp_path / "data"


def test_each_line_is_two_prompts_of_one_cluster(data: Path) -> None:
    made = TIIFBenchmark(files=str(data))
    items = made.items("testmini")
    assert [i.prompt.text for i in items] == [
        t for ls in LINES.values() for both in ls for t in both
    ]
    assert items[0].task == "action+3d/short" and items[1].task == "action+3d/long"
    assert items[0].cluster == items[1].cluster != items[2].cluster
    assert [i.prompt.text for i in made.items("testmini-long")] == [
        long for lines in LINES.values() for _, long in lines
    ]
    assert made.items("testmini-short")[0].prompt == items[0].prompt


def test_equal_prompts_are_different_draws(data: Path) -> None:
    same = [i for i in TIIFBenchmark(files=str(data)).items("testmini") if i.prompt.text == "Same."]
    assert [i.replica for i in same] == [0, 1]


def test_images_lie_where_its_evaluator_looks(data: Path) -> None:
    made = TIIFBenchmark(files=str(data))
    places = [made.place("testmini", s, "ours") for s in samples(made, "testmini")]
    assert places[:3] == [
        "action+3d/ours/short_description/0.png",
        "action+3d/ours/long_description/0.png",
        "action+3d/ours/short_description/1.png",
    ]
    assert len(set(places)) == len(places) == 6
    twice = [made.place("testmini", s, "ours") for s in samples(made, "testmini", 2)]
    assert len(set(twice)) == 12 and twice[0].split("/")[1] == "ours-0"


def test_its_results_are_the_share_of_right_answers(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "ours" / "text" / "short"
    folder.mkdir(parents=True)
    answers = {"gt_answers": ["yes", "No ", "yes", "yes"], "model_pred": ["yes", "no", "no", "yes"]}
    (folder / "0.json").write_text(json.dumps(answers))
    (tmp_path / "results" / "result_summary.xlsx").write_bytes(b"ignored")
    found = TIIFBenchmark(files=str(data)).read_results(tmp_path / "results")
    assert found == {"text/ours/short_description/0.png": 0.75}
    (folder / "0.json").write_text(json.dumps(answers | {"model_pred": ["yes"]}))
    with pytest.raises(ScalingarError, match="1 answers to 4 questions"):
        TIIFBenchmark(files=str(data)).read_results(tmp_path / "results")
    (folder / "0.json").write_text("{}")
    with pytest.raises(ScalingarError, match="gt_answers=None must be a list"):
        TIIFBenchmark(files=str(data)).read_results(tmp_path / "results")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "../../elsewhere"}, "is no name of a folder"),
        ({"short_description": 3}, "short_description=3 must be text"),
        ({"long_description": " "}, "must be text"),
    ],
)
def test_strange_prompt_files_are_refused_with_the_line(
    change: dict[str, Any], message: str, data: Path
) -> None:
    good = {"type": "x", "short_description": "a", "long_description": "b"}
    path = data / "testmini_prompts" / "x_prompts.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n")
    with pytest.raises(ScalingarError, match=f"line 2.*{message}"):
        TIIFBenchmark(files=str(data)).items("testmini")


# -- IPV-Txt -------------------------------------------------------------------------------------

SUITE = {
    "Physical Laws": {
        "Mechanics": [
            {"prompt_id": "0001", "prompt_text": "A stone falls upwards."},
            {"prompt_id": "0002", "prompt_text": "A car drives on water."},
        ],
        "Optics": [{"prompt_id": "0003", "prompt_text": "A shadow points to the sun."}],
    },
    "Social Laws": [{"prompt_id": "0004", "prompt_text": "A cat teaches law."}],
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / ipv_txt.FILE
    path.write_text(json.dumps(SUITE))
    return path


def test_the_taxonomy_is_the_task(suite: Path) -> None:
    items = IPVTxtBenchmark(files=str(suite)).items("test")
    assert items == IPVTxtBenchmark(files=str(suite.parent)).items("test")
    assert [(i.cluster, i.task) for i in items] == [
        ("0001", "Physical Laws - Mechanics"),
        ("0002", "Physical Laws - Mechanics"),
        ("0003", "Physical Laws - Optics"),
        ("0004", "Social Laws"),
    ]


def test_people_fill_in_a_table_of_the_images(suite: Path, tmp_path: Path) -> None:
    made = IPVTxtBenchmark(files=str(suite))
    (text,) = made.companions("test", samples(made, "test"), "ours").values()
    rows = list(csv.DictReader(text.splitlines()))
    assert [r["image"] for r in rows] == ["0001.png", "0002.png", "0003.png", "0004.png"]
    assert rows[1]["prompt"] == "A car drives on water."
    path = tmp_path / "filled.csv"
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, rows[0].keys())
        table.writeheader()
        answers = (("yes", "Yes"), ("1", "0"), ("no", "no"), ("", ""))
        for row, answer in zip(rows, answers, strict=True):
            table.writerow(row | dict(zip(ipv_txt.QUESTIONS, answer, strict=True)))
    assert made.read_results(path) == {"0001.png": 1.0, "0002.png": 0.0, "0003.png": 0.0}


def test_half_an_answer_is_refused(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "filled.csv"
    path.write_text("image,visual_quality,prompt_following\n0001.png,yes,\n")
    with pytest.raises(ScalingarError, match="line 2: expected image and visual_quality"):
        IPVTxtBenchmark(files=str(suite)).read_results(path)


def test_several_samples_have_names_of_their_own(suite: Path) -> None:
    made = IPVTxtBenchmark(files=str(suite))
    places = [made.place("test", s, "ours") for s in samples(made, "test", 2)]
    assert len(set(places)) == 8 and places[0] == "0001-0.png"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"prompt_id": "../x", "prompt_text": "a"}, "is no name of a file"),
        ({"prompt_id": "0001", "prompt_text": "again"}, "0001 is there more than once"),
        ({"prompt_id": "9", "prompt_text": ""}, "must be text"),
    ],
)
def test_strange_suites_are_refused(entry: dict[str, str], message: str, suite: Path) -> None:
    suite.write_text(json.dumps(SUITE | {"More": [entry]}))
    with pytest.raises(ScalingarError, match=message):
        IPVTxtBenchmark(files=str(suite)).items("test")
