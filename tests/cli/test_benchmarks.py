"""Benchmarks by name: listed, described and attributed to their plugin, ours and a stranger's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PAGE = '''
from scalingar_fw.benchmark import Item
from scalingar_fw.errors import ScalingarError
from scalingar_fw.decoding.noise import Prompt

class Moods:
    """Is the picture a happy one?"""

    name, splits = "moods", ("validation", "test")

    def __init__(self, files=""):
        self.files = files

    def items(self, split):
        if split == "test" and not self.files:
            raise ScalingarError("The moods of the test are kept by their owner: files=DIR.")
        return [Item(Prompt(f"a {m} cat"), m, m) for m in ("glad", "glad and fat", "sad")]

    def score(self, items, images):
        return [1.0] * len(images)

def scalingar_register(registry):
    registry.add("benchmark", "moods", Moods, "happy pictures")
'''


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    for name in ("TIIF", "IPV_TXT", "GENEVAL_DETECTOR", "GENEVAL_CLIP"):
        monkeypatch.delenv(f"SCALINGAR_{name}", raising=False)


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "moods_plugin.py"
    path.write_text(PAGE)
    return path


def test_ours_are_listed_with_what_judges_them(cli):
    rows = {r["name"]: r for r in json.loads(cli("list", "benchmarks", "--json").stdout)}
    assert {"shapes", "geneval", "tiif", "ipv-txt"} <= set(rows)
    assert "official evaluator" in rows["tiif"]["summary"]
    assert all(r["kind"] == "benchmark" for r in rows.values())


def test_show_gives_splits_prompts_and_tasks(cli):
    text = cli("show", "geneval").stdout
    assert "test: 553 prompts" in text and "6 tasks: single_object 80, two_object 99" in text
    assert "not judged here" in text
    assert "Judged by its own scorer" in cli("show", "shapes").stdout


@pytest.mark.parametrize(("name", "source"), [("tiif", "TIIF-Bench"), ("ipv-txt", "showlab")])
def test_show_of_one_without_its_files_says_where_they_are(name, source, cli):
    result = cli("show", name)
    assert result.exit_code == 0 and source in result.stdout
    assert "needs its official files" in result.stdout and ": not available" in result.stdout


def test_a_strangers_benchmark_is_listed_under_its_plugin(cli, page, monkeypatch):
    rows = {
        r["distribution"]: r for r in json.loads(cli("plugins", "--json", "--plugin", page).stdout)
    }
    assert rows["moods_plugin"]["registered"] == [
        {"kind": "benchmark", "name": "moods_plugin/moods"}
    ]
    assert "benchmark  moods" in cli("plugins", "--plugin", page).stdout
    text = cli("show", "moods", "--plugin", page).stdout
    assert "Is the picture a happy one?" in text
    monkeypatch.setenv("SCALINGAR_PLUGINS", str(page))
    assert "happy pictures" in cli("list", "benchmarks").stdout


def test_one_split_that_cannot_be_read_does_not_hide_the_page(cli, page):
    result = cli("show", "moods", "--plugin", page)
    assert result.exit_code == 0 and "kept by their owner" in result.stdout
    assert "validation: 3 prompts" in result.stdout and "test: not available" in result.stdout


def test_no_benchmark_is_listed_where_no_plugin_is_loaded(cli, monkeypatch):
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "none")
    result = cli("list", "benchmarks")
    assert result.exit_code == 0 and result.stdout.strip() == ""
    assert "No benchmarks are registered" in result.stderr
