"""Built-in components, models and benchmarks, registered by name as any third party's are.

Everything here is a string: listing imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalingar_fw.hookspecs import hookimpl

if TYPE_CHECKING:
    from scalingar_fw.registry import Registry

_CORE = "scalingar_fw.strategy:"
_HERE = "scalingar_plugins."


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
    add("guidance", "constant", _CORE + "ConstantGuidance", "s_t = s_base")
    add(
        "guidance",
        "adaptive",
        _HERE + "guidance.adaptive:AdaptiveGuidance",
        "s_t from drift, volatility and rebound (eq. 10)",
    )
    add("termination", "never", _CORE + "NeverTerminate", "every candidate is decoded to its end")
    add(
        "termination",
        "quantile",
        _HERE + "termination.quantile:QuantileTermination",
        "adaptive threshold with a recovery window (eq. 9)",
    )
    add("sampler", "multinomial", _CORE + "Multinomial", "draw from the guided distribution")
    add("selector", "first", _CORE + "FirstCandidate", "the first candidate: nothing is selected")
    add("selector", "final-confidence", _CORE + "FinalConfidence", "the highest C_T")
    add(
        "model",
        "shapes",
        _HERE + "models.shapes.adapter:load",
        "embedded: 48 x 48 scenes of coloured shapes, 144 tokens; works offline on a CPU",
    )
    add(
        "benchmark",
        "shapes",
        _HERE + "benchmarks.shapes:ShapesBenchmark",
        "the embedded domain's splits, scored exactly",
    )
