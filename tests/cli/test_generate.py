"""`scalingar generate`: what it writes, what it says, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import PIL.Image
import pytest
import yaml

from scalingar_fw import read_trace
from scalingar_fw.cli.progress import Bar
from scalingar_fw.testing import ReferenceModel

TOY = Path(__file__).with_name("toy_plugin.py")


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(result, code, *words):
    """The command ended with `code` and one message without a traceback that holds `words`."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr and result.stderr.count("Error: ") == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


# -- what is written --------------------------------------------------------------------------


def test_a_run_writes_its_folder_and_sums_up(toy, tmp_path):
    result = toy("a red circle", "-n", 4, "--seed", 3)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert (
        folder.name.startswith("a-red-circle-toy-prune-3-") and len(folder.name.split("-")[-1]) == 6
    )
    assert set(os.listdir(folder)) == {"config.yaml", "image.png", "run.json", "trace"}
    with PIL.Image.open(folder / "image.png") as image:
        assert image.size == (4, 4)
    record = json.loads((folder / "run.json").read_text())
    assert record["prompt"] == "a red circle" and record["tokens"]["complete"] == 64
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["answer"] == f"candidate {record['answer']['candidate']} of 4"
    assert lines["confidence"] == f"{record['answer']['confidence']:.3f}"
    assert lines["tokens"] == "40 of 64 (N x T) (38 % saved)"
    assert lines["prunings"] == "3, recoveries 0"
    assert lines["seconds"].split()[0] == f"{record['seconds']['total']:.1f}"
    assert lines["written"] == str(folder.relative_to(tmp_path))


def test_with_the_plots_plugin_the_plots_are_written(toy, tmp_path, monkeypatch):
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    assert toy("a", "-n", 3, "--out", "x").exit_code == 0
    assert {"candidates.png", "dynamics.png"} <= set(os.listdir(tmp_path / "x"))


def test_the_same_command_gives_the_same_image_and_trace_to_the_byte(toy, tmp_path):
    for out in ("a", "b"):
        assert toy("a circle", "-n", 4, "--out", out).exit_code == 0
    one, two = files(tmp_path / "a"), files(tmp_path / "b")
    assert one.keys() == two.keys()
    assert {k for k in one if one[k] != two[k]} == {"run.json"}


def test_a_runs_configuration_gives_the_run_again(cli, toy, tmp_path):
    flags = ["--guidance", 3, "--temperature", 0.9, "--top-k", 9, "--top-p", 0.95, "-n", 5]
    changes = ["--set", "termination.every=3", "--set", "confidence.rate=1e-1"]
    assert toy("a circle", *flags, *changes, "--seed", 2**64 - 1, "--out", "a").exit_code == 0
    again = cli("generate", "--plugin", TOY, "--config", "a/config.yaml", "--out", "b")
    assert again.exit_code == 0, again.output
    one, two = files(tmp_path / "a"), files(tmp_path / "b")
    assert {k for k in one if one[k] != two[k]} == {"run.json"}
    config = yaml.safe_load(one["config.yaml"])
    assert (config["guidance"], config["top_k"], config["n"]) == (3.0, 9, 5)
    assert config["strategy"]["termination"] == {"name": "toy_plugin/drop-worst", "every": 3}
    assert read_trace(tmp_path / "b").config.to_data() == config


def test_flags_win_over_the_file_and_the_file_over_defaults(cli, toy, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "prompt: from file\nmodel: toy\nstrategy: toy-prune\nn: 3\nseed: 5\n"
        "set: {termination.every: 2, confidence.rate: 1.0}\n"
    )
    result = cli("generate", "--plugin", TOY, "--config", "c.yaml", "--out", "a",
                 "-n", 2, "--set", "termination.every=9")  # fmt: skip
    assert result.exit_code == 0, result.output
    config = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert (config["prompt"], config["n"], config["seed"]) == ("from file", 2, 5)
    assert config["strategy"]["termination"]["every"] == 9
    assert config["strategy"]["confidence"]["rate"] == 1.0
    assert (
        cli("generate", "mine", "--plugin", TOY, "--config", "c.yaml", "--out", "b").exit_code == 0
    )
    assert yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())["prompt"] == "mine"


def test_a_configuration_of_other_weights_is_refused_unless_the_model_is_named(cli, toy, tmp_path):
    assert toy("a", "-n", 2, "--out", "a").exit_code == 0
    text = (tmp_path / "a" / "config.yaml").read_text()
    hashed = yaml.safe_load(text)["model_hash"]
    (tmp_path / "c.yaml").write_text(text.replace(hashed, "f" * 64))
    said(cli("generate", "--plugin", TOY, "--config", "c.yaml"), 2, "other weights")
    assert toy("--config", "c.yaml", "--out", "b", strategy=None).exit_code == 0


