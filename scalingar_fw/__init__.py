"""Test-time scaling for autoregressive image models.

    import scalingar_fw as sar

    result = sar.generate("a circle left of a square", n=8, seed=0)
    result.image.show()

Names are imported when they are first used, so `import scalingar_fw` is fast and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalingar_fw.benchmark import Benchmark as Benchmark
    from scalingar_fw.benchmark import Item as Item
    from scalingar_fw.config.run_config import RunConfig as RunConfig
    from scalingar_fw.config.settings import override as override
    from scalingar_fw.decoding.checked import checked as checked
    from scalingar_fw.decoding.components import ConfidenceEstimator as ConfidenceEstimator
    from scalingar_fw.decoding.components import Context as Context
    from scalingar_fw.decoding.components import Guidance as Guidance
    from scalingar_fw.decoding.components import HasSettings as HasSettings
    from scalingar_fw.decoding.components import ModelAdapter as ModelAdapter
    from scalingar_fw.decoding.components import MovesByPieces as MovesByPieces
    from scalingar_fw.decoding.components import Pool as Pool
    from scalingar_fw.decoding.components import Promises as Promises
    from scalingar_fw.decoding.components import ReadsWholeSequences as ReadsWholeSequences
    from scalingar_fw.decoding.components import Reward as Reward
    from scalingar_fw.decoding.components import Sampler as Sampler
    from scalingar_fw.decoding.components import Scope as Scope
    from scalingar_fw.decoding.components import Selector as Selector
    from scalingar_fw.decoding.components import Step as Step
    from scalingar_fw.decoding.components import Termination as Termination
    from scalingar_fw.decoding.components import Verdict as Verdict
    from scalingar_fw.decoding.confidence import Confidence as Confidence
    from scalingar_fw.decoding.events import CandidateEnd as CandidateEnd
    from scalingar_fw.decoding.events import DecodeStart as DecodeStart
    from scalingar_fw.decoding.events import TokenEvent as TokenEvent
    from scalingar_fw.decoding.loop import decode as decode
    from scalingar_fw.decoding.noise import Prompt as Prompt
    from scalingar_fw.decoding.params import param as param
    from scalingar_fw.decoding.params import part as part
    from scalingar_fw.decoding.result import Array as Array
    from scalingar_fw.decoding.result import Decoded as Decoded
    from scalingar_fw.decoding.result import Ledger as Ledger
    from scalingar_fw.decoding.result import Status as Status
    from scalingar_fw.decoding.result import Trajectory as Trajectory
    from scalingar_fw.decoding.sampling import Sampling as Sampling
    from scalingar_fw.decoding.sampling import truncate as truncate
    from scalingar_fw.decoding.signals import Guided as Guided
    from scalingar_fw.decoding.signals import Signals as Signals
    from scalingar_fw.decoding.signals import compute_signals as compute_signals
    from scalingar_fw.decoding.state import Chosen as Chosen
    from scalingar_fw.decoding.state import Grid as Grid
    from scalingar_fw.decoding.state import Logits as Logits
    from scalingar_fw.decoding.state import Proposal as Proposal
    from scalingar_fw.decoding.state import Rows as Rows
    from scalingar_fw.decoding.state import candidate_field as candidate_field
    from scalingar_fw.decoding.state import prompt_field as prompt_field
    from scalingar_fw.decoding.state import take as take
    from scalingar_fw.decoding.statistics import Extremes as Extremes
    from scalingar_fw.decoding.statistics import Moments as Moments
    from scalingar_fw.decoding.statistics import ema as ema
    from scalingar_fw.decoding.statistics import group_logistic_z as group_logistic_z
    from scalingar_fw.decoding.statistics import group_quantile as group_quantile
    from scalingar_fw.decoding.statistics import group_rank as group_rank
    from scalingar_fw.decoding.strategy import ConstantGuidance as ConstantGuidance
    from scalingar_fw.decoding.strategy import FinalConfidence as FinalConfidence
    from scalingar_fw.decoding.strategy import FirstCandidate as FirstCandidate
    from scalingar_fw.decoding.strategy import Multinomial as Multinomial
    from scalingar_fw.decoding.strategy import NeverTerminate as NeverTerminate
    from scalingar_fw.decoding.strategy import NoConfidence as NoConfidence
    from scalingar_fw.decoding.strategy import Strategy as Strategy
    from scalingar_fw.decoding.wrapper import Wrapper as Wrapper
    from scalingar_fw.errors import ContractError as ContractError
    from scalingar_fw.errors import PluginWarning as PluginWarning
    from scalingar_fw.errors import ResultWarning as ResultWarning
    from scalingar_fw.errors import ScalingarError as ScalingarError
    from scalingar_fw.errors import unknown_name as unknown_name
    from scalingar_fw.experiments.evaluate import run_split as run_split
    from scalingar_fw.experiments.store import open_store as open_store
    from scalingar_fw.generation.candidate import Candidate as Candidate
    from scalingar_fw.generation.generate import generate as generate
    from scalingar_fw.generation.generation import Generation as Generation
    from scalingar_fw.generation.request import GenerationRequest as GenerationRequest
    from scalingar_fw.generation.trace import Trace as Trace
    from scalingar_fw.generation.trace import read_trace as read_trace
    from scalingar_fw.hooks import make_hooks as make_hooks
    from scalingar_fw.hookspecs import hookimpl as hookimpl
    from scalingar_fw.registry import Registry as Registry
    from scalingar_fw.registry import default_registry as default_registry
    from scalingar_fw.registry import load_registry as load_registry

    __version__: str

#: Where each public name lives; a test holds this table and the imports above together.
_HOMES = {
    "benchmark": ("Benchmark", "Item"),
    "config.run_config": ("RunConfig",),
    "config.settings": ("override",),
    "decoding.checked": ("checked",),
    "decoding.components": (
        "ConfidenceEstimator",
        "Context",
        "Guidance",
        "HasSettings",
        "ModelAdapter",
        "MovesByPieces",
        "Pool",
        "Promises",
        "ReadsWholeSequences",
        "Reward",
        "Sampler",
        "Scope",
        "Selector",
        "Step",
        "Termination",
        "Verdict",
    ),
    "decoding.confidence": ("Confidence",),
    "decoding.events": ("CandidateEnd", "DecodeStart", "TokenEvent"),
    "decoding.loop": ("decode",),
    "decoding.noise": ("Prompt",),
    "decoding.params": ("param", "part"),
    "decoding.result": ("Array", "Decoded", "Ledger", "Status", "Trajectory"),
    "decoding.sampling": ("Sampling", "truncate"),
    "decoding.signals": ("Guided", "Signals", "compute_signals"),
    "decoding.state": (
        "Chosen",
        "Grid",
        "Logits",
        "Proposal",
        "Rows",
        "candidate_field",
        "prompt_field",
        "take",
    ),
    "decoding.statistics": (
        "Extremes",
        "Moments",
        "ema",
        "group_logistic_z",
        "group_quantile",
        "group_rank",
    ),
    "decoding.strategy": (
        "ConstantGuidance",
        "FinalConfidence",
        "FirstCandidate",
        "Multinomial",
        "NeverTerminate",
        "NoConfidence",
        "Strategy",
    ),
    "decoding.wrapper": ("Wrapper",),
    "errors": ("ContractError", "PluginWarning", "ResultWarning", "ScalingarError", "unknown_name"),
    "experiments.evaluate": ("run_split",),
    "experiments.store": ("open_store",),
    "generation.candidate": ("Candidate",),
    "generation.generate": ("generate",),
    "generation.generation": ("Generation",),
    "generation.request": ("GenerationRequest",),
    "generation.trace": ("Trace", "read_trace"),
    "hooks": ("make_hooks",),
    "hookspecs": ("hookimpl",),
    "registry": ("Registry", "default_registry", "load_registry"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Array",
    "Benchmark",
    "Candidate",
    "CandidateEnd",
    "Chosen",
    "Confidence",
    "ConfidenceEstimator",
    "ConstantGuidance",
    "Context",
    "ContractError",
    "DecodeStart",
    "Decoded",
    "Extremes",
    "FinalConfidence",
    "FirstCandidate",
    "Generation",
    "GenerationRequest",
    "Grid",
    "Guidance",
    "Guided",
    "HasSettings",
    "Item",
    "Ledger",
    "Logits",
    "ModelAdapter",
    "Moments",
    "MovesByPieces",
    "Multinomial",
    "NeverTerminate",
    "NoConfidence",
    "PluginWarning",
    "Pool",
    "Promises",
    "Prompt",
    "Proposal",
    "ReadsWholeSequences",
    "Registry",
    "ResultWarning",
    "Reward",
    "Rows",
    "RunConfig",
    "Sampler",
    "Sampling",
    "ScalingarError",
    "Scope",
    "Selector",
    "Signals",
    "Status",
    "Step",
    "Strategy",
    "Termination",
    "TokenEvent",
    "Trace",
    "Trajectory",
    "Verdict",
    "Wrapper",
    "__version__",
    "candidate_field",
    "checked",
    "compute_signals",
    "decode",
    "default_registry",
    "ema",
    "generate",
    "group_logistic_z",
    "group_quantile",
    "group_rank",
    "hookimpl",
    "load_registry",
    "make_hooks",
    "open_store",
    "override",
    "param",
    "part",
    "prompt_field",
    "read_trace",
    "run_split",
    "take",
    "truncate",
    "unknown_name",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("scalingar-fw")
    except metadata.PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
