"""The model as its own judge: does the picture fit its prompt better than prompts like it?

A single log-likelihood is mostly about what no prompt asks for (tint, texture, place). Bayes' rule
over prompts leaves that out: with equal priors, the posterior of the prompt y given the picture x
among y and its alternatives y' is p(x | y) / sum p(x | y'), a generative classifier. It takes no
training, no reward model and no decoded image: one pass over the finished tokens for each y'.
"""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen

from scalingar_fw.decoding.alternatives import alternatives
from scalingar_fw.decoding.components import Pool, Reward
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.rewards.windows import recorded

KINDS = ("exchange", "substitute", "reorder")


@frozen
class PromptContrast(Reward):
    """log p(x | y) + weight x log posterior of y among its alternatives, in nats."""

    weight: float = param(
        8.0,
        "nats of likelihood that a nat of posterior is worth; 0 is the likelihood alone",
        source="docs/decisions.md: the contrast",
        ge=0.0,
    )
    others: str = param(
        "substitute",
        "which other prompts: words exchanged, words replaced within their class, words reordered",
        source="docs/decisions.md: the contrast",
        choices=KINDS,
    )
    most: int = param(
        16, "alternatives of a prompt, at most", source="docs/decisions.md: the contrast", ge=1
    )
    finalists: int = param(
        2,
        "candidates with the highest likelihood that are contrasted; the rest rank below them",
        source="docs/decisions.md: the contrast",
        ge=1,
    )

    def score(self, pool: Pool) -> Array:
        own = np.array(
            [recorded(t, "log_prob_cond").astype(np.float64).sum() for t in pool.candidates]
        )
        texts = self._alternatives(pool)
        if not texts or self.weight == 0.0 or len(pool.candidates) == 1:
            return own
        order = sorted(range(len(own)), key=lambda i: (-own[i], pool.candidates[i].candidate))
        chosen = order[: self.finalists]
        read = pool.log_probs(texts, [pool.candidates[i] for i in chosen]).sum(-1)  # [M, K]
        both = np.concatenate([own[chosen][None], read])
        posterior = own[chosen] - np.logaddexp.reduce(both, axis=0)
        scores = own.copy()
        scores[chosen] += self.weight * posterior
        rest = order[self.finalists :]
        if rest:  # a candidate that was not looked at never beats one that was
            scores[rest] += min(0.0, float(scores[chosen].min() - own[rest].max()) - 1.0)
        found: Array = scores
        return found

    def _alternatives(self, pool: Pool) -> list[Prompt]:
        if not pool.prompt.text:
            raise ScalingarError(
                "The reward 'prompt-contrast' needs a prompt in words; this one names a class. "
                "Choose another reward: --set selector.reward=mean-log-prob."
            )
        texts = alternatives(pool.prompt.text, pool.word_classes, self.others, self.most)
        return [evolve(pool.prompt, text=text) for text in texts]
