"""Tune a policy's settings by replay: Optuna proposes, held-out prompts judge (extra `tune`).

A trial costs a replay and no model. Every trial draws with a seed of its own, made of the study's
seed and the trial's number, so a study that was interrupted and goes on ends where an
uninterrupted one does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from scalingar_analysis.recordings.recording import Recording
from scalingar_analysis.replay.replay import Replay, replay
from scalingar_analysis.statistics.holdout import halves
from scalingar_analysis.statistics.intervals import (
    Estimate,
    estimate,
    estimate_difference,
    task_mean,
)
from scalingar_analysis.tuning.objective import Objective, Point, front_of
from scalingar_analysis.tuning.space import Space
from scalingar_fw.config.identity import canonical
from scalingar_fw.config.serialization import describe
from scalingar_fw.config.settings import override
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError
from scalingar_fw.registry import Registry

JOURNAL = "study.journal"


@frozen
class Verdict:
    """A configuration on prompts that tuning has not seen, beside the untuned strategy there.

    `fit_gain`, `held_gain`: accuracy minus the untuned strategy's on the same prompts.
    """

    point: Point
    accuracy: Estimate
    tokens: float
    fit_gain: Estimate
    held_gain: Estimate

    @property
    def behind(self) -> bool:
        """Whether the held-out gain is less than half of what tuning saw."""
        return self.fit_gain.mean > 0 and self.held_gain.mean < self.fit_gain.mean / 2


@frozen(eq=False)
class Tuned:
    """What a study found. `front`: of the fitting prompts, by tokens, each judged on the held-out
    ones; `best`: of the front the most accurate (under "accuracy@B", the most accurate that B
    affords)."""

    study: str
    trials: int
    refused: int
    fit_prompts: int
    held_prompts: int
    untuned: tuple[Point, Estimate, float]
    front: tuple[Verdict, ...]
    best: Verdict = field(repr=False)

    @property
    def warnings(self) -> list[str]:
        out = []
        if self.best.behind:
            out.append(
                "The held-out result falls behind: on the prompts that were tuned on, the best "
                f"configuration gains {self.best.fit_gain} over the untuned strategy, on the "
                f"held-out ones {self.best.held_gain}. Expect the latter."
            )
        if self.refused:
            out.append(
                f"{self.refused} trials were refused, since their settings do not go together."
            )
        return out


def import_optuna() -> Any:
    """Optuna, quiet; `ScalingarError` without the extra."""
    try:
        import optuna
    except ImportError as error:
        raise ScalingarError("Tuning needs Optuna: pip install 'scalingar-fw[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def study_name(
    strategy: Strategy,
    recording: Recording,
    space: Space,
    objective: Objective,
    share: float,
    seed: int,
    registry: Registry,
) -> str:
    """Equal studies go on where they stopped, others get a journal of their own."""
    digest = hashlib.sha256()
    data = [describe(strategy, registry, full=True), dict(space.data), objective.text, share, seed]
    digest.update(canonical(data).encode())
    for array in (recording.tokens, recording.scores, recording.candidate, recording.prompt):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def tune(
    strategy: Strategy,
    recording: Recording,
    space: Space,
    *,
    registry: Registry,
    objective: Objective | str = "pareto",
    trials: int = 100,
    held_out: float = 0.5,
    seed: int = 0,
    folder: Path | None = None,
    heard: Callable[[int, Point | None], None] | None = None,
) -> Tuned:
    """Bring a study to `trials` trials and judge what it found.

    Args:
        strategy: what the space's settings change; its untuned form is the yardstick.
        recording: complete, judged candidates.
        folder: where the study is kept (`<name>/study.journal`); nowhere where None.
        heard: called after each trial with its number and point (None where it was refused).

    Raises:
        ScalingarError: no scores, too few clusters, an untuned strategy that cannot be replayed.
    """
    optuna = import_optuna()
    goal = Objective.parse(objective) if isinstance(objective, str) else objective
    if not recording.scored:
        raise ScalingarError(
            f"{recording.source} holds no scores to tune by: record the prompts of a benchmark "
            "(scalingar record --benchmark ...)."
        )
    if trials < 1:
        raise ScalingarError(f"trials={trials} must be at least 1.")
    if not 0.0 < held_out < 1.0:
        raise ScalingarError(f"held_out={held_out} must lie in (0, 1): the share kept for judging.")
    sides = halves(recording, held_out, seed)
    fit, held = (recording.subset(places) for places in sides)
    plain_fit, plain_held = replay(strategy, fit), replay(strategy, held)
    name = study_name(strategy, recording, space, goal, held_out, seed, registry)
    study = optuna.create_study(
        storage=_storage(optuna, folder, name),
        study_name=name,
        directions=["maximize", "minimize"] if goal.both else ["maximize"],
        load_if_exists=True,
    )
    _close_open(optuna, study)
    for number in range(len(_done(optuna, study)), trials):
        study.sampler = optuna.samplers.TPESampler(seed=_seed(seed, number))
        trial = study.ask()
        settings = space.suggest(trial)
        point = _point(number, settings, strategy, fit, registry)
        if point is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_user_attr("accuracy", point.accuracy)
            trial.set_user_attr("tokens", point.tokens)
            study.tell(trial, list(goal.values(point.accuracy, point.tokens)))
        if heard is not None:
            heard(number, point)
    return _judge(optuna, study, goal, strategy, registry, plain_fit, plain_held)


def _storage(optuna: Any, folder: Path | None, name: str) -> Any:
    if folder is None:
        return None
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal
    lock = journal.JournalFileOpenLock(str(place / JOURNAL))
    backend = journal.JournalFileBackend(str(place / JOURNAL), lock_obj=lock)
    return optuna.storages.JournalStorage(backend)


def _close_open(optuna: Any, study: Any) -> None:
    """A trial that an interruption left open is given up: the next one draws what it drew."""
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _done(optuna: Any, study: Any) -> list[Any]:
    """Trials with an answer, refusals included: what the search remembers."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False) if t.state in states]


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _point(
    number: int,
    settings: Mapping[str, Any],
    strategy: Strategy,
    recording: Recording,
    registry: Registry,
) -> Point | None:
    """A configuration's outcome; None where its settings do not go together."""
    try:
        outcome = replay(override(strategy, settings, registry), recording)
        accuracy = task_mean(outcome.score, recording.tasks)
    except ScalingarError:
        return None
    return Point(number, dict(settings), accuracy, _tokens(outcome))


