"""Built-in components, models and benchmarks, registered by name as any third party's are.

Everything here is a string: listing imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

_CORE = "scalingar_fw.decoding.strategy:"
_HERE = "scalingar_plugins."


#: Real models: name, loader, summary. Each needs its weights (`scalingar models info NAME`).
_MODELS = (
    ("llamagen-c2i-b-256", "llamagen.load:c2i_b_256", "LlamaGen-B, ImageNet classes, 256 px"),
    ("llamagen-c2i-b-384", "llamagen.load:c2i_b_384", "LlamaGen-B, ImageNet classes, 384 px"),
    ("llamagen-c2i-l-256", "llamagen.load:c2i_l_256", "LlamaGen-L, ImageNet classes, 256 px"),
    ("llamagen-c2i-l-384", "llamagen.load:c2i_l_384", "LlamaGen-L, ImageNet classes, 384 px"),
    ("llamagen-c2i-xl-384", "llamagen.load:c2i_xl_384", "LlamaGen-XL, ImageNet classes, 384 px"),
    ("llamagen-c2i-xxl-384", "llamagen.load:c2i_xxl_384", "LlamaGen-XXL, ImageNet classes, 384 px"),
    ("llamagen-c2i-3b-384", "llamagen.load:c2i_3b_384", "LlamaGen-3B, ImageNet classes, 384 px"),
    ("llamagen-t2i-256", "llamagen.load:t2i_256", "LlamaGen-XL, text to image, 256 px (stage 1)"),
    ("llamagen-t2i-512", "llamagen.load:t2i_512", "LlamaGen-XL, text to image, 512 px (stage 2)"),
    ("llamagen-c2i", "llamagen.load:c2i", "any class-conditional LlamaGen: size, image_size, ..."),
    ("llamagen-t2i", "llamagen.load:t2i", "any text-conditional LlamaGen: size, image_size, ..."),
    ("ar-grpo-t2i-256", "ar_grpo:t2i_256", "AR-GRPO, text to image, 256 px"),
    ("ar-grpo-c2i-b-256", "ar_grpo:c2i_b_256", "AR-GRPO-B, ImageNet classes, 256 px"),
    ("ar-grpo-c2i-b-384", "ar_grpo:c2i_b_384", "AR-GRPO-B, ImageNet classes, 384 px"),
    ("ar-grpo-c2i-l-384", "ar_grpo:c2i_l_384", "AR-GRPO-L, ImageNet classes, 384 px"),
    ("ar-grpo-c2i-xl-384", "ar_grpo:c2i_xl_384", "AR-GRPO-XL, ImageNet classes, 384 px"),
    ("janus-pro-1b", "janus:pro_1b", "Janus-Pro-1B, text to image, 384 px (extra hf)"),
    ("janus-pro-7b", "janus:pro_7b", "Janus-Pro-7B, text to image, 384 px (extra hf)"),
    ("emu3-gen", "emu3:load", "Emu3-Gen, text to image, 720 px (extra hf)"),
    ("simplear-0.5b", "simplear:small", "SimpleAR-0.5B, text to image, 1024 px (extra hf)"),
    ("simplear-1.5b", "simplear:large", "SimpleAR-1.5B, text to image, 1024 px (extra hf)"),
)


@hookimpl
def scalingar_register(registry: Registry) -> None:
    add = registry.add
    add("confidence", "none", _CORE + "NoConfidence", "every candidate is equally good")
    add(
        "confidence",
        "unified",
        _HERE + "confidence.unified:UnifiedConfidence",
        "ScalingAR's C_t: intrinsic channel and prompt channel (section 4.1)",
    )
    add(
        "confidence",
        "intrinsic",
        _HERE + "confidence.intrinsic:IntrinsicConfidence",
        "I_t: token confidence and worst-block stability",
    )
    add(
        "confidence",
        "token",
        _HERE + "confidence.token:TokenConfidence",
        "s_t (eq. 5): EMA of one minus the token's uncertainty",
    )
    add(
        "confidence",
        "worst-block",
        _HERE + "confidence.blocks:WorstBlockStability",
        "B_t (eq. 6): entropy of the worst blocks of the grid",
    )
    add(
        "confidence",
        "drift",
        _HERE + "confidence.drift:PromptDrift",
        "D_t (eq. 7): is the prompt still being listened to?",
    )
    add(
        "confidence",
        "log-prob",
        _HERE + "confidence.likelihood:LogProbConfidence",
        "log-probability of the tokens chosen so far",
    )
    add(
        "confidence",
        "pmi",
        _HERE + "confidence.likelihood:PmiConfidence",
        "pointwise mutual information of the chosen tokens with the prompt",
    )
    add(
        "confidence",
        "surprise",
        _HERE + "confidence.likelihood:SurpriseConfidence",
        "log-probability of the chosen tokens less its expectation",
    )
    add(
        "confidence",
        "entropy",
        _HERE + "confidence.likelihood:EntropyConfidence",
        "1 - H_t: nothing smoothed, nothing fused",
    )
    add(
        "confidence",
        "self-certainty",
        _HERE + "confidence.certainty:SelfCertainty",
        "KL(uniform || p_c), and its record for the reward",
    )
    add(
        "confidence",
        "top-token",
        _HERE + "confidence.certainty:TopTokenConfidence",
        "DeepConf's token confidence, and its record",
    )
    add("guidance", "constant", _CORE + "ConstantGuidance", "s_t = s_base")
    add(
        "guidance",
        "adaptive",
        _HERE + "guidance.adaptive:AdaptiveGuidance",
        "s_t from drift, volatility and rebound (eq. 10)",
    )
    add(
        "guidance",
        "linear",
        _HERE + "guidance.schedules:LinearGuidance",
        "in a straight line from one scale to another",
    )
    add("guidance", "cosine", _HERE + "guidance.schedules:CosineGuidance", "along a half cosine")
    add(
        "guidance",
        "interval",
        _HERE + "guidance.schedules:IntervalGuidance",
        "off after a step (LlamaGen's cfg_interval)",
    )
    add(
        "guidance",
        "entropy",
        _HERE + "guidance.schedules:EntropyGuidance",
        "stronger where the model is unsure",
    )
    add("termination", "never", _CORE + "NeverTerminate", "every candidate is decoded to its end")
    add(
        "termination",
        "quantile",
        _HERE + "termination.quantile:QuantileTermination",
        "adaptive threshold with a recovery window (eq. 9)",
    )
    add(
        "termination",
        "successive-halving",
        _HERE + "termination.halving:SuccessiveHalving",
        "successive halving: at a few fixed steps only the best share goes on",
    )
    add(
        "termination",
        "warmup",
        _HERE + "termination.wrappers:Warmup",
        "a policy that ends nobody in the first steps",
    )
    add(
        "termination",
        "every-steps",
        _HERE + "termination.wrappers:EverySteps",
        "a policy whose verdicts count every k steps",
    )
    add(
        "termination",
        "recovery-window",
        _HERE + "termination.wrappers:RecoveryWindow",
        "a policy that gives a second chance",
    )
    add(
        "termination",
        "patience",
        _HERE + "termination.wrappers:Patience",
        "a policy that must insist k steps in a row",
    )
    add(
        "termination",
        "min-survivors",
        _HERE + "termination.wrappers:MinSurvivors",
        "a policy that always leaves some",
    )
    add(
        "termination",
        "token-budget",
        _HERE + "termination.wrappers:TokenBudget",
        "a policy under a hard cap on tokens",
    )
    add("sampler", "multinomial", _CORE + "Multinomial", "draw from the guided distribution")
    add(
        "sampler",
        "global-multinomial",
        _HERE + "models.global_rng:GlobalMultinomial",
        "one random stream for all rows, as official scripts draw (for exact reproduction)",
    )
    add(
        "sampler",
        "min-p",
        _HERE + "samplers.truncation:MinP",
        "drop what is unlikely beside the most likely token",
    )
    add(
        "sampler",
        "entropy-temperature",
        _HERE + "samplers.truncation:EntropyTemperature",
        "a temperature that follows the entropy",
    )
    add(
        "sampler",
        "smc",
        _HERE + "samplers.smc:ParticleSampler",
        "particles, resampled by a potential",
    )
    add(
        "sampler",
        "beam",
        _HERE + "samplers.beam:BeamSampler",
        "beam search over guided log-probabilities",
    )
    add(
        "sampler",
        "diverse-beam",
        _HERE + "samplers.beam:DiverseBeamSampler",
        "groups of beams with a diversity penalty",
    )
    add(
        "sampler",
        "confidence-beam",
        _HERE + "samplers.confidence_beam:ConfidenceBeamSampler",
        "fork the most confident every k steps",
    )
    add("selector", "first", _CORE + "FirstCandidate", "the first candidate: nothing is selected")
    add("selector", "final-confidence", _CORE + "FinalConfidence", "the highest C_T")
    add("selector", "best-reward", _HERE + "selectors.rewarded:BestReward", "the highest reward")
    add(
        "selector",
        "reward-draw",
        _HERE + "selectors.rewarded:RewardDraw",
        "drawn by exp(reward / tau): importance sampling",
    )
    add(
        "selector",
        "weight-draw",
        _HERE + "selectors.rewarded:WeightDraw",
        "drawn by the weight that smc gathered",
    )
    add(
        "reward",
        "mean-log-prob",
        _HERE + "rewards.likelihood:MeanLogProb",
        "mean log-probability of the tokens",
    )
    add(
        "reward",
        "lowest-window-log-prob",
        _HERE + "rewards.likelihood:LowestWindowLogProb",
        "the worst window's mean log-probability",
    )
    add(
        "reward",
        "summed-pmi",
        _HERE + "rewards.likelihood:SummedPmi",
        "summed pointwise mutual information with the prompt",
    )
    add(
        "reward",
        "self-certainty",
        _HERE + "rewards.likelihood:SelfCertaintyReward",
        "mean KL(uniform || p_c)",
    )
    add(
        "reward",
        "final-signal",
        _HERE + "rewards.confidence:FinalSignal",
        "the last value of a recorded signal, such as C_T",
    )
    add(
        "reward",
        "mean-signal",
        _HERE + "rewards.confidence:MeanSignal",
        "the mean of a recorded signal, such as C",
    )
    add(
        "reward",
        "lowest-group",
        _HERE + "rewards.confidence:LowestGroupConfidence",
        "DeepConf: the least confident group of tokens",
    )
    add(
        "reward",
        "tail",
        _HERE + "rewards.confidence:TailConfidence",
        "DeepConf: the confidence of the last tokens",
    )
    add("reward", "image", _HERE + "rewards.images:ImageReward", "an external image reward model")
    for name, cls, summary in (
        ("clipscore", "ClipScore", "CLIPScore of image and prompt (extra rewards)"),
        ("pickscore", "PickScore", "PickScore: people's choices (extra rewards)"),
        ("siglip", "SiglipScore", "SigLIP's probability that they match (extra rewards)"),
        ("vqascore", "VQAScore", 'the probability of "Yes, it shows that" (extra rewards)'),
    ):
        add("reward", name, _HERE + "rewards.text_image:" + cls, summary)
    add(
        "reward",
        "prompt-contrast",
        _HERE + "rewards.contrast:PromptContrast",
        "likelihood, and the posterior of the prompt among prompts that differ in a word",
    )
    add(
        "reward",
        "shapes-scorer",
        _HERE + "rewards.shapes_scorer:ShapesScorer",
        "the embedded world's small trained reward model, as CLIPScore is for photographs",
    )
    add(
        "reward",
        "oracle",
        _HERE + "rewards.images:OracleReward",
        "the benchmark's own judge: an upper bound, no method",
    )
    add(
        "model",
        "shapes",
        _HERE + "models.shapes.adapter:load",
        "embedded: 48 x 48 scenes of coloured shapes, 64 tokens; works offline on a CPU",
    )
    for name, loader, summary in _MODELS:
        add("model", name, _HERE + "models." + loader, summary)
    add(
        "command",
        "models",
        _HERE + "models.commands:models",
        "What a model needs, fetching its weights, and whether they are in order.",
    )
    add(
        "command",
        "doctor",
        _HERE + "models.doctor:doctor",
        "What this machine has, and which models fit on it.",
    )
    add(
        "benchmark",
        "shapes",
        _HERE + "benchmarks.shapes:ShapesBenchmark",
        "the embedded domain's splits, scored exactly",
    )
    add(
        "benchmark",
        "shapes-instructions",
        _HERE + "benchmarks.shapes:ShapesInstructions",
        "the embedded domain's instructions, basic and advanced, short and long, scored exactly",
    )
    add(
        "benchmark",
        "prompts",
        _HERE + "benchmarks.prompt_file:PromptFileBenchmark",
        "your own list of prompts: --benchmark FILE (JSON Lines, CSV, Parquet, text), or a dataset",
    )
    add(
        "benchmark",
        "geneval",
        _HERE + "benchmarks.geneval:GenEvalBenchmark",
        "GenEval's 553 prompts in six tasks (own scorer: extra geneval; or the official evaluator)",
    )
    add(
        "benchmark",
        "tiif",
        _HERE + "benchmarks.tiif:TIIFBenchmark",
        "TIIF-Bench from your copy, judged by its official evaluator",
    )
    add(
        "benchmark",
        "ipv-txt",
        _HERE + "benchmarks.ipv_txt:IPVTxtBenchmark",
        "IPV-Txt's impossible prompts from your copy, judged by people",
    )