def test_json_is_one_document_on_stdout_and_nothing_else(toy):
    result = toy("a circle", "-n", 4, "--json")
    document = json.loads(result.stdout)
    assert document["tokens"]["sampled"] == 40 and Path(document["folder"]).is_dir()
    assert len(document["candidates"]) == 4 and document["config"]["seed"] == 0


def test_progress_is_plain_lines_on_stderr_where_there_is_no_terminal(toy):
    lines = toy("a circle", "-n", 4).stderr.splitlines()
    assert "a circle: 4 candidates of 16 tokens" in lines
    assert " 25 %  16 tokens, 4 live, 0 pruned" in lines
    assert "100 %  40 tokens, 1 live, 3 pruned" in lines


def test_on_a_terminal_the_bar_counts_tokens_live_candidates_and_prunings(monkeypatch):
    import io

    from rich.console import Console

    import scalingar_fw as sar
    from scalingar_fw.cli import progress

    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal gets no bar
    stream = io.StringIO()
    with Bar(Console(file=stream, force_terminal=True, width=120)) as bar:
        bar.phase("loading")
        bar.expect(3)
        texts = ["a circle", "b", "c"]
        options = {"strategy": sar.Strategy("x"), "n": 2, "batch": 2, "observers": [bar]}
        sar.generate(texts, model=ReferenceModel(), **options)
        assert (bar.done, bar.tokens, bar.live, bar.seen) == (1.0, 96, 2, 3)
    assert "96 tokens  2 live  0 pruned" in stream.getvalue()


def test_progress_moves_forward_over_batches_and_passes():
    from scalingar_fw.cli.progress import Lines
    from scalingar_fw.decoding.events import DecodeStart, TokenEvent
    from scalingar_fw.decoding.noise import Prompt
    from scalingar_fw.decoding.state import Grid

    lines, shares = Lines(), []
    lines.expect(3)
    for prompts in ([Prompt("a"), Prompt("b")], [Prompt("c")]):
        lines.on_decode_start(DecodeStart(prompts, 4, (0,), Grid(1, 5), None))
        for count in (3, 1):  # two passes of candidates
            for index in range(5):
                lines.on_token(TokenEvent(index, [0] * count * len(prompts),
                                          [0] * count * len(prompts), {}))  # fmt: skip
                shares.append(lines.done)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(set(shares)) == 20


# -- notes ------------------------------------------------------------------------------------


def test_a_policy_that_never_acted_is_noted(toy):
    note = "The termination policy 'drop-worst' never ended a candidate: no tokens were saved."
    assert note in toy("a", "-n", 3, strategy="toy-idle").stdout
    assert "note" not in toy("a", "-n", 3).stdout
    assert "note" not in toy("a", "-n", 1, strategy="toy-idle").stdout
    assert "note" not in toy("a", "-n", 3, "--set", "termination=never").stdout


def test_an_answer_that_an_oracle_chose_says_so(toy, tmp_path):
    (tmp_path / "peeks.py").write_text(
        "from scalingar_fw.decoding.strategy import FirstCandidate\n"
        "class Peeks(FirstCandidate):\n"
        "    oracle = True\n"
        "def scalingar_register(registry):\n"
        "    registry.add('selector', 'peeks', Peeks, 'knows the answer')\n"
        "from scalingar_fw import hookimpl\n"
        "scalingar_register = hookimpl(scalingar_register)\n"
    )
    given = ("a", "-n", 2, "--plugin", "peeks.py", "--set", "selector=peeks")
    assert "An oracle chose" in toy(*given).stdout


def test_a_strategy_without_confidence_names_none(toy):
    result = toy("a", "--set", "confidence=none", "--set", "termination=never", "-n", 2)
    assert "not estimated by this strategy" in result.stdout


# -- many prompts -----------------------------------------------------------------------------


