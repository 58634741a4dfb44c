"""From a model's name to a loaded model and a picture, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra hub")
pytest.importorskip("transformers", reason="needs the extra hf")

from click.testing import CliRunner
from loopback import COMMIT, Hub, Repository

from scalingar_fw.cli import main
from scalingar_plugins.hub.sources import SOURCES, encoder_of, sources_of
from scalingar_plugins.models import cards, janus, tiny

NAME = SOURCES["janus-pro-1b"].repository
REVISION = SOURCES["janus-pro-1b"].revision


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments), prog_name="scalingar")


def tiny_janus(folder: Path) -> None:
    """Small random weights and a tokenizer in the published layout."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    tiny.janus_network().save_pretrained(folder)
    ids = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "a": 4, "cat": 5, "<begin_of_image>": 61}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [t for t in ids if t.startswith("<") and t != "<unk>"]
    inner.add_special_tokens([AddedToken(t, special=True) for t in marks])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    ).save_pretrained(folder)


@pytest.fixture
def served(hub: Hub, tmp_path: Path) -> Repository:
    """A stand-in at an unpinned name: the real rows state digests that no stand-in has."""
    folder = tmp_path / "served"
    folder.mkdir()
    tiny_janus(folder)
    hub.repositories["deepseek-community/Janus-Pro-7B"] = Repository(folder)
    return hub.repositories["deepseek-community/Janus-Pro-7B"]


def test_a_models_name_alone_gives_a_picture_and_a_second_run_asks_nobody(
    hub: Hub, served: Repository, tmp_path: Path
) -> None:
    command = ["generate", "a cat", "--model", "janus-pro-7b", "-n", "2", "--device", "cpu"]
    first = invoke(*command, "--out", str(tmp_path / "one"))
    assert first.exit_code == 0, first.output
    assert "DeepSeek Model License" in first.output and COMMIT[:12] in first.output
    assert (tmp_path / "one" / "image.png").is_file()
    hub.requests.clear()
    again = invoke(*command, "--out", str(tmp_path / "two"))
    assert again.exit_code == 0 and hub.requests == []


def test_a_named_repository_is_recorded_by_its_name(
    hub: Hub, served: Repository, tmp_path: Path
) -> None:
    hub.repositories["me/mine"] = served
    named = f"me/mine@{COMMIT}"
    out = tmp_path / "run"
    result = invoke(
        *("generate", "a cat", "--model", "janus-pro-1b", "--weights", named, "-n", "1"),
        *("--device", "cpu", "--out", str(out)),
    )
    assert result.exit_code == 0, result.output
    assert named in (out / "config.yaml").read_text()
    assert json.loads((out / "run.json").read_text())["config"]["weights"] == named
    repeated = invoke(
        "generate", "--config", str(out / "config.yaml"), "--out", str(tmp_path / "2")
    )
    assert repeated.exit_code == 0, repeated.output


def test_a_file_in_a_folder_names_the_folder(served: Repository) -> None:
    model = janus.load(weights=served.folder / "model.safetensors", prompt_tokens=24)
    assert model.fingerprint() == janus.load(weights=served.folder, prompt_tokens=24).fingerprint()


def test_fetch_list_and_verify_tell_one_story(hub: Hub, served: Repository) -> None:
    assert "not here" in _row("janus-pro-7b")
    fetched = invoke("models", "fetch", "janus-pro-7b")
    assert fetched.exit_code == 0 and "janus-pro-7b is here" in fetched.output
    assert "here, " in _row("janus-pro-7b") and "not here" in _row("janus-pro-1b")
    checked = invoke("models", "verify", "janus-pro-7b")
    assert checked.exit_code == 0 and "model.safetensors hashes to sha256" in checked.output
    remote = invoke("models", "verify", "janus-pro-7b", "--remote")
    assert remote.exit_code == 0 and f"main is {COMMIT}" in remote.output


def _row(name: str) -> str:
    return next(line for line in invoke("models", "list").output.splitlines() if name in line)


def test_verify_notices_a_byte_that_changed(hub: Hub, served: Repository) -> None:
    from scalingar_plugins.hub.receipts import find

    invoke("models", "fetch", "janus-pro-7b")
    receipt = find(SOURCES["janus-pro-7b"])
    assert receipt is not None
    weights = (receipt.folder / "model.safetensors").resolve()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = invoke("models", "verify", "janus-pro-7b")
    assert result.exit_code == 1
    assert "differs" in result.output and "does not hash to" in result.output


def test_verify_remote_finds_a_table_that_is_wrong(hub: Hub, served: Repository) -> None:
    assert REVISION is not None
    served.commit = REVISION
    hub.repositories[NAME] = served
    result = invoke("models", "verify", "janus-pro-1b", "--remote")
    assert result.exit_code == 1, "the stand-in has another size and digest than the table states"
    wrong = [line for line in result.output.splitlines() if line.startswith("differs")]
    assert len(wrong) == 2 and all("model.safetensors" in line for line in wrong)


def test_a_model_without_published_weights_says_so(hub: Hub) -> None:
    for command in ("fetch", "verify"):
        result = invoke("models", command, "shapes")
        assert result.exit_code == 2 and "no published weights" in result.output


def test_every_model_with_a_card_has_a_source_and_the_reverse() -> None:
    assert {row.name for card in cards.CARDS for row in card.rows} == set(SOURCES)
    with_text = {name for name in SOURCES if encoder_of(name) is not None}
    assert with_text == {"llamagen-t2i-256", "llamagen-t2i-512", "ar-grpo-t2i-256"}


def test_what_the_table_states_has_the_form_of_what_it_is() -> None:
    for name in SOURCES:
        for source in sources_of(name):
            assert source.revision is None or len(source.revision) == 40
            assert all(len(digest) == 64 for digest in source.sha256.values())
            assert all(size > 0 for size in source.bytes.values())


def test_the_environments_endpoint_cache_and_offline_switch_are_honoured(
    hub: Hub, served: Repository, tmp_path: Path
) -> None:
    def fetch(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scalingar_fw", "models", "fetch", "janus-pro-7b"],
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "c"), **more},
            capture_output=True,
            text=True,
        )

    offline = fetch(HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and "HF_HUB_OFFLINE" in offline.stderr and not hub.requests
    online = fetch(HF_HUB_OFFLINE="0")
    assert online.returncode == 0, online.stderr
    assert str(tmp_path / "c") in online.stdout
    assert fetch(HF_HUB_OFFLINE="1").returncode == 0
