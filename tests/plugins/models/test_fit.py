"""`scalingar models fit` and `scalingar doctor`: sums that can be checked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.cli import main
from scalingar_plugins.models import doctor, fit

GIB = 1 << 30


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments), prog_name="scalingar")


def test_the_sum_of_llamagen_512_by_hand() -> None:
    row = next(row for row in fit.rows() if row.name == "llamagen-t2i-512")
    one = fit.need(row, 8, "bfloat16")
    assert one.weights == 778_000_000 * 2
    assert one.cache == 2 * 2 * 36 * 20 * 64 * (120 + 1024) * 2  # k and v, two branches
    assert one.logits == 2 * 16384 * 4
    assert one.total == one.weights + 8 * (one.cache + one.logits)
    assert fit.need(row, 8, "float32").cache == 2 * one.cache
    assert one.cache + one.logits == row.candidate, "the card says the same"


def test_unknown_weights_make_a_lower_bound_that_says_so() -> None:
    row = next(row for row in fit.rows() if row.name == "janus-pro-7b")
    one = fit.need(row, 1, "bfloat16")
    assert one.weights is None
    text = "\n".join(one.lines(80 * GIB))
    assert "unknown" in text and "at least" in text and "as far as is known" in text


@given(st.sampled_from(list(fit.rows())), st.sampled_from(list(fit.WIDTHS)), st.integers(0, 10**11))
def test_the_largest_n_fits_and_one_more_does_not(row: Any, dtype: str, free: int) -> None:
    most = fit.most_candidates(row, dtype, free)
    assert most == 0 or fit.need(row, most, dtype).total <= free
    assert fit.need(row, most + 1, dtype).total > free


@pytest.mark.parametrize(
    ("free", "code", "verdict"), [(64 * GIB, 0, ": fits"), (GIB, 1, "not fit")]
)
def test_fit_prints_the_sum_and_its_exit_code_is_the_verdict(
    free: int, code: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_available", lambda: free)
    result = invoke("models", "fit", "llamagen-t2i-512", "-n", "8", "--device", "cpu")
    assert result.exit_code == code
    assert verdict in result.output and "778 million parameters" in result.output


def test_fit_refuses_a_model_without_published_geometry() -> None:
    result = invoke("models", "fit", "shapes")
    assert result.exit_code == 2 and "models check" in result.output


def test_doctor_names_what_is_here_and_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_available", lambda: 4 * GIB)
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    for word in ("python", "torch", "cpu", "4.0 GiB free", "bfloat16 works", "plugins", "cache"):
        assert word in result.output
    lines = [line.split() for line in result.output.splitlines()]
    small = next(x for x in lines if x[:2] == ["llamagen-c2i-b-256", "float32"])
    assert small[2:5] == ["yes", "yes", "yes"]
    large = next(x for x in lines if x[:2] == ["emu3-gen", "bfloat16"])
    assert large[2:6] == ["no", "no", "no", "0"]


def test_an_extra_that_is_incomplete_says_how_to_complete_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fake:
        requires = ["here>=1; extra == 'whole'", "absent; extra == 'half'", "x; extra == 'dev'"]

    monkeypatch.setattr(doctor.importlib.metadata, "distribution", lambda _: Fake())
    monkeypatch.setattr(doctor, "_installed", lambda name: name == "here")
    said = dict(doctor._extras())
    assert said == {
        "whole": "installed",
        "half": "lacks absent: pip install 'scalingar-fw[half]'",
    }
