"""Beam search: the most likely image that a search of width N finds, under the guided distribution.

All images have T tokens, so scores are summed log-probabilities, never normalised by length.
Deterministic: the seed, the temperature, top-k and top-p do not matter.
"""

from __future__ import annotations

from scalingar_fw import FinalConfidence, Strategy
from scalingar_plugins.samplers.beam import BeamSampler


def beam() -> Strategy:
    """N beams; each offers as many tokens as there are beams, which loses nothing."""
    return Strategy(
        name="beam", sampler=BeamSampler(), selector=FinalConfidence("score"), default_n=8
    )
