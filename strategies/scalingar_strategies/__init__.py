"""Built-in strategies: a page each, which lists its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

_HERE = "scalingar_strategies."


@hookimpl
def scalingar_register(registry: Registry) -> None:
    add = registry.add
    add("strategy", "base", _HERE + "base:base", "one sample of the model, nothing scaled")
    add(
        "strategy",
        "scalingar",
        _HERE + "scalingar:scalingar",
        "ScalingAR (arXiv 2509.26376), with the silent decisions chosen so that it prunes",
    )
    add(
        "strategy",
        "scalingar-literal",
        _HERE + "scalingar:scalingar_literal",
        "ScalingAR as the paper's text reads literally",
    )
    add(
        "strategy",
        "scalingar-plus",
        _HERE + "scalingar_plus:scalingar_plus",
        "one early cut to a pair by mean log-probability: the signal and policy that measured best",
    )
    add(
        "strategy",
        "scalingar-termination",
        _HERE + "variants:scalingar_termination",
        "ScalingAR without its guidance scheduler",
    )
    add(
        "strategy",
        "scalingar-scheduler",
        _HERE + "variants:scalingar_scheduler",
        "ScalingAR without its termination",
    )
    add(
        "strategy",
        "scalingar-without-drift",
        _HERE + "variants:scalingar_without_drift",
        "ScalingAR without the conditional channel",
    )
    add(
        "strategy",
        "scalingar-without-intrinsic",
        _HERE + "variants:scalingar_without_intrinsic",
        "ScalingAR without the intrinsic channel",
    )
    add(
        "strategy",
        "scalingar-without-blocks",
        _HERE + "variants:scalingar_without_blocks",
        "ScalingAR without worst-block stability",
    )
    add(
        "strategy",
        "scalingar-without-token",
        _HERE + "variants:scalingar_without_token",
        "ScalingAR without token confidence",
    )
    add(
        "strategy",
        "best-of-n",
        _HERE + "best_of_n:best_of_n",
        "N candidates, the highest mean log-probability",
    )
    add(
        "strategy",
        "best-of-n-self-certainty",
        _HERE + "best_of_n:best_of_n_self_certainty",
        "N candidates, the highest self-certainty",
    )
    add(
        "strategy",
        "best-of-n-deepconf",
        _HERE + "best_of_n:best_of_n_deepconf",
        "N candidates, the best worst group (DeepConf)",
    )
    add(
        "strategy",
        "best-of-n-contrast",
        _HERE + "contrast:best_of_n_contrast",
        "N candidates, the one that fits its prompt and no other like it",
    )
    add(
        "strategy",
        "best-of-n-oracle",
        _HERE + "best_of_n:best_of_n_oracle",
        "oracle: pass@N by the benchmark's judge",
    )
    add(
        "strategy",
        "importance-sampling",
        _HERE + "importance_sampling:importance_sampling",
        "N candidates, one drawn by its weight",
    )
    add("strategy", "smc", _HERE + "smc:smc", "particles that are resampled during decoding")
    add("strategy", "beam", _HERE + "beam:beam", "beam search over guided log-probabilities")
    add(
        "strategy",
        "diverse-beam",
        _HERE + "diverse_beam:diverse_beam",
        "groups of beams that keep away from one another",
    )
    add(
        "strategy",
        "confidence-beam",
        _HERE + "confidence_beam:confidence_beam",
        "the most confident histories, forked every k steps",
    )
    add(
        "strategy",
        "guidance-linear",
        _HERE + "guidance_baselines:guidance_linear",
        "one candidate, guidance rising in a straight line",
    )
    add(
        "strategy",
        "guidance-cosine",
        _HERE + "guidance_baselines:guidance_cosine",
        "one candidate, guidance rising along a cosine",
    )
    add(
        "strategy",
        "guidance-interval",
        _HERE + "guidance_baselines:guidance_interval",
        "one candidate, guidance off after half the tokens",
    )
    add(
        "strategy",
        "guidance-entropy",
        _HERE + "guidance_baselines:guidance_entropy",
        "one candidate, guidance by entropy",
    )
