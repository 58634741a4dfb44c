"""Runs to look at: decoded by the reference model, with a policy that flags, prunes, recovers;
and recordings of complete, judged candidates."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from attrs import evolve

from scalingar_analysis.recordings.recording import Candidates, Recording
from scalingar_fw import (
    Confidence,
    ConfidenceEstimator,
    Prompt,
    Sampling,
    Strategy,
    decode,
    generate,
)
from scalingar_fw.decoding.components import Termination, Verdict
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import FinalConfidence
from scalingar_fw.testing import ReferenceModel

GRID = Grid(6, 8)


class Margin(ConfidenceEstimator):
    def init(self, context):
        return None

    def update(self, state, signals, step):
        return Confidence.of(signals.margin), None


class Acts(Termination):
    """Flags candidates 0 to 2 at step 8: 0 ends at step 20, 1 recovers at step 12, 2 stays flagged."""

    def update(self, state, confidence, step):
        who, t = step.rows.candidate_id, step.index
        flagged = ((who == 0) & (8 <= t)) | ((who == 1) & (8 <= t < 12)) | ((who == 2) & (8 <= t))
        trace = {
            "threshold": confidence.value * 0 + (0.25 if t >= 6 else float("nan")),
            "flagged": flagged.float(),
            "recovered": ((who == 1) & (t == 12)).float(),
        }
        gone = (who == 0) & (t == 20) if len(step.rows) > 2 else None
        return Verdict(gone, Status.PRUNED, "it fell <below> & stayed", trace=trace), None


ACTING = Strategy("acting", Margin(), termination=Acts(), selector=FinalConfidence())
MODEL = ReferenceModel(grid=GRID, preset=Sampling(guidance=1.5))
PROMPTS = ["a red circle", "<script>alert('x')</script> & \"quotes\"", "{{data}} </script>", "two"]


@pytest.fixture(scope="session")
def generations():
    """Four prompts, four candidates each."""
    return generate(PROMPTS, model=MODEL, strategy=ACTING, n=4)


@pytest.fixture(scope="session")
def report(generations) -> str:
    """The report of `generations`, which takes some seconds to draw."""
    from scalingar_analysis.report.page import page
    from scalingar_analysis.runs.run import as_run

    return page(as_run(generations))


@pytest.fixture(scope="session")
def complete():
    """The same prompts under two strategies that end nobody, six candidates each, with scores."""
    from scalingar_analysis.runs.run import as_run, from_examples

    examples = []
    for name in ("plain", "by-margin"):
        strategy = evolve(ACTING, name=name, termination=Strategy("x").termination)
        runs = generate([f"prompt {i}" for i in range(6)], model=MODEL, strategy=strategy, n=6)
        for item, e in enumerate(as_run(runs).examples()):
            rng = np.random.default_rng([item, len(name)])
            scores = (rng.random(len(e.decoded.trajectories)) < 0.3 + 0.1 * item).astype(float)
            task, cluster = f"task {item % 2}", f"cluster {item}"
            examples.append(evolve(e, item=item, scores=scores, task=task, cluster=cluster))
    return from_examples(examples)


# --- recordings --------------------------------------------------------------------------------

RECORDED = ReferenceModel(vocab_size=8, grid=Grid(4, 4))
WATCHER = Strategy(name="record")


@pytest.fixture(scope="session")
def judged() -> Callable[..., Recording]:
    """`judged(prompts=12, n=6)`: a recording whose right candidates are the likely ones."""
    return functools.cache(_judged)


def _judged(prompts: int = 12, n: int = 6, seed: int = 0) -> Recording:
    """`prompts` prompts of three tasks, two to a cluster. A judge that log-probabilities can
    please: a candidate is right where their mean is above a threshold."""
    asked = [Prompt(f"prompt {i}") for i in range(prompts)]
    sampling = Sampling(guidance=2.0)
    decoded = decode(RECORDED, WATCHER, asked, n=n, seed=seed, sampling=sampling)
    pools = []
    for place, prompt in enumerate(asked):
        mine = decoded.of_prompt(place)
        scores = np.array([float(t.signals["log_prob_cond"].mean() > -1.2) for t in mine])
        task = f"task {place % 3}"
        pools.append(Candidates(prompt, mine, seed, place, task, f"{task}: {place // 6}", scores))
    return Recording.of(pools, RECORDED.grid, sampling, WATCHER, "the test's recording")
