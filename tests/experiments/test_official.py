"""Images out to an official evaluator, scores back; and scoring what is stored."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.cli import main
from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.scores import add_scores, read_scores, with_scores
from scalingar_fw.experiments.store_writer import create_store
from scalingar_fw.experiments.tables import candidate_schema

HERE = Path(__file__).parent
FILES = [HERE.parent / "cli" / "toy_plugin.py", HERE / "lamp_plugin.py"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies")
    for name in ("SCALINGAR_PLUGINS", "LAMP_PROMPTS", "LAMP_PLACE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DETECTOR", "CLIP"):
        monkeypatch.delenv(f"SCALINGAR_GENEVAL_{name}", raising=False)
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)
    plugins = [word for file in FILES for word in ("--plugin", str(file))]

    def call(*arguments: object) -> Any:
        return runner.invoke(main, [*map(str, arguments), *plugins], prog_name="scalingar")

    return call


def bench(cli: Any, *more: object, benchmark: str = "lamp", images: str = "chosen") -> None:
    """A run of the toy model in the folder `run`: two candidates, seeds 0 and 1."""
    words = ["bench", "--out", "run", "--model", "toy", "--benchmark", benchmark]
    words += ["--executor", "inline", "--images", images, "-n", 2, "--no-record"]
    seeds = [] if "--seeds" in more else ["--seeds", "0-1"]
    strategy = [] if "--strategy" in more else ["--strategy", "toy-idle"]
    done = cli(*words, *strategy, *seeds, *more)
    assert done.exit_code == 0, done.stderr


def rows(**where: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_store("run").candidates().to_pylist()
    return [row for row in found if all(row[k] == v for k, v in where.items())]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- the way out ---------------------------------------------------------------------------------


def test_the_chosen_image_of_each_seed_is_laid_out(cli: Any) -> None:
    bench(cli)
    said = cli("export", "lamp", "run", "out", "--name", "ours")
    assert said.exit_code == 0, said.stderr
    assert "6 images of 3 prompts (toy-idle, n = 2)" in said.stdout
    assert f"Send {Path('out').resolve()} to the office." in said.stdout
    for row in rows(chosen=True):
        number = row["seed"]  # seeds 0 and 1 are samples 0 and 1
        stored = next(
            Path("run").rglob(f"images/{row['item']}-{row['seed']}-{row['candidate']}.png")
        )
        assert digest(Path(f"out/{row['item']}/ours-{number}.png")) == digest(stored)
    assert len(list(Path("out").rglob("*.png"))) == 6
    assert "a torch" in Path("out/prompts.txt").read_text()


def test_an_unfinished_split_is_refused_unless_that_is_wanted(cli: Any) -> None:
    """Evaluators leave out what is not there, and the score is of another benchmark."""
    bench(cli, "--limit", 2)
    refused = cli("export", "lamp", "run", "out")
    assert refused.exit_code == 2 and "2 of 6 images" in refused.stderr
    assert not Path("out").exists()
    done = cli("export", "lamp", "run", "out", "--partial")
    assert done.exit_code == 0 and "2 images of the split are missing" in done.stderr


def test_one_strategy_and_n_are_exported_at_a_time(cli: Any) -> None:
    bench(cli)
    bench(cli, "--strategy", "toy-prune")
    several = cli("export", "lamp", "run", "out")
    assert several.exit_code == 2 and "--strategy 'toy-prune' -n 2" in several.stderr
    assert cli("export", "lamp", "run", "out", "--strategy", "toy-prune").exit_code == 0
    wrong = cli("export", "lamp", "run", "other", "--strategy", "toy-prun")
    assert wrong.exit_code == 2 and "Did you mean 'toy-prune'" in wrong.stderr


def test_a_run_without_images_says_how_to_keep_them(cli: Any) -> None:
    bench(cli, images="none")
    for words in (
        ("export", "lamp", "run", "out"),
        ("score", "run", "--benchmark-option", "least=1"),
    ):
        refused = cli(*words)
        assert refused.exit_code == 2 and "--images chosen" in refused.stderr
    assert not Path("out").exists(), "made whole or not at all"


def test_a_damaged_image_is_not_passed_on(cli: Any) -> None:
    bench(cli)
    image = next(Path("run").rglob("images/*.png"))
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    refused = cli("export", "lamp", "run", "out")
    assert refused.exit_code == 2 and "damaged" in refused.stderr and not Path("out").exists()


@pytest.mark.parametrize("place", ["../outside.png", "/tmp/outside.png", "manifest.json", ""])
def test_nothing_is_written_outside_the_folder(
    place: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(cli, "--limit", 1, "--seeds", 0)
    monkeypatch.setenv("LAMP_PLACE", place)
    refused = cli("export", "lamp", "run", "out", "--partial")
    assert refused.exit_code == 1 and "wants to write to" in refused.stderr
    assert not Path("out").exists() and not Path("outside.png").exists()


def test_other_official_files_than_the_runs_are_refused(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(cli)
    monkeypatch.setenv("LAMP_PROMPTS", "a lamp,another torch,a candle")
    refused = cli("export", "lamp", "run", "out")
    assert refused.exit_code == 2 and "'a torch' as prompt 1" in refused.stderr


def test_a_run_of_another_benchmark_or_one_without_a_layout_is_refused(cli: Any) -> None:
    bench(cli)
    assert "is a run of benchmark 'lamp'" in cli("export", "geneval", "run", "out").stderr
    assert "has no official evaluator" in cli("export", "shapes", "run", "out").stderr
    assert "holds no experiment" in cli("export", "lamp", ".", "out").stderr


# -- the way back --------------------------------------------------------------------------------


def results(scores: dict[str, float]) -> Path:
    path = Path("results.json")
    path.write_text(json.dumps(scores))
    return path


def test_results_become_the_candidates_scores(cli: Any) -> None:
    bench(cli)
    before = {p: digest(p) for p in Path("run/units").rglob("*") if p.is_file()}
    assert all(row["score"] is None for row in rows())
    cli("export", "lamp", "run", "out", "--name", "ours")
    given = {f"{item}/ours-{seed}.png": float(item == 1) for item in range(3) for seed in (0, 1)}
    said = cli("import", "lamp", "run", results(given))
    assert said.exit_code == 0, said.stderr
    assert "6 images of toy-idle (n = 2) judged, 0.3333 correct" in said.stdout
    assert {(r["item"], r["score"]) for r in rows(chosen=True)} == {(0, 0), (1, 1), (2, 0)}
    assert all(r["score"] is None for r in rows(chosen=False)), "nobody judged these"
    assert {p: digest(p) for p in before} == before, "units stay what they were"
    judges = pq.read_table("run/scores/lamp.parquet")["judge"].to_pylist()
    assert len(set(judges)) == 1 and judges[0].startswith("import results.json ")


def test_results_that_are_imported_again_replace_what_was_there(cli: Any) -> None:
    bench(cli)
    cli("export", "lamp", "run", "out", "--name", "ours")
    cli("import", "lamp", "run", results({"0/ours-0.png": 1.0, "1/ours-0.png": 1.0}))
    said = cli("import", "lamp", "run", results({"0/ours-0.png": 0.0}))
    assert "5 exported images have no result" in said.stderr
    scores = {(r["item"], r["seed"]): r["score"] for r in rows(chosen=True)}
    assert scores[0, 0] == 0.0 and scores[1, 0] == 1.0 and scores[2, 0] is None


def test_seeds_that_are_added_later_do_not_shift_the_scores(cli: Any) -> None:
    """Samples are numbered by seed: after seed 0 was added, sample 0 of old results is seed 1."""
    bench(cli, "--seeds", 1)
    cli("export", "lamp", "run", "out", "--name", "ours")
    bench(cli, "--seeds", "0-1")
    cli("import", "lamp", "run", results({f"{i}/ours-0.png": 1.0 for i in range(3)}))
    assert {r["seed"] for r in rows(chosen=True) if r["score"] == 1.0} == {1}


def test_several_exports_need_the_folder_that_was_judged(cli: Any) -> None:
    bench(cli)
    bench(cli, "--strategy", "toy-prune")
    for name in ("toy-idle", "toy-prune"):
        cli("export", "lamp", "run", name, "--strategy", name, "--name", "ours")
    path = results({"0/ours-0.png": 1.0})
    refused = cli("import", "lamp", "run", path)
    assert refused.exit_code == 2 and "exported for 'lamp' 2 times" in refused.stderr
    assert cli("import", "lamp", "run", path, "--images", "toy-prune").exit_code == 0
    assert {r["strategy"] for r in rows() if r["score"] == 1.0} == {"toy-prune"}


def test_results_of_images_that_were_not_exported_are_refused(cli: Any) -> None:
    bench(cli)
    assert "0 times" in cli("import", "lamp", "run", results({"0/ours-0.png": 1.0})).stderr
    cli("export", "lamp", "run", "out", "--name", "ours")
    refused = cli("import", "lamp", "run", results({"0/theirs-0.png": 1.0}))
    assert refused.exit_code == 2 and "'0/theirs-0.png'" in refused.stderr
    outside = cli("import", "lamp", "run", results({"0/ours-0.png": 40.0}))
    assert outside.exit_code == 2 and "must lie in [0, 1]" in outside.stderr
    assert not Path("run/scores").exists()


def test_genevals_results_come_back(cli: Any) -> None:
    """Through the file that its evaluator writes, with the paths of another machine."""
    bench(cli, "--limit", 4, "--seeds", 3, benchmark="geneval")
    assert cli("export", "geneval", "run", "out", "--partial").exit_code == 0
    lines = []
    for folder in sorted(p for p in Path("out").iterdir() if p.is_dir()):
        wanted = json.loads((folder / "metadata.jsonl").read_text())
        record = {
            "filename": f"/elsewhere/{folder.name}/samples/0000.png",
            "tag": wanted["tag"],
            "prompt": wanted["prompt"],
            "correct": wanted["tag"] == "counting",
            "reason": "",
            "metadata": json.dumps(wanted),
            "details": "{}",
        }
        lines.append(json.dumps(record) + "\n")
    Path("results.jsonl").write_text("".join(lines))
    said = cli("import", "geneval", "run", "results.jsonl", "--json")
    assert json.loads(said.stdout) == {
        "schema": 1,
        "strategy": "toy-idle",
        "n": 2,
        "judged": 4,
        "left_out": 0,
        "accuracy": 0.25,
    }
    assert {r["task"]: r["score"] for r in rows(chosen=True)} == {
        "single_object": 0.0,
        "two_object": 0.0,
        "counting": 1.0,
        "colors": 0.0,
    }


# -- scoring here --------------------------------------------------------------------------------


def test_stored_images_are_scored_as_they_would_have_been_in_the_run(cli: Any) -> None:
    option = ("--benchmark-option", "least=127")
    bench(cli, images="all")
    refused = cli("score", "run")
    assert refused.exit_code == 2 and "judged by its office" in refused.stderr
    said = cli("score", "run", *option)
    assert said.exit_code == 0 and "12 images scored" in said.stdout
    later = [r["score"] for r in rows()]
    Path("run").rename("first")
    bench(cli, *option)
    assert later == [r["score"] for r in rows()]
    assert len(set(later)) == 2, "the toy's pictures differ"


def test_scoring_goes_on_where_it_stopped_and_begins_anew_when_asked(cli: Any) -> None:
    bench(cli, images="all")
    cli("score", "run", "--benchmark-option", "least=127")
    assert "Every image has a score" in cli("score", "run", "--benchmark-option", "least=1").stdout
    said = cli("score", "run", "--again", "--benchmark-option", "least=1", "--json")
    assert json.loads(said.stdout)["accuracy"] == 1.0
    assert {r["score"] for r in rows()} == {1.0}


def test_recorded_pools_see_the_later_scores(cli: Any) -> None:
    words = ["bench", "--out", "run", "--model", "toy", "--benchmark", "lamp", "-n", 2]
    words += ["--executor", "inline", "--images", "all", "--strategy", "toy-idle", "--record"]
    assert cli(*words).exit_code == 0
    assert all(np.isnan(p.scores).all() for p in open_store("run").trajectories("toy-idle"))
    cli("score", "run", "--benchmark-option", "least=1")
    assert all((p.scores == 1).all() for p in open_store("run").trajectories("toy-idle"))


# -- the overlay ---------------------------------------------------------------------------------


def table(keys: list[tuple[str, int, int, int]], scores: list[float | None]) -> Any:
    import pyarrow as pa

    empty = dict.fromkeys(candidate_schema().names)
    names = ("unit", "item", "seed", "candidate")
    made = [
        {**empty, **dict(zip(names, key, strict=True)), "score": score}
        for key, score in zip(keys, scores, strict=True)
    ]
    return pa.Table.from_pylist(made, candidate_schema())


_keys = st.lists(
    st.tuples(
        st.sampled_from(["aa", "ab", "b"]),
        st.integers(0, 12),
        st.integers(0, 12),
        st.integers(0, 2),
    ),
    unique=True,
    max_size=12,
)


@given(keys=_keys, batches=st.lists(st.dictionaries(st.integers(0, 11), st.booleans()), max_size=3))
def test_the_last_judgement_of_a_candidate_counts_and_order_stays(
    tmp_path_factory: pytest.TempPathFactory, keys: Any, batches: Any
) -> None:
    layout = create_store(tmp_path_factory.mktemp("run"))
    expected: dict[Any, float | None] = {key: i % 2 * 0.5 for i, key in enumerate(keys)}
    whole = table(keys, list(expected.values()))
    names = ("unit", "item", "seed", "candidate")
    for batch in batches:
        judged = {keys[i]: float(score) for i, score in batch.items() if i < len(keys)}
        found = [
            {**dict(zip(names, key, strict=True)), "score": score} for key, score in judged.items()
        ]
        if found:
            add_scores(layout, "lamp", found, "a test")
        expected |= judged
    got = with_scores(whole, read_scores(layout))
    assert got["score"].to_pylist() == list(expected.values())
    assert got.drop_columns("score") == whole.drop_columns("score")


def test_a_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    layout = create_store(tmp_path)
    row = {"unit": "a", "item": 0, "seed": 0, "candidate": 0, "score": 1.0}
    add_scores(layout, "lamp", [row], "a test")
    path = layout.scores / "lamp.parquet"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ScalingarError, match=r"lamp\.parquet is damaged.*import or score again"):
        read_scores(layout)
