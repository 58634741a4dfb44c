"""Fetching from a hub on the loopback address: whole, resumed, refused, and never twice."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

from attrs import evolve
from loopback import COMMIT, Hub, Repository

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.hub import fetch as fetching
from scalingar_plugins.hub.fetch import fetch, folder_for, parse_reference
from scalingar_plugins.hub.receipts import all_receipts, find
from scalingar_plugins.hub.sources import NEVER, SOURCES, Source

NAME = "somebody/some-model"
SOURCE = Source(
    NAME, ("config.json", "*.safetensors", "*.py"), ("config.json", "*.safetensors"), "MIT"
)
WEIGHTS = bytes(range(256)) * 800


@pytest.fixture
def repository(hub: Hub, tmp_path: Path) -> Repository:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "modeling.py").write_text("raise SystemExit('executed')")
    (folder / "README.md").write_text("hello")
    hub.repositories[NAME] = Repository(folder)
    return hub.repositories[NAME]


@pytest.fixture
def told() -> list[str]:
    return []


def test_it_says_size_licence_and_commit_and_then_fetches_what_is_named(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    folder = fetch(SOURCE, told.append).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert folder.parts[-2:] == ("snapshots", COMMIT), "the hub's own cache"
    (line,) = told
    assert all(w in line for w in ("2 files", "205 kB", NAME, COMMIT[:12], "main", "MIT"))


def test_no_program_is_fetched_whatever_a_pattern_says() -> None:
    names = ["a.py", "b.jit", "c.pkl", "model.safetensors", "model.bin", "d.bin"]
    assert evolve(SOURCE, files=("*",)).wanted(names) == ["d.bin", "model.safetensors"]
    assert all(
        "*.py" in NEVER and not any(n.endswith(".py") for n in s.files) for s in SOURCES.values()
    )


def test_what_is_here_is_neither_asked_for_nor_fetched_again(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    first = fetch(SOURCE, told.append)
    hub.requests.clear()
    assert fetch(SOURCE, told.append) == first
    assert hub.requests == [] and len(told) == 1


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    hub: Hub, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetching._download

    def interrupted(*arguments: Any) -> None:
        hub.cut["model.safetensors"] = (70_000, 1)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", _ctrl_c)
        real(*arguments)

    def _ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(SOURCE, told.append)
    assert find(SOURCE) is None
    monkeypatch.setattr(fetching, "_download", real)
    hub.requests.clear()
    folder = fetch(SOURCE, told.append).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert ("model.safetensors", "bytes=70000-") in hub.downloads()


def test_a_connection_that_breaks_is_taken_up_again_within_the_same_fetch(
    hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.cut["model.safetensors"] = (100_000, 1)
    folder = fetch(SOURCE, told.append).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [r for n, r in hub.downloads() if n == "model.safetensors"] == [None, "bytes=100000-"]


def test_a_file_with_another_content_is_discarded(
    hub: Hub, repository: Repository, told: list[str], tmp_path: Path
) -> None:
    hub.corrupt.add("model.safetensors")
    with pytest.raises(ScalingarError, match=r"model\.safetensors.*another content"):
        fetch(SOURCE, told.append)
    assert not list((tmp_path / "cache").rglob("*partial")), "nothing to go on from"
    assert find(SOURCE) is None
    hub.corrupt.clear()
    assert (fetch(SOURCE, told.append).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_small_file_is_checked_by_gits_digest(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    hub.corrupt.add("config.json")
    with pytest.raises(ScalingarError, match=r"config\.json.*another content"):
        fetch(SOURCE, told.append)


def test_a_listing_that_contradicts_the_table_is_refused_before_anything_is_fetched(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    for stated in ({"bytes": {"model.safetensors": 5}}, {"sha256": {"model.safetensors": "ab"}}):
        with pytest.raises(ScalingarError, match="is expected"):
            fetch(evolve(SOURCE, **stated), told.append)
    assert hub.downloads() == [] and told == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"repository": "nobody/nothing"}, ["nobody/nothing", "no repository", "--weights DIR"]),
        ({"revision": "v9"}, ["v9", "no revision", "commits/main"]),
        ({"required": ("absent.bin",)}, ["absent.bin", "not what this model reads", "config.json"]),
    ],
)
def test_what_does_not_exist_is_named(
    hub: Hub, repository: Repository, told: list[str], change: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(ScalingarError) as raised:
        fetch(evolve(SOURCE, **change), told.append)
    assert all(word in str(raised.value) for word in said)
    assert hub.downloads() == []


def test_a_gated_repository_is_explained(hub: Hub, repository: Repository, told: list[str]) -> None:
    repository.gated = True
    with pytest.raises(ScalingarError) as raised:
        fetch(SOURCE, told.append)
    words = ("gated", f"{hub.url}/{NAME}", "hf auth login", "HF_TOKEN")
    assert all(word in str(raised.value) for word in words)


def test_offline_uses_what_is_here_and_names_the_way_out_for_what_is_not(
    hub: Hub, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fetch(SOURCE, told.append)
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch(SOURCE, told.append) == here
    with pytest.raises(ScalingarError, match=r"HF_HUB_OFFLINE.*--weights DIR"):
        fetch(evolve(SOURCE, repository="somebody/else"), told.append)
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_one_message(
    hub: Hub, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ScalingarError, match=r"could not be reached.*HF_ENDPOINT"):
        fetch(SOURCE, told.append)


def test_too_little_room_is_said_before_the_first_byte(
    hub: Hub, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 1000))
    with pytest.raises(ScalingarError, match=r"205 kB more.*1 kB free.*HF_HUB_CACHE"):
        fetch(SOURCE, told.append)
    assert hub.downloads() == []


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    hub: Hub, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.file_download as downloads

    real = downloads.http_get

    def full(url: str, stream: Any, **kwargs: Any) -> None:
        stream.write(WEIGHTS[:50_000])
        stream.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "http_get", full)
    with pytest.raises(ScalingarError, match=r"disk of .* is full.*kept"):
        fetch(evolve(SOURCE, files=("*.safetensors",), required=("*.safetensors",)), told.append)
    monkeypatch.setattr(downloads, "http_get", real)
    folder = fetch(SOURCE, told.append).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert ("model.safetensors", "bytes=50000-") in hub.downloads()


def test_another_commit_of_main_is_another_folder_and_the_first_stays(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    first = fetch(SOURCE, told.append)
    repository.commit = "f" * 40
    assert fetch(SOURCE, told.append) == first, "main stays what it was when it was fetched"
    second = fetch(evolve(SOURCE, revision="f" * 40), told.append)
    assert second.folder != first.folder
    assert {r.commit for r in all_receipts()} == {COMMIT, "f" * 40}


def test_a_file_that_was_deleted_is_fetched_again(
    hub: Hub, repository: Repository, told: list[str]
) -> None:
    folder = fetch(SOURCE, told.append).folder
    (folder / "model.safetensors").resolve().unlink()
    assert (fetch(SOURCE, told.append).folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org/name", ("org/name", None)),
        ("org/na.me-2@main", ("org/na.me-2", "main")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1")),
    ],
)
def test_a_reference_is_a_repository_and_perhaps_a_revision(
    text: str, parts: tuple[str, str | None]
) -> None:
    assert parse_reference(text) == parts


@pytest.mark.parametrize("text", ["", "name", "/org/name", "a/b/c", "org/", "../up", "org/name@"])
def test_anything_else_is_no_reference(text: str) -> None:
    with pytest.raises(ScalingarError, match="neither a file or folder here nor a repository"):
        parse_reference(text)


def test_weights_may_be_a_path_a_repository_or_nothing(
    hub: Hub, repository: Repository, told: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(SOURCES, "some-model", SOURCE)
    assert folder_for("some-model", tmp_path) == tmp_path
    named = folder_for("some-model", f"{NAME}@{COMMIT}", told.append)
    assert folder_for("some-model", None, told.append) == named
    assert folder_for("a-model-of-somebody", f"{NAME}@{COMMIT}", told.append) == named
    with pytest.raises(ScalingarError, match="no repository of its own"):
        folder_for("a-model-of-somebody", None)
