"""The measuring script draws what it says; how fast anything is, no test states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models import cards, realsize, tiny

ROOT = Path(__file__).parents[3]


def test_every_architecture_with_a_card_can_be_measured() -> None:
    carded = {row.name for card in cards.CARDS for row in card.rows}
    assert {name for name in carded if not name.startswith("ar-grpo")} == set(realsize.MAKERS)
    with pytest.raises(ScalingarError, match="Did you mean 'emu3-gen'"):
        realsize.build("emu3-gem", torch.device("cpu"), torch.float32)


def test_the_commands_in_the_documents_name_architectures_that_there_are() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    named = re.findall(r"models\.realsize (\S+)", text)
    assert named and set(named) <= set(realsize.MAKERS)


def test_a_measurement_takes_every_step_and_decodes_every_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, seen = tiny.llamagen_t2i(), []
    for name, note in (("step", lambda c, t, i: (len(t), i)), ("decode_images", len)):
        real = getattr(type(model), name)

        def spy(self, *given, real=real, note=note):  # type: ignore[no-untyped-def]
            seen.append(note(*given))
            return real(self, *given)

        monkeypatch.setattr(type(model), name, spy)
    found = realsize.measure(model, 3)
    assert seen == [*((3, i) for i in range(model.grid.size - 1)), 3]
    assert found.step_seconds > 0 and found.step_bytes == 0, "a CPU's peak is not counted"


def test_the_script_prints_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(realsize.MAKERS, "tiny", lambda name, device, dtype: tiny.llamagen_c2i())
    result = CliRunner().invoke(realsize.main, ["tiny", "-n", "2", "--steps", "3"])
    assert result.exit_code == 0, result.output
    cells = [c.strip() for c in result.output.strip().strip("|").split("|")]
    assert cells[:3] == ["tiny", "float32", "2"] and len(cells) == 8
