"""Every adapter passes the checks that third-party adapters are given."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import evolve, frozen

from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid, Logits
from scalingar_fw.testing import ReferenceModel
from scalingar_fw.testing.adapters import CHECKS, Check, Subject, check_adapter
from scalingar_fw.testing.reference import History
from scalingar_plugins.models import tiny

HF = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs the extra hf"
)


def shapes() -> Any:
    """The embedded model with its shipped weights."""
    from scalingar_plugins.models.shapes.adapter import load
    from scalingar_plugins.models.shapes.weights import GENERATOR_FILE, default_folder

    if not (default_folder() / GENERATOR_FILE).exists():
        pytest.skip("the embedded model has no weights yet")
    return load()


ADAPTERS: dict[str, Callable[[], Any]] = {
    "reference": ReferenceModel,
    "reference-forbidden": lambda: ReferenceModel(forbidden=3),
    "reference-one-branch": lambda: ReferenceModel(branches=1, preset=Sampling()),
    "llamagen-c2i": tiny.llamagen_c2i,
    "llamagen-c2i-oblong": lambda: tiny.llamagen_c2i(rows=2, cols=5),
    "llamagen-t2i": tiny.llamagen_t2i,
    "ar-grpo": tiny.ar_grpo,
    "janus-pro": tiny.janus,
    "emu3": tiny.emu3,
    "emu3-oblong": lambda: tiny.emu3(rows=2, cols=3),
    "simplear": tiny.simplear,
    "simplear-official": lambda: tiny.simplear(official=True),
    "anole": tiny.anole,
    "lumina-mgpt": tiny.lumina,
    "hf-causal": tiny.hf_causal,
    "hf-causal-lines": lambda: tiny.hf_causal(rows=2, cols=3, end_of_line=39),
    "shapes": shapes,
}
NEEDS_HF = (
    "janus-pro",
    "emu3",
    "emu3-oblong",
    "simplear",
    "simplear-official",
    "anole",
    "lumina-mgpt",
    "hf-causal",
    "hf-causal-lines",
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=HF if name in NEEDS_HF else ()) for name in ADAPTERS],
)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject.of(ADAPTERS[request.param]())


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
def test_every_adapter_conforms(subject: Subject, check: Check) -> None:
    check.run(subject)


@frozen
class Broken(ReferenceModel):
    """A reference model with one mistake, by name."""

    mistake: str = ""

    def step(self, cache: Any, token: torch.Tensor, index: int) -> Logits:
        if self.mistake == "neighbours":
            token = token.flip(0)
        logits = super().step(cache, token, index)
        if self.mistake == "random":
            logits = evolve(logits, cond=logits.cond + torch.randn(logits.cond.shape))
        if self.mistake == "nan":
            logits.cond[0, 0] = float("nan")
        if self.mistake == "one-branch":
            logits = evolve(logits, uncond=logits.cond)
        return logits

    def decode_images(self, tokens: torch.Tensor) -> torch.Tensor:
        image = super().decode_images(tokens)
        if self.mistake == "range":
            image = image * 2
        return image[:, :, :-1] if self.mistake == "grid" else image

    def row_bytes(self) -> int:
        return super().row_bytes() * (2 if self.mistake == "memory" else 1)

    def calls(self, index: int) -> int:
        return 0 if self.mistake == "calls" else 1


@frozen(eq=False)
class SharedHistory(History):
    """Histories as lists that `take` does not copy, so that forks write into one."""

    def take(self, rows: torch.Tensor) -> SharedHistory:
        picked = rows.tolist()
        return SharedHistory(
            tuple(self.prompts[i] for i in picked), [self.tokens[i] for i in picked]
        )


@frozen(eq=False)
class LostHistory(History):
    """`take` moves the prompts but keeps the first rows' tokens."""

    def take(self, rows: torch.Tensor) -> LostHistory:
        prompts = tuple(self.prompts[i] for i in rows.tolist())
        return LostHistory(prompts, (self.tokens * len(prompts))[: len(prompts)])


@frozen
class WrongCache(ReferenceModel):
    """A reference model whose cache moves rows wrongly."""

    cache: type[History] = SharedHistory

    def prefill(self, conditioning: Any, copies: int) -> Any:
        history, logits = super().prefill(conditioning, copies)
        rows: Any = [[] for _ in history.tokens] if self.cache is SharedHistory else history.tokens
        return self.cache(history.prompts, rows), logits

    def step(self, cache: Any, token: torch.Tensor, index: int) -> Logits:
        for row, t in enumerate(token.tolist()):
            cache.tokens[row] += [t] if self.cache is SharedHistory else (t,)
        return self._logits(History(cache.prompts, [tuple(t) for t in cache.tokens]))


@pytest.mark.parametrize(
    ("mistake", "caught_by"),
    [
        ("neighbours", "rows-are-independent"),
        ("random", "the-same-input-gives-the-same-bits"),
        ("nan", "permitted-tokens-are-finite"),
        ("one-branch", "both-branches-are-given"),
        ("range", "images-lie-in-range"),
        ("grid", "the-grid-fits-the-image"),
        ("calls", "the-grid-fits-the-image"),
        ("memory", "memory-is-as-estimated"),
    ],
)
def test_the_checks_catch_a_mistake(mistake: str, caught_by: str) -> None:
    failed = [f.check.id for f in check_adapter(Broken(mistake=mistake)) if not f.passed]
    assert caught_by in failed


@pytest.mark.parametrize(
    ("cache", "caught_by"),
    [
        (SharedHistory, "forks-do-not-share-memory"),
        (LostHistory, "take-then-step-equals-step-then-take"),
    ],
)
def test_caches_that_move_rows_wrongly_are_caught(cache: type[History], caught_by: str) -> None:
    failed = [f.check.id for f in check_adapter(WrongCache(cache=cache)) if not f.passed]
    assert caught_by in failed


def test_the_smallest_grid_passes_every_check() -> None:
    findings = check_adapter(ReferenceModel(grid=Grid(1, 2)))
    assert [f.check.id for f in findings] == [c.id for c in CHECKS]
    assert all(f.passed for f in findings), [f.detail for f in findings if not f.passed]
