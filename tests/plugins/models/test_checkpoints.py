"""Reading strangers' weights: every official form, nothing executed, differences named."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.checkpoints import (
    STRAY,
    find_file,
    fingerprint_files,
    load_strictly,
    read_state,
    without,
)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


FORMS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda s: s,
    "ordered": lambda s: OrderedDict(s),
    "model": lambda s: {"model": s},
    "module": lambda s: {"module": s},
    "state_dict": lambda s: {"state_dict": s},
    "nested": lambda s: {"state_dict": {"model": s}},
    "ddp": lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "training": lambda s: {
        "model": s,
        "optimizer": {"state": {}, "param_groups": []},
        "steps": 7,
        "args": argparse.Namespace(lr=1e-4, dataset="x"),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_official_wrapper_gives_the_same_tensors(
    tmp_path: Path, state: dict[str, torch.Tensor], form: str, container: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(FORMS[form](state), path, _use_new_zipfile_serialization=container == "zip")
    read = read_state(path)
    assert set(read) == set(state)
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_safetensors_are_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    assert torch.equal(read_state(path)["weight"], state["weight"])


class Payload:
    """What a malicious pickle looks like."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, "weights.pt")
    with pytest.raises(ScalingarError, match="could run code"):
        read_state(Path("weights.pt"))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ScalingarError):
        read_state(Path("plain.pt"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short_is_an_error_with_a_remedy(
    tmp_path: Path, state: dict[str, torch.Tensor], suffix: str, share: float
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ScalingarError, match="download it again"):
        read_state(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"version https://git-lfs", bytes(300)])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_of_another_kind_is_an_error_with_a_remedy(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ScalingarError, match="download it again"):
        read_state(path)


@pytest.mark.parametrize("raw", [[1, 2], {"steps": 3}, {"model": {}}])
def test_a_checkpoint_without_tensors_is_an_error(tmp_path: Path, raw: Any) -> None:
    torch.save(raw, tmp_path / "weights.pt")
    with pytest.raises(ScalingarError, match="holds no weights"):
        read_state(tmp_path / "weights.pt")


def test_stray_entries_are_dropped_by_name_and_nothing_else_is() -> None:
    one = torch.ones(1)
    names = ["freqs_cis", "causal_mask", "layers.0.attention.kv_cache.k_cache", "layers.0.w"]
    assert list(without(dict.fromkeys(names, one), STRAY)) == ["layers.0.w"]


def test_a_misfit_lists_names_and_both_shapes(state: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        module = nn.Linear(4, 2)
    wrong = {"weight": state["weight"], "extra": state["bias"]}
    with pytest.raises(ScalingarError) as error:
        load_strictly(module, wrong, "'x.pt'", "Is it another size?")
    text = str(error.value)
    assert "1 missing: bias" in text
    assert "1 unexpected: extra" in text
    assert "weight is (2, 3), expected (2, 4)" in text
    assert text.endswith("Is it another size?")


def test_loading_assigns_the_tensors_without_a_second_copy(state: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        module = nn.Linear(3, 2)
    load_strictly(module, state, "'x.pt'")
    assert module.weight.data_ptr() == state["weight"].data_ptr()
    assert not module.weight.requires_grad


def test_files_are_found_by_official_name_in_any_format(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(ScalingarError, match=r"has no image tokenizer.*holds: nothing"):
        find_file(tmp_path, ["vq.pt"], "image tokenizer")
    (tmp_path / "c2i").mkdir()
    torch.save(state, tmp_path / "c2i" / "consolidated.pth")
    assert find_file(tmp_path, ["c2i.pt"], "generator").name == "consolidated.pth"
    safetensors.torch.save_file(state, tmp_path / "vq.safetensors")
    assert find_file(tmp_path, ["vq.pt"], "image tokenizer").suffix == ".safetensors"
    with pytest.raises(ScalingarError, match="is a file: name the folder"):
        find_file(tmp_path / "vq.safetensors", ["vq.pt"], "image tokenizer")
    with pytest.raises(ScalingarError, match="does not exist"):
        find_file(tmp_path / "nowhere", ["vq.pt"], "image tokenizer")


def test_a_fingerprint_follows_content_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(bytes(1000))
    first = fingerprint_files([path])
    assert fingerprint_files([path], "other settings") != first
    path.write_bytes(bytes(999) + b"\1")
    assert fingerprint_files([path]) != first


def test_a_checkpoint_whose_dictionaries_hold_themselves_is_refused(tmp_path: Path) -> None:
    circle: dict[str, object] = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "w.pt")
    with pytest.raises(ScalingarError, match="holds no weights"):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "module.module.", "module._orig_mod."])
def test_prefixes_of_wrappers_nest(tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}a": torch.ones(1), f"{prefix}b": torch.ones(1)}, tmp_path / "w.pt")
    assert sorted(read_state(tmp_path / "w.pt")) == ["a", "b"]


def test_damage_anywhere_in_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    for place in [*range(0, len(whole), 37), *range(len(whole) - 24, len(whole))]:
        for data in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
            (tmp_path / "w.pt").write_bytes(data)
            try:
                read_state(tmp_path / "w.pt")
            except ScalingarError as error:
                assert "w.pt" in str(error) and "\n" not in str(error)


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 16)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ScalingarError, match="its parts are compressed"):
        read_state(tmp_path / "bomb.pt")


def test_a_sparse_tensor_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse_coo()}, tmp_path / "w.pt")
    with pytest.raises(ScalingarError, match="'a' is sparse"):
        read_state(tmp_path / "w.pt")
