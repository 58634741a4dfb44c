"""Claims share work: a living worker's is respected, a dead one's is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from scalingar_fw.experiments import claims
from scalingar_fw.experiments.claims import STALE_SECONDS, claimed, is_held, sweep_up
from scalingar_fw.experiments.store_writer import create_store

KEY = "ab" * 32


@pytest.fixture
def layout(tmp_path):
    return create_store(tmp_path / "s")


def foreign(layout, **holder):
    path = layout.claims / f"{KEY}.json"
    path.write_text(json.dumps(holder))
    return path


def test_a_claim_excludes_others_until_its_block_ends(layout):
    with claimed(layout, KEY) as mine:
        assert mine and is_held(layout, KEY)
        with claimed(layout, KEY) as second:
            assert not second
        assert is_held(layout, KEY), "who did not get it took nothing away"
    assert not is_held(layout, KEY)
    assert list(layout.claims.iterdir()) == []


def test_the_claim_of_a_dead_process_is_free(layout):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    foreign(layout, host=socket.gethostname(), pid=done.pid, started="1")
    assert not is_held(layout, KEY)
    with claimed(layout, KEY) as mine:
        assert mine


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_a_later_process_with_the_same_number_is_another_one(layout):
    foreign(layout, host=socket.gethostname(), pid=os.getpid(), started="1")
    assert not is_held(layout, KEY)


def test_another_host_s_claim_counts_while_it_is_touched(layout):
    path = foreign(layout, host="elsewhere", pid=1, started=None)
    assert is_held(layout, KEY)
    old = path.stat().st_mtime - STALE_SECONDS - 5
    os.utime(path, (old, old))
    assert not is_held(layout, KEY)


def test_half_a_claim_is_somebody_s_for_a_moment_only(layout):
    path = foreign(layout)
    path.write_text('{"host"')
    assert is_held(layout, KEY)
    old = path.stat().st_mtime - claims.BEAT_SECONDS - 5
    os.utime(path, (old, old))
    assert not is_held(layout, KEY)


def test_sweeping_up_takes_what_is_nobody_s(layout):
    dead, alive = "cd" * 32, "ef" * 32
    for key in (dead, alive):
        (layout.partial / f"{key}.0123").mkdir()
        (layout.partial / f"{key}.0123" / "steps.parquet").write_text("half")
    with claimed(layout, alive):
        assert sweep_up(layout) == 1
        assert [p.name for p in layout.partial.iterdir()] == [f"{alive}.0123"]
        assert is_held(layout, alive)
