"""What replay may claim: a strategy is replayed only where it would have sampled the same tokens.

Under keyed noise a candidate's tokens follow from its own history. So whatever only decides who
stays and who is chosen can be replayed exactly, and whatever reaches the logits, the noise or the
rows' parentage cannot. There are no approximate replays: what is refused here has other tokens,
of which a recording knows nothing.
"""

from __future__ import annotations

from typing import Any

from scalingar_analysis.recordings.recording import Recording
from scalingar_fw.decoding.strategy import ConstantGuidance, Multinomial, Strategy
from scalingar_fw.errors import ScalingarError


class Absent:
    """In place of what a recording does not hold: whoever touches it is told so."""

    def __init__(self, what: str) -> None:
        self._what = what

    def _refuse(self) -> ScalingarError:
        return ScalingarError(
            f"This strategy cannot be replayed: it reads {self._what}, which no recording holds. "
            "Decode it, or choose a component that reads the recorded signals."
        )

    def __getattr__(self, name: str) -> Any:
        raise self._refuse()

    def __getitem__(self, key: Any) -> Any:
        raise self._refuse()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._refuse()

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        raise next(a for a in given if isinstance(a, Absent))._refuse()


def check_replayable(strategy: Strategy, recording: Recording) -> None:
    """Raise `ScalingarError`, with the reason and the way out, unless replay would be exact."""
    refused = f"Strategy {strategy.name!r} cannot be replayed on {recording.source}: "
    recorded = recording.strategy
    if recorded is None:
        raise ScalingarError(
            f"{refused}what it was recorded under is not known, so its tokens may be another "
            "schedule's or sampler's."
        )
    _check_sampler(strategy, recorded, refused)
    _check_guidance(strategy, recorded, refused)
    mine, theirs = (s.confidence.distribution for s in (strategy, recorded))
    if mine != theirs:
        raise ScalingarError(
            f"{refused}its estimator reads the {mine} distribution's entropy and margin, and the "
            f"{theirs} one's were recorded. Record with --set confidence.distribution={mine}."
        )


def _check_sampler(strategy: Strategy, recorded: Strategy, refused: str) -> None:
    mine = type(strategy.sampler).__name__
    if strategy.sampler.scope != "row":
        raise ScalingarError(
            f"{refused}its sampler {mine} forks, resamples or shares noise between candidates, so "
            "which tokens follow depends on who is left. Decode it instead."
        )
    if strategy.sampler != recorded.sampler or recorded.sampler.scope != "row":
        way_out = (
            "add --set sampler=multinomial"
            if isinstance(recorded.sampler, Multinomial)
            else "record with this sampler"
        )
        raise ScalingarError(
            f"{refused}its sampler {mine} draws other tokens than the recorded "
            f"{type(recorded.sampler).__name__} (temperature and truncation are the recording's). "
            f"To replay what is left, {way_out}."
        )


def _check_guidance(strategy: Strategy, recorded: Strategy, refused: str) -> None:
    constant = isinstance(strategy.guidance, ConstantGuidance)
    if constant and isinstance(recorded.guidance, ConstantGuidance):
        return
    name = type(strategy.guidance).__name__
    same = strategy.guidance == recorded.guidance and strategy.confidence == recorded.confidence
    alone = strategy.guidance.scope == strategy.confidence.scope == "row"
    if same and alone:
        return  # each row's scale follows from its own history, as it was recorded
    if same:
        why = (
            f"{name} follows a confidence that looks at the other live candidates: whoever is "
            "ended changes the scale, and so the tokens, of those who stay"
        )
    elif constant:
        why = f"it was recorded under {type(recorded.guidance).__name__}, and this one is constant"
    else:
        why = (
            f"its schedule {name}, fed by {type(strategy.confidence).__name__}, asks for other "
            "scales than were recorded, and another scale gives other tokens"
        )
    if isinstance(recorded.guidance, ConstantGuidance):
        way_out = "Add --set guidance=constant to replay what is left, exactly."
    else:
        way_out = "Record with the same confidence and guidance (scalingar record --strategy ...)."
    raise ScalingarError(f"{refused}{why}. {way_out}")
