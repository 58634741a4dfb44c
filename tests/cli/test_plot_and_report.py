"""`scalingar plot` and `scalingar report`: from a folder on disk to a file."""

from __future__ import annotations

import json
import os
import re
import shutil

import PIL.Image
import pytest
from click.testing import CliRunner

from scalingar_fw.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory, toy_plugin):
    """One run, with everything that `generate` writes."""
    folder = tmp_path_factory.mktemp("made") / "run"
    words = ["generate", "--plugin", str(toy_plugin), "--model", "toy", "--strategy", "toy-prune"]
    result = CliRunner().invoke(main, [*words, "a circle", "-n", "4", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def run(made, cli, tmp_path, monkeypatch):
    """A copy of the run in the working directory, and every plugin."""
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    return shutil.copytree(made, tmp_path / "run")


def test_every_candidates_image_is_saved_small(run):
    assert sorted(os.listdir(run / "thumbnails")) == ["0.png", "1.png", "2.png", "3.png"]
    with PIL.Image.open(run / "thumbnails" / "0.png") as image:
        assert max(image.size) <= 192


def test_a_plot_is_a_vector_graphic_with_the_name_of_its_kind(cli, run, tmp_path):
    result = cli("plot", "run", "--kind", "live")
    assert result.exit_code == 0 and result.stdout == "live.svg\n"
    text = (tmp_path / "live.svg").read_text()
    assert text.startswith("<?xml") and "</svg>" in text


def test_it_is_dark_or_an_image_where_asked_for(cli, run, tmp_path):
    result = cli("plot", "run", "--kind", "maps", "--dark", "--out", "new/x.png", "--dpi", 50)
    assert result.exit_code == 0, result.output
    with PIL.Image.open(tmp_path / "new" / "x.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (0x16, 0x18, 0x1C)


def test_the_format_names_the_file_or_agrees_with_its_name(cli, run, tmp_path):
    result = cli("plot", "run", "--kind", "live", "--format", "pdf")
    assert result.exit_code == 0 and result.stdout == "live.pdf\n"
    assert (tmp_path / "live.pdf").read_bytes().startswith(b"%PDF")
    wrong = cli("plot", "run", "--kind", "live", "--format", "pdf", "--out", "x.png")
    assert wrong.exit_code == 2 and ".pdf" in wrong.stderr and not (tmp_path / "x.png").exists()


def test_a_figure_for_a_paper_is_as_wide_as_its_column(cli, run, tmp_path):
    for width, pixels in (((), 330), ((4,), 400)):
        arguments = ("--paper", *width, "--out", "p.png", "--dpi", 100, "--overwrite")
        result = cli("plot", "run", "--kind", "confidence", *arguments)
        assert result.exit_code == 0, result.output
        with PIL.Image.open(tmp_path / "p.png") as image:
            assert image.size[0] == pytest.approx(pixels, abs=2)


def test_a_figure_of_several_panels_is_refused_for_a_paper(cli, run):
    result = cli("plot", "run", "--kind", "dynamics", "--paper")
    assert result.exit_code == 2 and "several panels" in result.stderr
    assert "confidence" in result.stderr


def test_a_file_that_is_there_is_kept(cli, run, tmp_path):
    (tmp_path / "live.svg").write_text("mine")
    result = cli("plot", "run", "--kind", "live")
    assert result.exit_code == 2 and "--overwrite" in result.stderr
    assert (tmp_path / "live.svg").read_text() == "mine"
    assert cli("plot", "run", "--kind", "live", "--overwrite").exit_code == 0
    assert (tmp_path / "live.svg").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--kind", "lives"], "Did you mean 'live'"),
        (["run", "--kind", "pareto"], "scalingar bench"),
        (["run", "--out", "x.gif"], ".png, .svg, .pdf"),
        (["nowhere"], "holds no run"),
        (["run", "--prompt", "3"], "below 1"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence_and_nothing_is_left(
    arguments, said, cli, run, tmp_path
):
    before = set(os.listdir(tmp_path))
    result = cli("plot", *arguments)
    assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr
    assert set(os.listdir(tmp_path)) == before


def test_kinds_are_listed(cli, monkeypatch):
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    result = cli("plot", "--list")
    assert result.exit_code == 0
    assert {"dynamics", "maps", "pareto"} <= {
        line.split()[0] for line in result.stdout.splitlines()
    }
    assert cli("plot").exit_code == 2


def test_a_report_is_one_file_in_the_runs_folder(cli, run):
    result = cli("report", "run")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"run/report\.html \([\d.]+ MB\)\n", result.stdout)
    text = (run / "report.html").read_text()
    assert "a circle" in text and text.count("data:image/png") == 5
    assert cli("report", "run").exit_code == 2
    assert cli("report", "run", "--overwrite").exit_code == 0


def test_a_run_of_many_prompts_is_read_in_their_order(cli, toy, tmp_path, monkeypatch):
    from scalingar_analysis import open_run

    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    (tmp_path / "p.txt").write_text("two\none\nthree\n")
    assert toy("--prompts", "p.txt", "-n", 2, "--out", "many").exit_code == 0
    run = open_run("many")
    assert [e.prompt.label for e in run.examples()] == ["two", "one", "three"]
    assert all(len(e.pictures) == 2 for e in run.examples())
    index = json.loads((tmp_path / "many" / "index.json").read_text())
    index["prompts"][0]["folder"] = "../elsewhere"
    (tmp_path / "many" / "index.json").write_text(json.dumps(index))
    result = cli("report", "many")
    assert result.exit_code == 2 and "is no folder of it" in result.stderr


def test_a_runs_bare_trace_can_be_drawn_too(cli, run, tmp_path):
    assert cli("plot", "run/trace", "--kind", "confidence", "--out", "c.svg").exit_code == 0
    assert cli("report", "run/trace", "--out", "t.html").exit_code == 0
    assert "not saved" in (tmp_path / "t.html").read_text()