def test_each_prompt_of_a_file_gets_a_subfolder(toy, tmp_path):
    (tmp_path / "p.txt").write_text("a red circle\n\n  A red circle! \n../../x\na red circle\n")
    result = toy("--prompts", "p.txt", "-n", 3)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("p-toy-prune-0-")
    index = json.loads((folder / "index.json").read_text())["prompts"]
    assert [r["folder"] for r in index] == [
        "0000-a-red-circle", "0001-a-red-circle", "0002-x", "0003-a-red-circle",
    ]  # fmt: skip
    assert [r["prompt"] for r in index][:3] == ["a red circle", "A red circle!", "../../x"]
    for row in index:
        inside = folder / row["folder"]
        assert set(os.listdir(inside)) == {"image.png", "run.json", "trace"}
        assert read_trace(inside).prompts[0].text == row["prompt"]
    images = [(folder / r["folder"] / "image.png").read_bytes() for r in index]
    # The last repeats the first, and is another draw of it.
    assert images[0] != images[3] and len(set(images[:3])) == 3
    totals = json.loads((folder / "run.json").read_text())
    assert totals["prompts"] == 4 and totals["tokens"] == sum(r["tokens"] for r in index)
    assert totals["ledger"]["tokens"] == totals["tokens"] < totals["complete_tokens"] == 4 * 48
    assert sorted(os.listdir(tmp_path)) == ["p.txt", "runs"]
    assert "prompts     4" in result.stdout and result.stdout.count("a red circle: candidate") == 2


def test_a_run_of_many_prompts_repeats_from_its_configuration(cli, toy, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "tag": 1}\n{"prompt": "b"}\n')
    assert toy("--prompts", "p.jsonl", "-n", 3, "--out", "a", "--json").exit_code == 0
    again = cli("generate", "--plugin", TOY, "--config", "a/config.yaml", "--out", "b", "--json")
    document = json.loads(again.stdout)
    assert [r["prompt"] for r in document["prompts"]] == ["a", "b"]
    one, two = files(tmp_path / "a"), files(tmp_path / "b")
    changed = {k for k in one if one[k] != two[k]}
    assert one.keys() == two.keys() and {Path(k).name for k in changed} == {"run.json"}


def test_a_prompt_of_a_batch_is_what_it_is_alone(toy, tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\n")
    assert toy("--prompts", "p.txt", "-n", 3, "--out", "many").exit_code == 0
    assert toy("b", "-n", 3, "--out", "alone").exit_code == 0
    many, alone = files(tmp_path / "many" / "0001-b"), files(tmp_path / "alone")
    for name in ("image.png", "trace/steps.parquet", "trace/trajectories.parquet"):
        assert many[name] == alone[name]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", b"\n \n", ["p.txt", "no prompt"]),
        ("p.txt", b"\xff\xfe", ["p.txt", "UTF-8"]),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', ["p.jsonl, line 2", "JSON"]),
        ("p.jsonl", b'"a"', ["line 1", '"prompt"']),
        ("p.txt", b'{"prompt": 3}', ["prompt"]),
        ("p.txt", b"a\nb\nxyzzy\n", ["xyzzy"]),
    ],
)
def test_a_bad_prompts_file_is_refused(name, content, words, toy, tmp_path):
    (tmp_path / name).write_bytes(content)
    said(toy("--prompts", name), 2, *words)
    assert os.listdir(tmp_path) == [name]


# -- what is refused, before anything is decoded ----------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "--model", "toi"], ["Unknown model", "Did you mean 'toy'?"]),
        (["a", "--strategy", "toy-prunes"], ["Did you mean 'toy-prune'?"]),
        (["a xyzzy"], ["unknown word 'xyzzy'"]),
        (["a", "-n", "0"], ["'-n'"]),
        (["a", "--seed", "-1"], ["'--seed'"]),
        (["a", "--guidance", "nan"], ["guidance=nan", "finite"]),
        (["a", "--guidance", "inf"], ["guidance=inf"]),
        (["a", "--temperature", "-1"], ["temperature=-1"]),
        (["a", "--top-k", "-1"], ["top_k=-1"]),
        (["a", "--top-p", "0"], ["top_p=0"]),
        (["a", "--set", "termination.evry=2"], ["Did you mean 'termination.every'?"]),
        (["a", "--set", "termination.every=0"], ["every=0 must lie in [1, inf)"]),
        (["a", "--set", "termination.every"], ["key=value"]),
        (["a", "--set", "termination=nevr"], ["Did you mean 'never'?"]),
        (["a", "--device", "gpu"], ["Unknown device"]),
        (["a", "--device", "cuda:99"], ["cuda:99"]),
        (["a", "--dtype", "int8"], ["Unknown dtype"]),
        (["a", "--weights", "nowhere"], ["nowhere", "does not exist"]),
        (["a", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["a", "--prompts", __file__], ["not both"]),
        (["a", "b"], ["b"]),
        ([], ["Missing PROMPT"]),
        (["a", "--out", __file__], ["not a folder"]),
        (["a", "--out", f"{__file__}/x"], ["cannot be written"]),
    ],
    ids=lambda value: " ".join(str(v) for v in value)[-40:],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, words, toy, tmp_path):
    said(toy(*arguments), 2, *words)
    assert os.listdir(tmp_path) == []


