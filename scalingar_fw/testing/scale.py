"""Long runs of many candidates: what acts late, by place, or on a rare token.

The searched cases are small, so that a counter-example can be read; a rule with "after 32 steps" in
it never acts there. These runs have the size at which such rules act, and one of them is held to
all contracts of what is returned and of independence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scalingar_fw.errors import ContractError
from scalingar_fw.testing.battery import LARGE
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import CATALOGUE, STEPPING, Broken, NotHere, check

#: What is tried at full size, in this order: contracts of one play, then of two.
_TRIED = (
    *("inputs", "global-randomness", "global-settings", "memory", "finite", "float32", "bounds"),
    *("permitted", "keeps-one", "warmup", "survivors", "budget", "no-revival", "sentences"),
    *("names", "no-own-memory", "prompts-apart", "order", "take-update", "causality"),
)


@check("scale", *STEPPING, cases=LARGE)
def contracts_hold_at_scale(kind: str, component: Any, case: Case) -> None:
    """All of this holds in a long run of many candidates as well.

    Rules that act after so many steps, on the ninth row or on a rare token are met here for the
    first time, as they would be in a user's run.
    """
    for one in _tried(kind, component):
        try:
            one.run(component, case)
        except NotHere:
            continue
        except (Broken, ContractError) as error:
            raise Broken(
                f"over {case.total} steps with {case.n} candidates of {case.prompts} prompts and "
                f"{case.vocab} tokens, {one.id}: {error}",
                getattr(error, "hint", ""),
            ) from error


def _tried(kind: str, component: Any) -> Iterator[Any]:
    excused = component.expected_failures
    for name in _TRIED:
        found = CATALOGUE.get(f"{kind}-{name}")
        if found is not None and found.applies(component) is None and found.id not in excused:
            yield found


__all__ = ["contracts_hold_at_scale"]
