"""The embedded model behind the framework's protocol."""

from __future__ import annotations

import pytest

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.shapes.adapter import load


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt("a blorb"), "blorb"),
        (Prompt(""), "no word"),
        (Prompt("a circle", negative="a square"), "no negative"),
        (Prompt("a circle", class_id=3), "no class"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_a_users_error(prompt: Prompt, says: str) -> None:
    """The command line prints these alone and exits with 2."""
    with pytest.raises(ScalingarError, match=says):
        load().encode([prompt])