def _tokens(outcome: Replay) -> float:
    return float(outcome.tokens.mean()) / outcome.recording.grid.size


def _judge(
    optuna: Any,
    study: Any,
    goal: Objective,
    strategy: Strategy,
    registry: Registry,
    plain_fit: Replay,
    plain_held: Replay,
) -> Tuned:
    finished = optuna.trial.TrialState.COMPLETE
    whole = _done(optuna, study)
    points = [
        Point(number, dict(t.params), t.user_attrs["accuracy"], t.user_attrs["tokens"])
        for number, t in enumerate(whole)
        if t.state == finished
    ]
    if not points:
        raise ScalingarError("Every trial was refused: no settings in the space go together.")
    fit, held = plain_fit.recording, plain_held.recording
    front = tuple(
        _verdict(p, override(strategy, p.settings, registry), plain_fit, plain_held)
        for p in front_of(points)
    )
    affordable = [
        v for v in front if goal.budget is None or v.point.tokens <= goal.budget
    ] or front[:1]
    untuned = Point(-1, {}, task_mean(plain_fit.score, fit.tasks), _tokens(plain_fit))
    return Tuned(
        study=study.study_name,
        trials=len(whole),
        refused=len(whole) - len(points),
        fit_prompts=len(fit),
        held_prompts=len(held),
        untuned=(
            untuned,
            estimate(plain_held.score, held.tasks, held.clusters),
            _tokens(plain_held),
        ),
        front=front,
        best=max(affordable, key=lambda v: (v.point.accuracy, -v.point.tokens)),
    )


def _verdict(point: Point, tuned: Strategy, plain_fit: Replay, plain_held: Replay) -> Verdict:
    fit, held = plain_fit.recording, plain_held.recording
    on_fit, on_held = replay(tuned, fit), replay(tuned, held)
    return Verdict(
        point=point,
        accuracy=estimate(on_held.score, held.tasks, held.clusters),
        tokens=_tokens(on_held),
        fit_gain=estimate_difference(on_fit.score - plain_fit.score, fit.tasks, fit.clusters),
        held_gain=estimate_difference(on_held.score - plain_held.score, held.tasks, held.clusters),
    )