def test_damaged_weights_are_one_message(toy, tmp_path):
    (tmp_path / "w").write_bytes(b"\xff")
    said(toy("a", "--weights", "w"), 2, "could not be loaded", "damaged")


def test_no_gpu_for_device_cuda_is_one_message(toy, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said(toy("a", "--device", "cuda"), 2, "needs an NVIDIA GPU")


def test_debug_shows_the_traceback(toy):
    result = toy("a xyzzy", "--debug")
    assert type(result.exception).__name__ == "ScalingarError"


def no_decoding(monkeypatch):
    def forbidden(*_):
        raise AssertionError("decoding began")

    monkeypatch.setattr(ReferenceModel, "prefill", forbidden)


def test_a_full_folder_is_refused_before_decoding_and_replaced_when_asked(
    toy, tmp_path, monkeypatch
):
    assert toy("a", "-n", 2).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    (folder / "mine.txt").write_text("notes")
    with monkeypatch.context() as patch:
        no_decoding(patch)
        said(toy("a", "-n", 2), 2, folder.name, "--overwrite")
        said(toy("a", "-n", 2, "--out", folder), 2, "--overwrite")
        said(toy("a", "--out", tmp_path / "a" / ".." / "runs"), 2, "--overwrite")
    before = files(folder)
    assert toy("a", "-n", 2, "--overwrite").exit_code == 0
    after = files(folder)
    assert before.keys() == after.keys() and after["mine.txt"] == b"notes"
    assert os.listdir(tmp_path / "runs") == [folder.name]


def test_an_unwritable_place_is_found_before_decoding(toy, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    no_decoding(monkeypatch)
    monkeypatch.setattr(Path, "mkdir", refuse)
    said(toy("a", "--out", "x"), 2, "cannot be written (Permission denied)")


# -- interruptions ----------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
def test_ctrl_c_leaves_nothing_and_exits_130(many, toy, tmp_path, monkeypatch):
    steps = []

    def interrupted(self, cache, token, index):
        steps.append(index)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return original(self, cache, token, index)

    original = ReferenceModel.step
    monkeypatch.setattr(ReferenceModel, "step", interrupted)
    if many:
        (tmp_path / "p.txt").write_text("a\nb\nc\n")
    arguments = ["--prompts", "p.txt", "-n", 64] if many else ["a", "--set", "termination=never"]
    if not many:
        steps.extend([0] * 10)
    result = toy(*arguments)
    assert result.exit_code == 130 and "Interrupted" in result.stderr and not result.stdout
    assert os.listdir(tmp_path) == (["p.txt"] if many else [])


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_schedulers_sigterm_leaves_nothing(toy, tmp_path, monkeypatch):
    def ended(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ReferenceModel, "step", ended)
    assert toy("a", "-n", 2).exit_code == 143
    assert os.listdir(tmp_path) == [] and signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_leaves_nothing_and_is_one_message(toy, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "steps.parquet")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    said(toy("a", "-n", 2), 2, "No space left on device: steps.parquet")
    assert os.listdir(tmp_path) == []


def test_a_component_that_breaks_its_contract_is_one_message_and_exit_code_1(toy, monkeypatch):
    monkeypatch.setattr(ReferenceModel, "_logits", lambda self, history: Logits(history))

    def Logits(history):
        import torch

        from scalingar_fw.decoding.state import Logits as Made

        bad = torch.zeros(len(history.tokens), 3)
        return Made(bad, bad)

    said(toy("a", "-n", 2), 1, "returned logits of shape", "--debug")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_real_ctrl_c_in_a_real_process(tmp_path):
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"import sys, time\nsys.path.insert(0, {str(TOY.parent)!r})\nimport toy_plugin\n"
        "class Slow(toy_plugin.ToyModel):\n"
        "    def step(self, *a):\n        time.sleep(0.3)\n        return super().step(*a)\n"
        "def scalingar_register(registry):\n"
        "    registry.add('model', 'slow', lambda *, device: Slow(name='slow'))\n"
    )
    (tmp_path / "here").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "scalingar_fw", "generate", "a", "--plugin", str(slow),
         "--model", "slow", "--strategy", "base"],
        cwd=tmp_path / "here",
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SCALINGAR_LOAD_PLUGINS": "plugins,strategies", "OMP_NUM_THREADS": "1"},
        # A shell's background job hands down an ignored SIGINT; a user's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "candidates of" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Interrupted" in rest and "Traceback" not in rest
    assert list((tmp_path / "here").rglob("*")) == []
