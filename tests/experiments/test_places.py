"""Where a store lies: nothing outside is touched, a moved one is left alone, a finished one may lie
where nothing can be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from watching import read_only

from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments import store_writer as writing
from scalingar_fw.experiments.claims import claimed, sweep_up
from scalingar_fw.experiments.layout import Layout, StoreGone
from scalingar_fw.experiments.scores import add_scores
from scalingar_fw.experiments.store_writer import create_store, set_aside, writing_place

KEY = "ab" * 32


def content(root: Path) -> dict[str, bytes]:
    units = Layout(root).root / "units"
    return {str(p.relative_to(units)): p.read_bytes() for p in units.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["partial", "claims", "receipts", "labels", "units", "scores"])
def test_a_folder_of_the_store_that_is_a_link_is_refused_and_nothing_behind_it_is_lost(
    bench, tmp_path, name
):
    bench.run(tmp_path / "s", limit=3)
    layout = Layout(tmp_path / "s")
    outside = tmp_path / "mine"
    outside.mkdir()
    for precious in ("thesis", f"{KEY}.0123"):
        (outside / precious).mkdir()
        (outside / precious / "text").write_text("years of work")
    (outside / "plan.json").write_text("{}")
    folder = layout.root / name
    if folder.exists():
        folder.rename(tmp_path / "before")
    folder.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(ScalingarError, match=f"{name} is a link"):
        bench.run(layout.root)
    with pytest.raises(ScalingarError, match="is a link"):
        sweep_up(layout)
    assert sorted(outside.rglob("*")) == before
    assert (outside / "thesis" / "text").read_text() == "years of work"


def test_links_among_the_leftovers_are_removed_and_not_followed(bench, tmp_path):
    layout = create_store(tmp_path / "s")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("years of work")
    (layout.partial / f"{KEY}.0123").mkdir()
    (layout.partial / f"{KEY}.0123" / "link").symlink_to(tmp_path / "mine")
    (layout.partial / f"{KEY}.4567").symlink_to(tmp_path / "mine")
    sweep_up(layout)
    assert (tmp_path / "mine" / "text").read_text() == "years of work"


def test_a_link_to_the_whole_store_is_the_store(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3)
    (tmp_path / "link").symlink_to(tmp_path / "s")
    ended, _ = bench.run(tmp_path / "link", limit=3)
    assert ended.finished == ended.units


@pytest.mark.parametrize(
    "write",
    [
        lambda layout: claimed(layout, KEY).__enter__(),
        lambda layout: writing_place(layout, KEY).__enter__(),
        lambda layout: set_aside(layout, KEY, "why"),
        lambda layout: sweep_up(layout),
        lambda layout: add_scores(layout, "toy", [], "nobody"),
        lambda layout: writing.put(layout, KEY, layout.root, {}),
    ],
)
def test_nothing_is_made_where_a_store_was(tmp_path, write):
    layout = create_store(tmp_path / "s")
    layout.root.rename(tmp_path / "away")
    with pytest.raises(StoreGone, match="moved or removed"):
        write(layout)
    assert not layout.root.exists()


class Mover:
    """Moves the store away at the first event of a kind."""

    def __init__(self, root: Path, to: Path) -> None:
        self.root, self.to = root, to

    def notify(self, event) -> None:
        if event.kind == "unit" and self.root.exists():
            self.root.rename(self.to)

    def close(self) -> None: ...


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_store_that_is_moved_while_it_is_written_stops_the_sweep(
    bench, tmp_path, undisturbed, executor
):
    from scalingar_fw.experiments.driver import run_sweep

    root, to = tmp_path / "s", tmp_path / "away"
    with pytest.raises(StoreGone, match="run again with --out"):
        run_sweep(
            bench.sweep(),
            root,
            executor=executor,
            registry=bench.registry,
            plugins=[Path(__file__).with_name("toy.py")],
            observers=[Mover(root, to)],
        )
    assert not root.exists(), sorted(root.rglob("*"))
    ended, heard = bench.run(to)
    assert ended.finished == ended.units and heard.of("damaged") == []
    assert content(to) == undisturbed


def test_a_store_that_is_moved_in_the_middle_of_a_unit_is_named(bench, tmp_path, monkeypatch):
    root = tmp_path / "s"
    write = writing.write_unit

    def move_first(*arguments, **more):
        root.rename(tmp_path / "away")
        return write(*arguments, **more)

    monkeypatch.setattr(writing, "write_unit", move_first)
    with pytest.raises(StoreGone):
        bench.run(root)
    assert not root.exists()


def test_a_finished_store_on_a_read_only_disk_has_nothing_to_do_and_can_be_read(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3)
    with read_only(tmp_path / "s"):
        ended, _ = bench.run(tmp_path / "s", limit=3)
        assert (ended.finished, ended.failed) == (ended.units, 0)
        assert len(open_store(tmp_path / "s").candidates())
    for name in ("claims", "partial"):  # a copy by git has no empty folders
        shutil.rmtree(tmp_path / "s" / name)
    with read_only(tmp_path / "s"):
        ended, _ = bench.run(tmp_path / "s", limit=3)
        assert ended.finished == ended.units


def test_an_unfinished_store_on_a_read_only_disk_says_so(bench, tmp_path):
    bench.run(tmp_path / "s", limit=3)
    with read_only(tmp_path / "s"), pytest.raises(OSError, match="Read-only"):
        bench.run(tmp_path / "s", limit=6)


def test_half_files_of_killed_writers_go_when_they_are_old(tmp_path):
    layout = create_store(tmp_path / "s")
    old, new = (layout.receipts / f".{i}.json.0123abcd.partial" for i in (1, 2))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    sweep_up(layout)
    assert not old.exists() and new.exists()
