"""Sequential Monte Carlo: N particles that are resampled by a potential while they are decoded.

The target is the model's distribution times exp(gain * phi). Here phi is the summed log-probability
under p_c of the tokens so far, so that the target is the model made sharper, p^(1 + gain) for
unguided sampling; any signal of any estimator can take its place (`--set confidence=unified`,
`--set sampler.signal=drift`). The answer is one particle, drawn by its weight;
`--set selector=final-confidence` takes the highest potential.
"""

from __future__ import annotations

from scalingar_fw import Strategy
from scalingar_plugins.confidence.likelihood import LogProbConfidence
from scalingar_plugins.samplers.smc import ParticleSampler
from scalingar_plugins.selectors.rewarded import WeightDraw


def smc() -> Strategy:
    """Systematic resampling below half the effective sample size."""
    return Strategy(
        name="smc",
        confidence=LogProbConfidence(total=True),
        sampler=ParticleSampler(gain=0.1, threshold=0.5, scheme="systematic"),
        selector=WeightDraw(),
        default_n=8,
    )
