"""Built-in components, models and benchmarks, registered by name as any third party's are.

The tables below are all there is to it: a line for each thing, its name, where it is, and a summary.
Everything here is a string, so that listing imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

# A line for each component, however long: that is what makes it a table.
# fmt: off

#: By kind: name, `module:attribute` in this package (or in the core, where it says so), summary.
TABLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "confidence": (
        ("none", "scalingar_fw.decoding.strategy:NoConfidence", "every candidate is equally good"),
        ("unified", "confidence.unified:UnifiedConfidence", "ScalingAR's C_t: intrinsic channel and prompt channel (section 4.1)"),
        ("intrinsic", "confidence.intrinsic:IntrinsicConfidence", "I_t: token confidence and worst-block stability"),
        ("token", "confidence.token:TokenConfidence", "s_t (eq. 5): EMA of one minus the token's uncertainty"),
        ("worst-block", "confidence.blocks:WorstBlockStability", "B_t (eq. 6): entropy of the worst blocks of the grid"),
        ("drift", "confidence.drift:PromptDrift", "D_t (eq. 7): is the prompt still being listened to?"),
        ("log-prob", "confidence.likelihood:LogProbConfidence", "log-probability of the tokens chosen so far"),
        ("pmi", "confidence.likelihood:PmiConfidence", "pointwise mutual information of the chosen tokens with the prompt"),
        ("surprise", "confidence.likelihood:SurpriseConfidence", "log-probability of the chosen tokens less its expectation"),
        ("entropy", "confidence.likelihood:EntropyConfidence", "1 - H_t: nothing smoothed, nothing fused"),
        ("self-certainty", "confidence.certainty:SelfCertainty", "KL(uniform || p_c), and its record for the reward"),
        ("top-token", "confidence.certainty:TopTokenConfidence", "DeepConf's token confidence, and its record"),
    ),
    "guidance": (
        ("constant", "scalingar_fw.decoding.strategy:ConstantGuidance", "s_t = s_base"),
        ("adaptive", "guidance.adaptive:AdaptiveGuidance", "s_t from drift, volatility and rebound (eq. 10)"),
        ("linear", "guidance.schedules:LinearGuidance", "in a straight line from one scale to another"),
        ("cosine", "guidance.schedules:CosineGuidance", "along a half cosine"),
        ("interval", "guidance.schedules:IntervalGuidance", "off after a step (LlamaGen's cfg_interval)"),
        ("entropy", "guidance.schedules:EntropyGuidance", "stronger where the model is unsure"),
    ),
    "termination": (
        ("never", "scalingar_fw.decoding.strategy:NeverTerminate", "every candidate is decoded to its end"),
        ("quantile", "termination.quantile:QuantileTermination", "adaptive threshold with a recovery window (eq. 9)"),
        ("successive-halving", "termination.halving:SuccessiveHalving", "successive halving: at a few fixed steps only the best share goes on"),
        ("warmup", "termination.wrappers:Warmup", "a policy that ends nobody in the first steps"),
        ("every-steps", "termination.wrappers:EverySteps", "a policy whose verdicts count every k steps"),
        ("recovery-window", "termination.wrappers:RecoveryWindow", "a policy that gives a second chance"),
        ("patience", "termination.wrappers:Patience", "a policy that must insist k steps in a row"),
        ("min-survivors", "termination.wrappers:MinSurvivors", "a policy that always leaves some"),
        ("token-budget", "termination.wrappers:TokenBudget", "a policy under a hard cap on tokens"),
    ),
    "sampler": (
        ("multinomial", "scalingar_fw.decoding.strategy:Multinomial", "draw from the guided distribution"),
        ("global-multinomial", "models.global_rng:GlobalMultinomial", "one random stream for all rows, as official scripts draw (for exact reproduction)"),
        ("min-p", "samplers.truncation:MinP", "drop what is unlikely beside the most likely token"),
        ("entropy-temperature", "samplers.truncation:EntropyTemperature", "a temperature that follows the entropy"),
        ("smc", "samplers.smc:ParticleSampler", "particles, resampled by a potential"),
        ("beam", "samplers.beam:BeamSampler", "beam search over guided log-probabilities"),
        ("diverse-beam", "samplers.beam:DiverseBeamSampler", "groups of beams with a diversity penalty"),
        ("confidence-beam", "samplers.confidence_beam:ConfidenceBeamSampler", "fork the most confident every k steps"),
    ),
    "selector": (
        ("first", "scalingar_fw.decoding.strategy:FirstCandidate", "the first candidate: nothing is selected"),
        ("final-confidence", "scalingar_fw.decoding.strategy:FinalConfidence", "the highest C_T"),
        ("best-reward", "selectors.rewarded:BestReward", "the highest reward"),
        ("reward-draw", "selectors.rewarded:RewardDraw", "drawn by exp(reward / tau): importance sampling"),
        ("weight-draw", "selectors.rewarded:WeightDraw", "drawn by the weight that smc gathered"),
    ),
    "reward": (
        ("mean-log-prob", "rewards.likelihood:MeanLogProb", "mean log-probability of the tokens"),
        ("lowest-window-log-prob", "rewards.likelihood:LowestWindowLogProb", "the worst window's mean log-probability"),
        ("summed-pmi", "rewards.likelihood:SummedPmi", "summed pointwise mutual information with the prompt"),
        ("self-certainty", "rewards.likelihood:SelfCertaintyReward", "mean KL(uniform || p_c)"),
        ("final-signal", "rewards.confidence:FinalSignal", "the last value of a recorded signal, such as C_T"),
        ("mean-signal", "rewards.confidence:MeanSignal", "the mean of a recorded signal, such as C"),
        ("lowest-group", "rewards.confidence:LowestGroupConfidence", "DeepConf: the least confident group of tokens"),
        ("tail", "rewards.confidence:TailConfidence", "DeepConf: the confidence of the last tokens"),
        ("image", "rewards.images:ImageReward", "an external image reward model"),
        ("clipscore", "rewards.text_image:ClipScore", "CLIPScore of image and prompt (extra rewards)"),
        ("pickscore", "rewards.text_image:PickScore", "PickScore: people's choices (extra rewards)"),
        ("siglip", "rewards.text_image:SiglipScore", "SigLIP's probability that they match (extra rewards)"),
        ("vqascore", "rewards.text_image:VQAScore", 'the probability of "Yes, it shows that" (extra rewards)'),
        ("prompt-contrast", "rewards.contrast:PromptContrast", "likelihood, and the posterior of the prompt among prompts that differ in a word"),
        ("shapes-scorer", "rewards.shapes_scorer:ShapesScorer", "the embedded world's small trained reward model, as CLIPScore is for photographs"),
        ("oracle", "rewards.images:OracleReward", "the benchmark's own judge: an upper bound, no method"),
    ),
    "model": (
        ("shapes", "models.shapes.adapter:load", "embedded: 48 x 48 scenes of coloured shapes, 64 tokens; works offline on a CPU"),
    ),
    "command": (
        ("models", "models.commands:models", "What a model needs, fetching its weights, and whether they are in order."),
        ("doctor", "models.doctor:doctor", "What this machine has, and which models fit on it."),
    ),
    "benchmark": (
        ("shapes", "benchmarks.shapes:ShapesBenchmark", "the embedded domain's splits, scored exactly"),
        ("shapes-instructions", "benchmarks.shapes:ShapesInstructions", "the embedded domain's instructions, basic and advanced, short and long, scored exactly"),
        ("prompts", "benchmarks.prompt_file:PromptFileBenchmark", "your own list of prompts: --benchmark FILE (JSON Lines, CSV, Parquet, text), or a dataset"),
        ("geneval", "benchmarks.geneval:GenEvalBenchmark", "GenEval's 553 prompts in six tasks (own scorer: extra geneval; or the official evaluator)"),
        ("tiif", "benchmarks.tiif:TIIFBenchmark", "TIIF-Bench from your copy, judged by its official evaluator"),
        ("ipv-txt", "benchmarks.ipv_txt:IPVTxtBenchmark", "IPV-Txt's impossible prompts from your copy, judged by people"),
    ),
}

#: Real models: name, loader, summary. Each needs its weights (`scalingar models info NAME`).
MODELS = (
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
    ("anole-7b", "chameleon:anole", "Anole-7B (Chameleon), text to image, 512 px (extra hf)"),
    ("lumina-mgpt-7b-512", "chameleon:lumina_512", "Lumina-mGPT-7B, text to image, 512 px (extra hf)"),
    ("lumina-mgpt-7b-768", "chameleon:lumina_768", "Lumina-mGPT-7B, text to image, 768 px (extra hf)"),
    ("lumina-mgpt-7b-1024", "chameleon:lumina_1024", "Lumina-mGPT-7B, text to image, 1024 px (extra hf)"),
    ("liquid-7b", "hf_causal:liquid_7b", "Liquid-7B, text to image, 512 px (extra hf)"),
    ("hf-causal", "hf_causal:load", "any causal model of transformers with image codes, by a YAML description (extra hf)"),
    ("simplear-0.5b", "simplear:small", "SimpleAR-0.5B, text to image, 1024 px (extra hf)"),
    ("simplear-1.5b", "simplear:large", "SimpleAR-1.5B, text to image, 1024 px (extra hf)"),
)
# fmt: on


@hookimpl
def scalingar_register(registry: Registry) -> None:
    for kind, rows in TABLE.items():
        for name, target, summary in rows:
            home = "" if target.startswith("scalingar_fw.") else f"{__name__}."
            registry.add(kind, name, home + target, summary)
    for name, loader, summary in MODELS:
        registry.add("model", name, f"{__name__}.models.{loader}", summary)
