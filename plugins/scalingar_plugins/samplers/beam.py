"""Beam search: which continuations of which histories are most likely, in all prompts at once.

A prompt's rows are its beams. Each step offers the best tokens of each beam, keeps the best of
all offers, and forks or drops rows accordingly; the loop moves tokens, memory and KV cache with
them. Scores are cumulated log-probabilities of the guided distribution, untempered and before
top-k and top-p, over a fixed length T, so there is no length to normalise by.

A beam that a termination policy ends is gone: it is no parent, and its place is not refilled, so
pruning narrows the search and saves tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from scalingar_fw.decoding.components import Context, Sampler, Scope, Step
from scalingar_fw.decoding.confidence import Confidence
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.signals import Guided
from scalingar_fw.decoding.state import Proposal, Rows, candidate_field
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.samplers.lineage import lay_out, slots_by_candidate, unchanged


@frozen(eq=False)
class Beams:
    """Memory of a beam search, `[N]` each.

    `score`: cumulated log-probability. `team`: the row's group of beams (0 in a plain search).
    `width`: how many beams its team may have; `count`: how many it had after the last proposal, so
    that the next one sees how many were ended.
    """

    score: Tensor = candidate_field()
    team: Tensor = candidate_field()
    width: Tensor = candidate_field()
    count: Tensor = candidate_field()


def start_beams(context: Context, width: int | None) -> Beams:
    """One history for each prompt, whatever its number of rows; width None: that number."""
    live = context.rows.live[context.rows.group]
    zero = context.full(0.0)
    score = zero if context.device.type == "mps" else zero.double()
    wide = live if width is None else torch.full_like(live, width)
    return Beams(score, torch.zeros_like(live), wide, live)


def most_beams(context: Context, width: int | None) -> int | None:
    """`Sampler.most_rows` of a search: it is filled at the first step, or, where the vocabulary is
    smaller than its width, over several."""
    wide = int(context.rows.live.max()) if width is None else width
    return wide if wide <= context.vocab_size else None


def best_tokens(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of each row of `[N, V]` and their tokens; ties by token id."""
    ordered, tokens = values.sort(dim=-1, descending=True, stable=True)
    return ordered[:, :count], tokens[:, :count]


def of_teams(values: Tensor, mine: Tensor, rows: Rows) -> Tensor:
    """`[G]`: the value that all rows `mine` of a prompt share; 0 where it has none."""
    out = torch.zeros_like(rows.live)
    return out.scatter_reduce(0, rows.group, values.masked_fill(~mine, 0), "amax")


def room_for(beams: Beams, team: int, groups: int, step: Step) -> tuple[Tensor, Tensor]:
    """Which rows belong to a team `[N]`, and how many beams it may have in each prompt `[G]`."""
    rows = step.rows
    if step.index == 0:  # one history, shared by all teams; the first ones are wider by the rest
        everyone = torch.ones_like(beams.team, dtype=torch.bool)
        width = of_teams(beams.width, everyone, rows)
        return everyone, (width + groups - 1 - team) // groups
    mine = beams.team == team
    live = torch.zeros_like(rows.live).index_add_(0, rows.group, mine.long())
    ended = of_teams(beams.count, mine, rows) - live
    return mine, of_teams(beams.width, mine, rows) - ended


