"""The command line with what it runs by default: the embedded model and the ScalingAR preset."""

from __future__ import annotations

import json
import os
from importlib.resources import files

import PIL.Image
import pytest

WEIGHTS = files("scalingar_plugins.models.shapes") / "weights"
PROMPT = "a circle left of a square"


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_default_command_makes_all_its_files_and_repeats_to_the_byte(
    cli, tmp_path, monkeypatch
):
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS")
    assert cli("generate", PROMPT, "-n", 3).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("a-circle-left-of-a-square-scalingar-0-")
    again = cli("generate", "--config", folder / "config.yaml", "--out", "again", "--json")
    assert json.loads(again.stdout)["tokens"]["complete"] == 3 * 64
    first, second = content(folder), content(tmp_path / "again")
    assert first.keys() == second.keys() >= {"image.png", "candidates.png", "dynamics.png"}
    assert {name for name in first if first[name] != second[name]} == {"run.json"}
    with PIL.Image.open(folder / "image.png") as image:
        assert image.size == (48, 48)


def test_an_unknown_word_is_named_and_the_vocabulary_listed(cli, tmp_path):
    result = cli("generate", "a purple dinosaur")
    assert result.exit_code == 2 and "unknown word 'dinosaur'" in result.stderr
    assert "triangle" in result.stderr and os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["tokenizer.safetensors", "generator.safetensors"])
def test_a_damaged_weights_file_is_named(name, cli, tmp_path):
    for file in ("tokenizer.safetensors", "generator.safetensors"):
        data = (WEIGHTS / file).read_bytes()
        (tmp_path / file).write_bytes(data[: len(data) // 2] if file == name else data)
    result = cli("generate", PROMPT, "--weights", tmp_path)
    assert result.exit_code == 2 and name in result.stderr and "Traceback" not in result.stderr
