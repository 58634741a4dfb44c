"""`record`, `replay`, `autopsy`, `lab` and `tune`: from a folder to what is printed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

PLUGIN = Path(__file__).with_name("toy_benchmark.py")
HALVING = (
    "--strategy",
    "best-of-n",
    "--set",
    "confidence=log-prob",
    "--set",
    "termination=successive-halving",
)

NEEDS_OPTUNA = pytest.mark.skipif(
    find_spec("optuna") is None,
    reason="Optuna is not installed: pip install 'scalingar-fw[tune]'",
)


@pytest.fixture
def run(cli, monkeypatch):
    """`run("replay", ...)`: the result, with the toy benchmark loaded."""
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies,analysis")
    monkeypatch.setenv("SCALINGAR_PLUGINS", str(PLUGIN))
    return cli


def record(run, *more, limit=16):
    return run(
        *("record", "--model", "toy", "--benchmark", "toys", "--device", "cpu", "-n", 4),
        *("--limit", limit, "--out", "pool", *more),
    )


@pytest.fixture
def pool(run):
    done = record(run)
    assert done.exit_code == 0, done.stderr
    return run


def test_a_recording_is_a_store_that_goes_on_where_it_was(run) -> None:
    first = record(run, "--json", limit=8)
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["units"] == 1
    again = record(run, "--json", limit=16)
    assert json.loads(again.stdout)["units"] == 2
    from scalingar_fw.experiments import open_store

    table = open_store("pool").candidates("record")
    assert set(table["status"].to_pylist()) == {"completed"}
    assert len(table) == 16 * 4
    assert "intrinsic" in open_store("pool").steps("record").column_names, "it is watched"


def test_replay_says_who_would_be_ended_where_and_what_that_would_cost(pool) -> None:
    shown = pool("replay", "pool", *HALVING, "--prompts")
    assert shown.exit_code == 0, shown.stderr
    assert "pool (record): 16 prompts x 4 candidates of 16 tokens, guidance 2" in shown.stdout
    assert "oracle of 4" in shown.stdout
    assert " at 3" in shown.stdout, "halving begins after a sixth of 16 tokens"
    data = json.loads(pool("replay", "pool", *HALVING, "--json").stdout)
    assert data["strategy"]["termination"]["name"] == "scalingar-fw/successive-halving"
    assert len(data["prompts"]) == data["count"] == 16
    for prompt in data["prompts"]:
        spent = sum(e["tokens"] for e in prompt["ended"]) + 16 * (4 - len(prompt["ended"]))
        assert prompt["tokens"] == spent < 64
        assert prompt["chosen"] not in [e["candidate"] for e in prompt["ended"]]
        assert prompt["score"] in (0.0, 1.0)
    assert data["tokens"] == pytest.approx(sum(p["tokens"] for p in data["prompts"]) / 256)
    assert data["one_candidate"] <= data["oracle"]


def test_replay_is_what_a_decode_of_the_same_prompts_gives(pool) -> None:
    """Through the store, by the command line: the numbers of the property tests arrive."""
    from scalingar_fw.experiments import open_store
    from scalingar_fw.experiments.driver import run_sweep
    from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
    from scalingar_fw.registry import load_registry

    registry = load_registry([PLUGIN])
    online = make_sweep(
        parse_sweep(
            {
                "model": "toy",
                "benchmark": "toys",
                "split": "validation",
                "device": "cpu",
                "n": 4,
                "strategies": [
                    {
                        "strategy": "importance-sampling",
                        "name": "online",
                        "set": {"confidence": "log-prob", "termination": "successive-halving"},
                    }
                ],
            }
        ),
        registry,
    )
    run_sweep(online, "online", executor="inline", registry=registry)
    decoded = open_store("online").candidates("online").to_pylist()
    strategy = ("--strategy", "importance-sampling", *HALVING[2:])
    data = json.loads(pool("replay", "pool", *strategy, "--json").stdout)
    prompts = {p["item"]: p for p in data["prompts"]}
    assert len({r["chosen"] for r in decoded}) == 2
    for row in decoded:
        prompt = prompts[row["item"]]
        ended = {e["candidate"]: e for e in prompt["ended"]}
        if row["status"] == "completed":
            assert row["candidate"] not in ended
        else:
            assert ended[row["candidate"]]["tokens"] == row["length"]
            assert ended[row["candidate"]]["reason"] == row["reason"]
        assert row["chosen"] == (row["candidate"] == prompt["chosen"])


def test_fewer_candidates_are_replayed_with_n(pool) -> None:
    data = json.loads(pool("replay", "pool", "--strategy", "best-of-n", "-n", 2, "--json").stdout)
    assert (data["n"], data["tokens"]) == (2, 2.0)
    single = json.loads(pool("replay", "pool", "--strategy", "base", "--json").stdout)
    assert (single["n"], single["tokens"]) == (1, 1.0), "base takes one by itself"
    asked = pool("replay", "pool", "--strategy", "best-of-n", "-n", 5)
    assert asked.exit_code == 2
    assert "n=5 must lie in [1, 4]" in asked.stderr


def test_what_cannot_be_replayed_is_refused_with_the_reason(pool) -> None:
    refused = pool("replay", "pool", "--strategy", "scalingar")
    assert refused.exit_code == 2
    assert "another scale gives other tokens. Add --set guidance=constant" in refused.stderr
    allowed = pool("replay", "pool", "--strategy", "scalingar", "--set", "guidance=constant")
    assert allowed.exit_code == 0, allowed.stderr
    forks = pool("replay", "pool", "--strategy", "beam")
    assert forks.exit_code == 2 and "forks, resamples or shares noise" in forks.stderr


def test_a_schedule_is_recorded_with_its_strategy_and_then_replayed(run) -> None:
    done = record(run, "--strategy", "scalingar", limit=8)
    assert done.exit_code == 0, done.stderr
    ended = run("replay", "pool", "--strategy", "scalingar", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert json.loads(ended.stdout)["ended"] > 0
    constant = run("replay", "pool", "--strategy", "scalingar-termination")
    assert constant.exit_code == 2
    assert "recorded under AdaptiveGuidance, and this one is constant" in constant.stderr


def test_a_run_of_generate_is_replayed_without_scores(run) -> None:
    made = run("generate", "a cat", "--model", "toy", "--strategy", "best-of-n", "--out", "one")
    assert made.exit_code == 0, made.stderr
    shown = run("replay", "one", *HALVING)
    assert shown.exit_code == 0, shown.stderr
    assert "not judged" in shown.stdout and "a cat" in shown.stdout
    Path("prompts.txt").write_text("a cat\na dog\n")
    run(
        "generate", "--prompts", "prompts.txt", "--model", "toy", "--strategy", "base", "--out", "b"
    )
    many = run("replay", "b", "--strategy", "best-of-n", "--json")
    assert [p["prompt"] for p in json.loads(many.stdout)["prompts"]] == ["a cat", "a dog"]
    judged = run("autopsy", "one", *HALVING)
    assert judged.exit_code == 2 and "holds no scores" in judged.stderr


def test_a_run_that_ended_candidates_says_how_to_record_complete_ones(run) -> None:
    made = run("generate", "a cat", "--model", "toy", *HALVING, "--out", "pruned")
    assert made.exit_code == 0, made.stderr
    refused = run("replay", "pruned", *HALVING)
    assert refused.exit_code == 2
    assert "ended early" in refused.stderr and "scalingar record" in refused.stderr


def test_folders_without_a_recording_say_what_to_name(run) -> None:
    Path("empty").mkdir()
    for folder in ("empty", "nowhere"):
        refused = run("replay", folder, "--strategy", "base")
        assert refused.exit_code == 2
        assert "holds no recording" in refused.stderr


def test_autopsy_prints_its_table_and_lists_everyone_in_json(pool) -> None:
    shown = pool("autopsy", "pool", *HALVING)
    assert shown.exit_code == 0, shown.stderr
    for word in ("precision", "recall", "regret", "ending at random"):
        assert word in shown.stdout
    data = json.loads(pool("autopsy", "pool", *HALVING, "--json").stdout)
    assert len(data["endings"]) == data["ended"] == data["over_steps"]["ended"][-1]
    wrong = sum(not e["right"] for e in data["endings"])
    assert data["precision"] == pytest.approx(wrong / data["ended"])


def test_the_lab_examines_a_function_from_a_file(pool) -> None:
    Path("mine.py").write_text(
        "def surprise(steps):\n    return -steps['log_prob_cond'] - steps['entropy_nats']\n"
    )
    shown = pool("lab", "pool", "mine.py:surprise")
    assert shown.exit_code == 0, shown.stderr
    for word in ("AUROC after tokens", "mean so far", "log_prob_cond", "confirmed"):
        assert word in shown.stdout
    data = json.loads(pool("lab", "pool", "mine.py:surprise", "--json").stdout)
    assert len(data["auroc"]["at_step"]) == 16
    for target, complaint in (
        ("mine.py:nothing", "could not be loaded"),
        ("absent.py:f", "does not exist"),
        ("mine", "must name a function"),
        ("math:pi", "is a float, which is no function"),
    ):
        refused = pool("lab", "pool", target)
        assert refused.exit_code == 2, target
        assert complaint in refused.stderr


@NEEDS_OPTUNA
def test_tune_prints_the_front_and_keeps_its_study_with_the_run(pool) -> None:
    Path("space.yaml").write_text("termination.first_rung: [0.1, 0.9]\n")
    command = ("tune", "pool", *HALVING, "--space", "space.yaml", "--trials")
    shown = pool(*command, 6)
    assert shown.exit_code == 0, shown.stderr
    assert "--set termination.first_rung=" in shown.stdout and "<- best" in shown.stdout
    [journal] = Path("pool").glob("tune/*/study.journal")
    before = journal.stat().st_size
    data = json.loads(pool(*command, 8, "--json").stdout)
    assert data["trials"] == 8, "two more"
    assert journal.stat().st_size > before
    assert journal.parent.name == data["study"]
    # What was tuned is replayed as any other setting, and the store is as whole as before.
    best = data["best"]["settings"]["termination.first_rung"]
    again = pool("replay", "pool", *HALVING, "--set", f"termination.first_rung={best}")
    assert again.exit_code == 0, again.stderr


def test_help_of_the_commands_needs_neither_a_model_nor_optuna(run) -> None:
    for command in ("record", "replay", "autopsy", "lab", "tune"):
        assert run(command, "--help").exit_code == 0
