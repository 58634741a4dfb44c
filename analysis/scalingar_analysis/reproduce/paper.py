"""What the ScalingAR paper reports (arXiv 2509.26376, v3): facts to compare with, never computed
with.

Absolute accuracies of other models on other benchmarks say nothing about ours, so comparisons are
by ratios: a change relative to the base, to the full method, or to best-of-n.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen
class Reported:
    """One model on one benchmark, overall scores by strategy; `base` among them."""

    model: str
    benchmark: str
    scores: Mapping[str, float]

    def change(self, strategy: str) -> float | None:
        """Relative to the base; None where the paper gives no score."""
        if strategy not in self.scores:
            return None
        return self.scores[strategy] / self.scores["base"] - 1

    @property
    def name(self) -> str:
        return f"{self.model}, {self.benchmark}"


#: Table 1 and its companions: N = 8, importance sampling and best-of-n by ImageReward.
OVERALL = (
    Reported(
        "LlamaGen",
        "GenEval",
        {"base": 0.32, "importance-sampling": 0.14, "best-of-n": 0.15, "scalingar": 0.36},
    ),
    Reported(
        "AR-GRPO",
        "GenEval",
        {"base": 0.31, "importance-sampling": 0.44, "best-of-n": 0.44, "scalingar": 0.49},
    ),
    Reported("SimpleAR", "GenEval", {"base": 0.63, "scalingar": 0.67}),
    Reported("Janus-Pro", "GenEval", {"base": 0.73, "scalingar": 0.77}),
    Reported(
        "LlamaGen",
        "TIIF-Bench",
        {"base": 40.35, "importance-sampling": 42.44, "best-of-n": 42.02, "scalingar": 46.47},
    ),
    Reported(
        "AR-GRPO",
        "TIIF-Bench",
        {"base": 16.22, "importance-sampling": 19.84, "best-of-n": 21.08, "scalingar": 26.35},
    ),
)

#: Ablations (Tables 2 and 4), TIIF-Bench overall, LlamaGen; rounded as in the paper's tables.
ABLATION = Reported(
    "LlamaGen",
    "TIIF-Bench",
    {
        "scalingar": 46.5,
        "scalingar-without-drift": 45.1,
        "scalingar-without-blocks": 44.2,
        "scalingar-without-token": 40.4,
        "scalingar-termination": 45.1,
        "scalingar-scheduler": 43.8,
        "base": 40.4,
    },
)


def ablated(strategy: str) -> float | None:
    """The paper's score without a part relative to the full method; None where it gives none."""
    if strategy not in ABLATION.scores:
        return None
    return ABLATION.scores[strategy] / ABLATION.scores["scalingar"] - 1


@frozen
class Cost:
    """Table 5: GenEval, one H200, N = 8, T = 1024."""

    seconds_per_step: float
    seconds_per_image: float
    tokens: int
    gigabytes: float


COSTS = {
    "base": Cost(0.024, 24.93, 1024, 6.44),
    "best-of-n": Cost(0.025, 218.44, 8192, 48.72),
    "scalingar": Cost(0.029, 69.56, 2350, 18.16),
}

#: The values that the paper finds best (Figures 9 to 11), by the setting's name here.
BEST = {
    "termination.quantile": "0.2",
    "termination.recovery_threshold": "0.05",
    "w_I / w_D": "0.75 / 0.25",
    "w_tok / w_blk": "0.65 / 0.35",
}

#: "Impossible prompts" (IPV-TXT) hurt ScalingAR so much less than the base.
ROBUSTNESS = 0.26
