"""What version 0.1 wrote is still read: runs, traces, stores and recordings, by Python and by command.

`tests/fixtures/v0_1/README.md` says what wrote them. The values are what 0.1 itself printed of them.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import scalingar_fw as sar
from scalingar_fw.cli import main
from scalingar_fw.experiments import open_store

SOURCE = Path(__file__).parents[1] / "fixtures" / "v0_1"

#: Series of a run of `scalingar`; a later version may record more.
WATCHED = {
    "entropy_nats", "entropy", "margin", "kl", "log_prob_cond", "log_prob_uncond",
    "log_prob_guided", "confidence", "rebound", "intrinsic", "drift", "scale", "uncertainty",
    "token_confidence", "block_stability",
}  # fmt: skip
DECIDED = {"threshold", "flagged", "recovered"}

Call = Callable[..., Result]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, for commands that write beside what they read."""
    shutil.copytree(SOURCE, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def cli(old: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.delenv("SCALINGAR_PLUGINS", raising=False)
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS", raising=False)
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    runner = CliRunner(**apart)

    def call(*arguments: object) -> Result:
        done = runner.invoke(main, [str(a) for a in arguments], prog_name="scalingar")
        assert done.exit_code == 0, f"{arguments}\n{done.stdout}\n{done.stderr}\n{done.exception}"
        return done

    return call


# --- runs and traces ---------------------------------------------------------------------------


def test_a_trace_holds_every_candidate_with_its_series() -> None:
    trace = sar.read_trace(SOURCE / "run" / "trace")
    assert (trace.grid.rows, trace.grid.cols) == (12, 12)
    assert [p.text for p in trace.decoded.prompts] == ["three rings"]
    assert trace.decoded.answer().candidate == 0
    counts = trace.decoded.ledger.counts()
    assert (counts["tokens"], counts["prefill_rows"], counts["decode_rows"]) == (243, 2, 478)
    candidates = trace.decoded.trajectories
    assert [len(t) for t in candidates] == [144, 42, 33, 24]
    assert [t.status.value for t in candidates] == ["completed", "pruned", "pruned", "pruned"]
    assert "did not rebound by 5 % within 5 steps" in candidates[1].reason
    for t in candidates:
        assert set(t.signals) >= WATCHED | DECIDED
        assert all(t.signals[name].shape == (len(t),) for name in WATCHED | DECIDED)
        assert t.tokens.dtype == np.int64


@pytest.mark.parametrize(
    ("signal", "last"),
    [
        ("rebound", [0.39284, 0.46261, 0.42906, 0.34540]),
        ("intrinsic", [0.86271, 0.89510, 0.88196, 0.86827]),
        ("drift", [0.38728, 0.43918, 0.40689, 0.42015]),
        ("confidence", [0.74386, 0.78112, 0.76320, 0.75624]),
        ("scale", [1.52746, 1.48431, 1.51355, 1.54500]),
    ],
)
def test_a_series_has_the_values_that_were_written(signal: str, last: list[float]) -> None:
    trace = sar.read_trace(SOURCE / "run" / "trace")
    assert [t.final(signal) for t in trace.decoded.trajectories] == pytest.approx(last, abs=1e-5)


def test_a_configuration_still_says_what_was_run() -> None:
    config = sar.read_trace(SOURCE / "run" / "trace").config
    assert config is not None
    assert (config.n, config.seed, config.device) == (4, 2, "cpu")
    assert config.strategy["termination"]["quantile"] == 0.2
    written = json.loads((SOURCE / "run" / "run.json").read_text(encoding="utf-8"))
    assert config.key() == written["key"], "the key names the same run"


@pytest.mark.parametrize("kind", ["dynamics", "confidence", "maps", "candidates", "live"])
def test_a_run_is_drawn(kind: str, cli: Call) -> None:
    cli("plot", "run", "--kind", kind, "--out", "x.svg")
    assert "</svg>" in Path("x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("run", ["three rings", "data:image/png"]),
        ("runs", ["a red circle", "two squares"]),
        ("run/trace", ["three rings"]),
        ("bench", ["scalingar", "base"]),
        ("bench_steps", ["a cross and a ring"]),
    ],
)
def test_a_page_is_written_of_it(folder: str, words: list[str], cli: Call) -> None:
    cli("report", folder, "--out", "page.html")
    text = Path("page.html").read_text(encoding="utf-8")
    assert [w for w in words if w not in text] == []


def test_a_run_of_many_prompts_keeps_their_order(cli: Call) -> None:
    from scalingar_analysis import open_run

    examples = list(open_run("runs").examples())
    assert [e.prompt.label for e in examples] == ["a red circle", "two squares"]
    assert [sum(len(t) for t in e.decoded.trajectories) for e in examples] == [34, 26]


# --- stores ------------------------------------------------------------------------------------


def test_a_store_gives_its_candidates() -> None:
    store = open_store(SOURCE / "bench")
    assert store.labels() == ["base", "scalingar"]
    rows = store.candidates().to_pylist()
    assert len(rows) == 12 * 1 + 12 * 4
    right = {
        label: sum(r["score"] for r in rows if r["strategy"] == label and r["chosen"])
        for label in store.labels()
    }
    assert right == {"base": 8.0, "scalingar": 7.0}
    ours = [r for r in rows if r["strategy"] == "scalingar"]
    assert sum(r["status"] == "pruned" for r in ours) == 36
    assert sum(r["tokens"] for r in ours) == 3054
    assert all(r["score"] is None for r in ours if r["status"] == "pruned")
    assert {r["task"] for r in rows} == {
        "single_object", "two_object", "counting", "colors", "position", "color_attr",
    }  # fmt: skip


def test_compare_finds_the_accuracies_and_costs(cli: Call) -> None:
    data = json.loads(cli("compare", "bench", "--json").stdout)
    assert (data["benchmark"], data["split"], data["items"]) == ("shapes", "validation", 12)
    rows = {r["strategy"]: r for r in data["strategies"]}
    assert rows["base"]["accuracy"]["mean"] == pytest.approx(8 / 12)
    assert rows["scalingar"]["accuracy"]["mean"] == pytest.approx(7 / 12)
    assert rows["base"]["tokens"] == 144
    assert rows["scalingar"]["tokens"] == 254.5
    assert rows["scalingar"]["forward_rows"] == pytest.approx(503, abs=0.5)
    assert rows["base"]["flops"] == pytest.approx(1703430144)
    assert rows["scalingar"]["pruned"] == 3
    [paired] = data["differences"]
    assert (paired["strategy"], paired["baseline"]) == ("scalingar", "base")
    assert "scalingar" in cli("compare", "bench").stdout


def test_a_store_is_drawn(cli: Call) -> None:
    cli("plot", "bench", "--kind", "pareto", "--out", "p.svg")
    cli("plot", "bench_steps", "--kind", "confidence", "--out", "c.svg")
    cli("plot", "recording", "--kind", "auroc", "--out", "a.svg")
    for name in ("p.svg", "c.svg", "a.svg"):
        assert "</svg>" in Path(name).read_text(encoding="utf-8")


def test_steps_of_ended_candidates_end_where_they_did() -> None:
    store = open_store(SOURCE / "bench_steps")
    table = store.steps("scalingar")
    assert set(table.column_names) >= WATCHED | DECIDED | {"item", "candidate", "step", "token"}
    for pool in store.trajectories("scalingar", n=2, seed=0):
        lengths = sorted(len(t) for t in pool.trajectories)
        assert lengths[0] < 144 == lengths[1]
        assert all(t.signals["drift"].shape == (len(t),) for t in pool.trajectories)


def test_a_sweep_is_gone_on_with_or_refused_in_a_sentence(old: Path, cli: Call) -> None:
    """Finished units are known by the hash of all that they follow from. Where other weights ship
    by now, a store of the old ones cannot be added to, and says so."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    done = CliRunner(**apart).invoke(main, ["bench", "--out", "bench", "--dry-run"])
    if done.exit_code == 0:
        assert re.search(r"\b2 finished already", done.stdout + done.stderr), done.stdout
    else:
        assert done.exit_code == 2 and "model" in done.stderr


# --- recordings --------------------------------------------------------------------------------


def test_a_recording_holds_complete_candidates_and_scores() -> None:
    store = open_store(SOURCE / "recording")
    pools = store.trajectories("record", n=3, seed=0)
    assert [p.prompt.text for p in pools] == ["a ring", "a cross and a ring", "two rings"]
    assert [p.scores.tolist() for p in pools] == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert store.steps("record").num_rows == 3 * 3 * 144
    for pool in pools:
        for t in pool.trajectories:
            assert t.completed and set(t.signals) >= WATCHED
            assert all(t.signals[name].shape == (144,) for name in WATCHED)
    means = [[float(t.signals["intrinsic"].mean()) for t in p.trajectories] for p in pools]
    expected = [
        [0.81152, 0.83061, 0.83340], [0.83475, 0.83973, 0.82205], [0.82218, 0.82752, 0.83553],
    ]  # fmt: skip
    assert np.allclose(means, expected, atol=1e-5)


def test_replay_decides_as_it_did(cli: Call) -> None:
    data = json.loads(cli("replay", "recording", "--strategy", "scalingar", "--json").stdout)
    assert (data["count"], data["n"], data["total_tokens"]) == (3, 3, 144)
    assert data["tokens"] == pytest.approx(611 / 3 / 144)
    ended = [[(e["candidate"], e["tokens"]) for e in p["ended"]] for p in data["prompts"]]
    assert ended == [[(0, 24), (2, 29)], [(0, 24), (2, 41)], [(0, 37), (2, 24)]]
    assert [p["chosen"] for p in data["prompts"]] == [1, 1, 1]
    assert data["score"]["mean"] == data["oracle"] == 1.0
    every = json.loads(
        cli("replay", "recording", "--strategy", "scalingar-scheduler", "--json").stdout
    )
    assert [p["chosen"] for p in every["prompts"]] == [0, 1, 2]
    assert every["score"]["mean"] == pytest.approx(2 / 3)


def test_an_autopsy_finds_whom_it_ended(cli: Call) -> None:
    data = json.loads(cli("autopsy", "recording", "--strategy", "scalingar", "--json").stdout)
    assert data["ended"] == 6
    assert data["precision"] == pytest.approx(1 / 6)
    assert data["recall"] == 1.0


def test_no_folder_names_the_machine_that_wrote_it() -> None:
    for path in SOURCE.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not re.search(rb"(?<![\w.])/(home|root|tmp|Users|work|mnt|opt)/", content), path
