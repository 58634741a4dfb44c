"""Plans on the reference model, as a press of the button makes them."""

from __future__ import annotations

import pytest

from scalingar_fw import GenerationRequest, load_registry
from scalingar_fw.generation.plan import prepare


@pytest.fixture(scope="session")
def registry():
    return load_registry()


@pytest.fixture(scope="session")
def plan(generations, registry):
    """`plan("beam", n=4)`: a plan of one prompt on the reference model; by default with the
    strategy that flags, prunes and recovers."""
    model, acting = generations[0].model, generations[0].strategy

    def make(strategy=acting, **asked):
        asked = {"n": 4, "seed": 7, **asked}
        request = GenerationRequest.of(["a red circle"], model=model, strategy=strategy, **asked)
        return prepare(request, registry)

    return make
