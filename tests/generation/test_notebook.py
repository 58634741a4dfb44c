"""What notebooks show of a result, and its candidates as a data frame."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw import Sampling, ScalingarError, Strategy, generate
from scalingar_fw.generation.notebook import enlarged
from scalingar_fw.testing import ReferenceModel


@pytest.fixture(scope="module")
def result():
    model = ReferenceModel(preset=Sampling(guidance=1.5))
    return generate("a <b>red</b> circle", model=model, strategy=Strategy("plain"), n=3)


@given(st.integers(1, 400), st.integers(1, 400))
def test_small_pictures_grow_by_whole_factors_and_large_ones_stay(height, width):
    pixels = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3)
    shown = enlarged(pixels)
    factor = shown.shape[0] // height
    assert shown.shape == (height * factor, width * factor, 3)
    assert np.array_equal(shown[::factor, ::factor], pixels)
    assert max(shown.shape[:2]) >= 288
    assert factor == 1 or (factor - 1) * max(height, width) < 288


def test_a_notebook_shows_the_answer_at_a_useful_size_with_its_caption(result):
    shown = result._repr_html_()
    data = re.search(r'src="data:image/png;base64,([^"]+)"', shown)[1]
    with PIL.Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert max(image.size) >= 288
        factor = image.size[0] // result.pixels.shape[1]
        assert np.array_equal(np.asarray(image)[::factor, ::factor], result.pixels)
    assert "a &lt;b&gt;red&lt;/b&gt; circle" in shown and "<b>" not in shown
    assert f"candidate {result.answer.id} of 3" in shown


def test_candidates_are_rows_of_a_data_frame(result):
    pytest.importorskip("pandas", reason="needs pandas")
    frame = result.to_pandas()
    assert frame["candidate"].tolist() == [0, 1, 2]
    assert frame.loc[frame["chosen"], "candidate"].tolist() == [result.answer.id]
    assert frame["tokens"].sum() == result.tokens


def test_without_pandas_the_way_to_it_is_said(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ScalingarError, match="pip install pandas"):
        result.to_pandas()
