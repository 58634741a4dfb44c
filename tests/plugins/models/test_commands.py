"""`scalingar models info` and `check`, the cards behind them, and the names they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from click.testing import CliRunner

from scalingar_fw.cli.group import App
from scalingar_fw.decoding.state import Logits
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import Registry, load_registry
from scalingar_plugins.models import cards, commands, tiny

DOCS = Path(__file__).parents[3] / "docs" / "backends"


def invoke(*arguments: str, registry: Registry | None = None) -> Any:
    app = App()
    app._registry = load_registry() if registry is None else registry
    return CliRunner().invoke(commands.models, list(arguments), obj=app)


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda c: c.slug)
def test_the_pages_in_docs_are_what_the_cards_render(card: cards.Card) -> None:
    page = DOCS / f"{card.slug}.md"
    remedy = "run: python -m scalingar_plugins.models.cards docs/backends"
    assert page.read_text(encoding="utf-8") == card.render(), remedy


def test_every_registered_model_with_weights_has_a_card() -> None:
    names = {e.name for e in load_registry().of_kind("model") if e.package == "scalingar-fw"}
    carded = {row.name for card in cards.CARDS for row in card.rows}
    assert carded <= names
    assert names - carded <= {"shapes", "llamagen-c2i", "llamagen-t2i", "hf-causal"}


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        ("llamagen-t2i-512", 402),
        ("llamagen-t2i-256", 132),
        ("janus-pro-1b", 240),
        ("janus-pro-7b", 600),
        ("simplear-1.5b", 230),
        ("emu3-gen", 2080),
    ],
)
def test_memory_on_the_cards_is_what_was_measured(name: str, mebibytes: int) -> None:
    found = cards.card_of(name)
    assert found is not None and found[1] is not None
    assert found[1].candidate / 2**20 == pytest.approx(mebibytes, rel=0.02)


def test_info_prints_the_models_own_numbers_and_its_page() -> None:
    result = invoke("info", "llamagen-t2i-512")
    assert result.exit_code == 0
    assert result.output.startswith("llamagen-t2i-512: 512 px, 1024 tokens, 402.3 MiB per")
    assert "## Traps" in result.output and "vq_ds16_t2i.pt" in result.output


def test_info_of_a_model_without_a_card_says_what_is_registered() -> None:
    assert "embedded" in invoke("info", "shapes").output


def with_models(**loaders: Any) -> Registry:
    registry = Registry()
    for name, load in loaders.items():
        registry.add("model", name, load)
    return registry


def load_tiny(*, device: Any = "cpu", weights: Any = None, scale: float = 1.0) -> Any:
    return tiny.llamagen_c2i()


def test_check_loads_steps_and_decodes() -> None:
    result = invoke("check", "good", "--option", "scale=2", registry=with_models(good=load_tiny))
    assert result.exit_code == 0, result.exception
    assert "logits finite" in result.output and "8 x 8 pixels decoded" in result.output
    assert result.output.endswith("local/good is ready.\n")


def test_check_refuses_options_that_the_loader_does_not_have() -> None:
    registry = with_models(good=load_tiny)
    for option, message in (("scal=2", "Did you mean 'scale'"), ("scale", "key=value")):
        result = invoke("check", "good", "--option", option, registry=registry)
        assert isinstance(result.exception, ScalingarError)
        assert message in str(result.exception)


class Overflows(tiny.LlamaGenModel):
    """Logits become NaN at the second step, as half precision's do."""

    def step(self, cache: Any, token: torch.Tensor, index: int) -> Logits:
        logits = super().step(cache, token, index)
        return evolve(logits, cond=logits.cond * float("nan"))


def test_check_finds_logits_that_are_not_finite() -> None:
    good = tiny.llamagen_c2i()
    fields = {a: getattr(good, a) for a in ("name", "network", "tokenizer", "device", "dtype")}

    def load(*, device: Any = "cpu", weights: Any = None) -> Any:
        return Overflows(**fields, preset=good.preset)

    result = invoke("check", "bad", registry=with_models(bad=load))
    assert isinstance(result.exception, ScalingarError)
    assert "Logits of step 1 are not finite" in str(result.exception)


def test_listing_models_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, scalingar_plugins\n"
        "from scalingar_fw.registry import load_registry\n"
        "assert 'emu3-gen' in load_registry().names('model')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy imports'\n"
        "import scalingar_plugins.models.emu3, scalingar_plugins.models.tiny\n"
        "assert 'transformers' not in sys.modules, 'transformers is imported before use'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
