"""Every registered component and strategy passes all checks that apply; new ones are found here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import frozen

from scalingar_fw.config.serialization import build
from scalingar_fw.config.settings import settings_of
from scalingar_fw.decoding.components import Termination, Verdict
from scalingar_fw.decoding.params import rules
from scalingar_fw.decoding.statistics import group_rank
from scalingar_fw.decoding.strategy import NeverTerminate, Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import default_registry
from scalingar_fw.testing import check_component, checks_for
from scalingar_fw.testing.targets import with_settings

KINDS = ("confidence", "guidance", "termination", "sampler", "selector", "reward")


@frozen
class Eager(Termination):
    """Ends the least confident of each prompt at every step: a policy that wrappers must tame."""

    scope = "cohort"

    def update(self, state: Any, confidence: Any, step: Any) -> tuple[Verdict, Any]:
        rows = step.rows
        rank = group_rank(confidence.value, rows)
        return Verdict((rank == (rows.live - 1)[rows.group]) & (rank > 0)), state


def label(entry: Any) -> str:
    return f"{entry.kind}-{entry.name}"


def entries(*kinds: str) -> list[Any]:
    return [e for e in default_registry().of_kind(*kinds) if e.package == "scalingar-fw"]


def variants(component: Any) -> dict[str, Any]:
    """The component, and it with each choice of each setting and with a real policy inside.

    So that a default which switches something off hides nothing.
    """
    registry = default_registry()
    out: dict[str, Any] = {"as it is": component}
    filled = component
    for name in rules(component):
        if isinstance(getattr(component, name), NeverTerminate):
            filled = attrs.evolve(component, **{name: Eager()})
            out["with a policy"] = filled
    changes: list[tuple[str, Any]] = []
    for key, (rule, value) in settings_of(component).items():
        changes += [(key, choice) for choice in rule.choices or () if choice != value]
        if rule.kind is bool:
            changes.append((key, not value))
        # Numbers chosen for real images (32 steps of probation) never act on nine tokens.
        if rule.kind is int and isinstance(value, int) and value > 2:
            changes.append((key, 1))
        if key.endswith(("warmup", "recovery_window")):
            changes.append((key, 0))
    for key, value in changes:
        try:
            out[f"{key}={value}"] = with_settings(filled, {key: value}, registry)
        except ScalingarError:
            continue
    return out


def broken(component: Any, folder: Path, examples: int) -> list[str]:
    found = []
    for name, one in variants(component).items():
        count = examples if name in ("as it is", "with a policy") else max(4, examples // 3)
        # A component made here by hand has no name in the registry of this test.
        ids = [b.id for b in checks_for(one) if not (name != "as it is" and "round-trip" in b.id)]
        for o in check_component(one, examples=count, folder=folder, parts=False, only=ids):
            if not o.ok and not (o.message.startswith("declared") and name != "as it is"):
                found.append(f"{name}: {o.id}: {o.message}")
    return found


@pytest.mark.parametrize("entry", entries(*KINDS), ids=label)
def test_a_built_in_component_keeps_every_contract(entry: Any, tmp_path: Path) -> None:
    target = entry.load()
    component = target() if isinstance(target, type) else target
    assert broken(component, tmp_path, examples=10) == []


@pytest.mark.parametrize("entry", entries("strategy"), ids=label)
def test_a_built_in_strategy_keeps_every_contract(entry: Any, tmp_path: Path) -> None:
    strategy: Strategy = build("strategy", entry.full_name, default_registry())
    outcomes = check_component(strategy, examples=6, folder=tmp_path, parts=False)
    assert [f"{o.id}: {o.message}" for o in outcomes if not o.ok] == []


def test_the_variants_of_a_component_cover_its_choices() -> None:
    from scalingar_plugins.confidence.unified import UnifiedConfidence
    from scalingar_plugins.termination.wrappers import Patience

    assert {"as it is", "drift.normalizer=cohort", "distribution=guided"} <= set(
        variants(UnifiedConfidence())
    )
    assert isinstance(variants(Patience())["with a policy"].policy, Eager)
