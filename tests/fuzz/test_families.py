"""Inputs made up by the thousand: each is read, or refused in one sentence; nothing else happens.

`pytest tests/fuzz --fuzz-inputs 20000` tries more than CI's 2000; `--fuzz-keep` writes what fails
into the corpus, where it stays as a test.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from families import FAMILIES as FILES
from hypothesis import HealthCheck, given, settings
from programs import PROGRAMS
from watching import written_outside

from scalingar_fw import ScalingarError

FAMILIES = {**FILES, **PROGRAMS}
CORPUS = Path(__file__).with_name("corpus")
#: Seconds of this process that one input may take; reading one takes some milliseconds.
MOST_SECONDS = 10.0
#: Bytes that the process may grow by while a family is tried.
MOST_GROWTH = 1 << 30


def survive(family: str, data: bytes) -> None:
    """Read one input and hold what happens to the promise of SECURITY.md."""
    folder = Path(tempfile.mkdtemp())
    said = io.StringIO()
    begun = time.process_time()
    try:
        with written_outside(folder) as outside, contextlib.redirect_stdout(said):
            try:
                FAMILIES[family].read(data, folder)
            except ScalingarError as error:
                message = str(error)
                assert message.strip() and len(message) < 4000, len(message)
                assert "Traceback" not in message
        strays = [p for p in outside if "__pycache__" not in p.parts]
        assert not strays, f"written outside: {strays[:3]}"
        assert said.getvalue() == "", "printed"
        took = time.process_time() - begun
        assert took < MOST_SECONDS, f"{took:.1f} s"
    finally:
        shutil.rmtree(folder)


def peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("family", FAMILIES)
def test_made_up_inputs_are_read_or_refused_and_touch_nothing(
    family: str, request: pytest.FixtureRequest
) -> None:
    count = round(FAMILIES[family].share * request.config.getoption("--fuzz-inputs"))
    keep = request.config.getoption("--fuzz-keep")
    before = peak_bytes()

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(FAMILIES[family].inputs)
    def try_one(data: bytes) -> None:
        try:
            survive(family, data)
        except Exception:
            if keep:
                name = hashlib.sha256(data).hexdigest()[:12]
                (CORPUS / family).mkdir(exist_ok=True)
                (CORPUS / family / name).write_bytes(data)
            raise

    try_one()
    assert peak_bytes() - before < MOST_GROWTH


KEPT = [
    pytest.param(family, path, id=f"{family}/{path.name}")
    for family in FAMILIES
    for path in sorted((CORPUS / family).glob("*"))
    if path.is_file()
]


@pytest.mark.parametrize(("family", "path"), KEPT)
def test_what_once_failed_is_read_or_refused(family: str, path: Path) -> None:
    survive(family, path.read_bytes())


def test_the_shares_are_of_one_whole() -> None:
    assert sum(family.share for family in FAMILIES.values()) == pytest.approx(1.0)