def search(
    beams: Beams,
    log_p: Tensor,
    step: Step,
    *,
    branching: int | None,
    groups: int = 1,
    strength: float = 0.0,
) -> tuple[Proposal, Beams]:
    """One step of a beam search over `log_p [N, V]`, team by team."""
    rows, slots = step.rows, slots_by_candidate(step.rows)
    score, vocab = beams.score, log_p.shape[1]
    taken = torch.zeros(len(slots), vocab if groups > 1 else 0, device=log_p.device)
    parts: list[tuple[Tensor, ...]] = []
    for team in range(groups):
        mine, room = room_for(beams, team, groups, step)
        values = log_p
        if team:
            values = log_p - strength * taken[rows.group]
        # A beam's tokens beyond the room can not be kept, so offering that many loses nothing. The
        # first step has one history only, which offers enough to fill the search.
        most = max(1, int(room.max()))
        offered = most if branching is None or step.index == 0 else branching
        values, tokens = best_tokens(values, offered)
        offers = (score[:, None] + values.to(score.dtype)).masked_fill(~mine[:, None], -math.inf)
        laid = lay_out(offers, slots, -math.inf)
        if step.index == 0:
            laid[:, 1:] = -math.inf  # all rows of a prompt are one history still
        best, place = laid.flatten(1).sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(best.shape[1], device=best.device)
        keep = torch.isfinite(best) & (rank < room[:, None])
        parent = slots.gather(1, place // laid.shape[2])[keep]
        token = tokens[parent, (place % laid.shape[2])[keep]]
        group = rows.group[parent]
        if groups > 1:
            one = torch.ones(len(parent), device=taken.device)
            taken.index_put_((group, token), one, accumulate=True)
        count = torch.zeros_like(rows.live).index_add_(0, group, torch.ones_like(group))
        parts.append((parent, token, torch.full_like(parent, team), room[group], count[group]))
    parent, token, teams, width, counts = (
        torch.cat(columns) for columns in zip(*parts, strict=True)
    )
    total = score[parent] + log_p[parent, token].to(score.dtype)
    if step.index == 0:
        parent = _spread(parent, rows, slots)
    moved = None if unchanged(parent, len(rows)) else parent
    proposal = Proposal(token, parent=moved, trace={"score": total.float()})
    return proposal, Beams(total, teams, width, counts)


def _spread(parent: Tensor, rows: Rows, slots: Tensor) -> Tensor:
    """Before the first token a prompt's rows are one history: its children continue one row each,
    in the order of their ids, as far as there are rows, so that no row is dropped to be forked."""
    group = rows.group[parent]
    by_group = torch.argsort(group, stable=True)
    count = torch.zeros_like(rows.live).index_add_(0, group, torch.ones_like(group))
    starts = count.cumsum(0) - count
    number = torch.empty_like(parent)
    number[by_group] = torch.arange(len(parent), device=parent.device) - starts[group[by_group]]
    own = slots[group, number.clamp_max(slots.shape[1] - 1)]
    return torch.where((number < rows.live[group]), own, parent)


_WIDTH = "beams kept for each prompt; null: as many as candidates (n)"
_BRANCHING = (
    "tokens that each beam offers after the first step, which fills the search; null: as many as "
    "may be kept, which loses nothing"
)

#: What a search does by design (scalingar_fw/testing).
_A_SEARCH = {
    "sampler-seed-matters": "a search draws nothing: it is the same for every seed",
    "sampler-settings-act": "a search keeps several continuations; temperature, top-k and top-p "
    "are settings of drawing",
}


@frozen
class BeamSampler(Sampler[Beams]):
    """Beam search; the run's temperature, top-k and top-p do not apply."""

    scope: ClassVar[Scope] = "cohort"
    expected_failures: ClassVar[Mapping[str, str]] = _A_SEARCH

    width: int | None = param(None, _WIDTH, ge=1, kind=int)
    branching: int | None = param(None, _BRANCHING, ge=1, kind=int)

    def init(self, context: Context) -> Beams:
        return start_beams(context, self.width)

    def most_rows(self, context: Context) -> int | None:
        return most_beams(context, self.width)

    def propose(
        self, state: Beams, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Beams]:
        return search(state, guided.log_probs, step, branching=self.branching)


@frozen
class DiverseBeamSampler(Sampler[Beams]):
    """Groups of beams that search one after the other, each away from what the others chose.

    A token costs a group `strength` nats for every beam of an earlier group that chose it at this
    step (Hamming diversity). The penalty decides which offers are kept; the score that is carried
    on is the log-probability alone. One group is plain beam search.
    """

    scope: ClassVar[Scope] = "cohort"
    expected_failures: ClassVar[Mapping[str, str]] = _A_SEARCH

    groups: int = param(
        4, "groups of beams, equally wide but for the rest", source="arXiv 1610.02424", ge=1
    )
    strength: float = param(
        0.5, "nats that a token chosen before costs", source="arXiv 1610.02424", ge=0.0
    )
    width: int | None = param(None, _WIDTH + ", all groups together", ge=1, kind=int)
    branching: int | None = param(None, _BRANCHING, ge=1, kind=int)

    def init(self, context: Context) -> Beams:
        beams = start_beams(context, self.width)
        narrowest = int(beams.width.min())
        if narrowest < self.groups:
            raise ScalingarError(
                f"groups={self.groups} needs at least as many beams, but the width (n, where none "
                f"is given) is {narrowest}."
            )
        return beams

    def most_rows(self, context: Context) -> int | None:
        return most_beams(context, self.width)

    def propose(
        self, state: Beams, guided: Guided, confidence: Confidence, step: Step, sampling: Sampling
    ) -> tuple[Proposal, Beams]:
        return search(
            state,
            guided.log_probs,
            step,
            branching=self.branching,
            groups=self.groups,
            strength=self.strength,
        )
