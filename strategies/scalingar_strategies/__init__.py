"""Built-in strategies: a page each, which lists its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw import hookimpl

if TYPE_CHECKING:
    from scalingar_fw import Registry

# fmt: off
#: Name, `module:function` in this package, summary.
TABLE: tuple[tuple[str, str, str], ...] = (
    ("base", "base:base", "one sample of the model, nothing scaled"),
    ("scalingar", "scalingar:scalingar", "ScalingAR (arXiv 2509.26376), with the silent decisions chosen so that it prunes"),
    ("scalingar-literal", "scalingar:scalingar_literal", "ScalingAR as the paper's text reads literally"),
    ("scalingar-plus", "scalingar_plus:scalingar_plus", "one early cut to a pair by mean log-probability: the signal and policy that measured best"),
    ("scalingar-termination", "variants:scalingar_termination", "ScalingAR without its guidance scheduler"),
    ("scalingar-scheduler", "variants:scalingar_scheduler", "ScalingAR without its termination"),
    ("scalingar-without-drift", "variants:scalingar_without_drift", "ScalingAR without the conditional channel"),
    ("scalingar-without-intrinsic", "variants:scalingar_without_intrinsic", "ScalingAR without the intrinsic channel"),
    ("scalingar-without-blocks", "variants:scalingar_without_blocks", "ScalingAR without worst-block stability"),
    ("scalingar-without-token", "variants:scalingar_without_token", "ScalingAR without token confidence"),
    ("best-of-n", "best_of_n:best_of_n", "N candidates, the highest mean log-probability"),
    ("best-of-n-self-certainty", "best_of_n:best_of_n_self_certainty", "N candidates, the highest self-certainty"),
    ("best-of-n-deepconf", "best_of_n:best_of_n_deepconf", "N candidates, the best worst group (DeepConf)"),
    ("best-of-n-contrast", "contrast:best_of_n_contrast", "N candidates, the one that fits its prompt and no other like it"),
    ("best-of-n-oracle", "best_of_n:best_of_n_oracle", "oracle: pass@N by the benchmark's judge"),
    ("importance-sampling", "importance_sampling:importance_sampling", "N candidates, one drawn by its weight"),
    ("smc", "smc:smc", "particles that are resampled during decoding"),
    ("beam", "beam:beam", "beam search over guided log-probabilities"),
    ("diverse-beam", "diverse_beam:diverse_beam", "groups of beams that keep away from one another"),
    ("confidence-beam", "confidence_beam:confidence_beam", "the most confident histories, forked every k steps"),
    ("guidance-linear", "guidance_baselines:guidance_linear", "one candidate, guidance rising in a straight line"),
    ("guidance-cosine", "guidance_baselines:guidance_cosine", "one candidate, guidance rising along a cosine"),
    ("guidance-interval", "guidance_baselines:guidance_interval", "one candidate, guidance off after half the tokens"),
    ("guidance-entropy", "guidance_baselines:guidance_entropy", "one candidate, guidance by entropy"),
)
# fmt: on


@hookimpl
def scalingar_register(registry: Registry) -> None:
    for name, target, summary in TABLE:
        registry.add("strategy", name, f"{__name__}.{target}", summary)
