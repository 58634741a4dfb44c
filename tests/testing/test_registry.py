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
from scalingar_fw.testing.fresh import CASES, answers, answers_elsewhere
from scalingar_fw.testing.targets import with_settings

KINDS = ("confidence", "guidance", "termination", "sampler", "selector", "reward")
#: Judges that read weights, which are there or not (their own tests say so).
_NEED_A_MODEL = ("clipscore", "pickscore", "siglip", "vqascore", "image", "shapes-scorer", "oracle")


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


#: Of a variant, which differs from the component in a setting: what no setting changes, or what
#: needs so many steps that it costs as much as all the rest.
_OF_THE_COMPONENT = ("round-trip", "scale", "acts", "distribution", "fork-noise", "settings-act")


def broken(component: Any, folder: Path) -> list[str]:
    """What the battery finds; the search for more is for components that nobody has checked yet."""
    found = []
    for name, one in variants(component).items():
        base = name == "as it is"
        for bound in checks_for(
            one, examples=0, floor=None if base else 2, folder=folder, parts=False
        ):
            if bound.check.name == "fresh-process" or (
                not base and bound.check.name in _OF_THE_COMPONENT
            ):
                continue
            o = bound.run()
            if o.status in ("failed", "same-cause") and (base or "but it passes" not in o.message):
                found.append(f"{name}: {o.id}: {o.message}")
    return found


@pytest.mark.parametrize("entry", entries(*KINDS), ids=label)
def test_a_built_in_component_keeps_every_contract(entry: Any, tmp_path: Path) -> None:
    assert broken(component_of(entry), tmp_path) == []


def component_of(entry: Any) -> Any:
    target = entry.load()
    return target() if isinstance(target, type) else target


def test_a_fresh_process_gives_the_answers_of_every_built_in_component() -> None:
    """One process for all of them, since starting one costs more than all their answers."""
    given = [(e.kind, component_of(e)) for e in entries(*KINDS) if e.name not in _NEED_A_MODEL]
    here = [[answers(kind, c, case) for case in CASES] for kind, c in given]
    there = answers_elsewhere(given, CASES)
    for (kind, component), one, other in zip(given, here, there, strict=True):
        assert one == other, f"{kind} {component}"


@pytest.mark.parametrize("entry", entries("strategy"), ids=label)
def test_a_built_in_strategy_keeps_every_contract(entry: Any, tmp_path: Path) -> None:
    strategy: Strategy = build("strategy", entry.full_name, default_registry())
    outcomes = check_component(strategy, examples=0, floor=4, folder=tmp_path, parts=False)
    assert [f"{o.id}: {o.message}" for o in outcomes if not o.ok] == []


def test_the_variants_of_a_component_cover_its_choices() -> None:
    from scalingar_plugins.confidence.unified import UnifiedConfidence
    from scalingar_plugins.termination.wrappers import Patience

    assert {"as it is", "drift.normalizer=cohort", "distribution=guided"} <= set(
        variants(UnifiedConfidence())
    )
    assert isinstance(variants(Patience())["with a policy"].policy, Eager)
