"""From finished stores to the report: sections for what is there, Markdown, plain data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import asdict

from scalingar_analysis.reproduce import findings, robustness, signals, sweeps
from scalingar_analysis.reproduce.findings import Section, Study
from scalingar_analysis.reproduce.sweeps import Plan
from scalingar_analysis.tables.arms import Arm, arms_of, judged
from scalingar_analysis.tables.render import markdown_table
from scalingar_fw.experiments import open_store


def arms_in(folder: Path) -> list[Arm]:
    return arms_of(open_store(folder))


def sections(out: Path, plan: Plan, names: Sequence[str], n: int) -> list[Section]:
    """A section for each experiment of `names` whose sweeps are done."""
    built: list[Section] = []
    main = {"overall", "cost", "channels", "policies", "width", "ladder", "robustness"}
    arms = arms_in(out / plan.split) if main & set(names) else []

    def study(*labels: str) -> Study:
        return Study.of(arms, [("base", 1), *((label, n) for label in labels)])

    if "overall" in names:
        built.append(findings.overall(study(*sweeps.METHODS)))
    if "channels" in names:
        parts = study("scalingar", *sweeps.CHANNELS)
        built.append(findings.ablation(parts, "channels", sweeps.CHANNELS))
    if "policies" in names:
        parts = study("scalingar", *sweeps.POLICIES)
        built.append(findings.ablation(parts, "policies", sweeps.POLICIES))
    if "cost" in names:
        whole = study("best-of-n", "scalingar")
        on_gpu = whole.arms[0].config.get("device") == "cuda"
        built.append(findings.cost(whole, on_gpu))
    if "sensitivity" in names:
        built.append(findings.sensitivity(arms_in(out / f"{plan.studied}-sensitivity"), n))
    if "width" in names:
        built.append(findings.width(arms))
    if "ladder" in names:
        built.append(findings.ladder(next(a for a in arms if (a.label, a.n) == ("best-of-n", n))))
    if "robustness" in names and plan.hard is not None:
        hard = Study.of(arms_in(out / plan.hard), [("base", 1), *((m, n) for m in sweeps.ROBUST)])
        built.append(robustness.robustness(study(*sweeps.ROBUST), hard))
    if "signals" in names:
        store = open_store(out / f"{plan.studied}-signals")
        (arm,) = (a for a in arms_of(store) if (a.label, a.n) == (sweeps.WATCHED, n))
        if not judged(arm.cells.values()):
            title = sweeps.EXPERIMENTS["signals"]
            return [*built, Section("signals", title, [], [], [findings.UNJUDGED])]
        pools = f"{len(arm.cells)} complete pools of {n}, split {plan.studied}"
        built.append(signals.section(signals.quality(store, arm), pools))
    return built


def facts(out: Path, plan: Plan, names: Sequence[str], n: int) -> dict[str, Any]:
    """What the figures are of: model, weights, benchmark, splits and their items."""
    stores = {}
    config: dict[str, Any] = {}
    for name in dict.fromkeys(store for store, _ in sweeps.sweeps(plan, names, n)):
        units = open_store(out / name).units()
        config = units[0].config
        stores[name] = {
            "split": config["split"],
            "items": len({i for u in units for i in u.items}),
            "seeds": sorted({u.seed for u in units}),
        }
    same = ("model", "model_hash", "benchmark", "sampling", "device", "dtype")
    return {**{k: config[k] for k in same}, "n": n, "stores": stores}


def as_data(built: Sequence[Section], about: dict[str, Any]) -> dict[str, Any]:
    return {**about, "sections": [asdict(s) for s in built]}


def markdown(built: Sequence[Section], about: dict[str, Any], command: str) -> str:
    """The report: what it is of, then each table with its sentences."""
    stores = "; ".join(
        f"{name}: {s['items']} items of `{s['split']}`, seeds {', '.join(map(str, s['seeds']))}"
        for name, s in about["stores"].items()
    )
    parts = [
        "# The paper's tables, in miniature",
        f"ScalingAR (arXiv 2509.26376) on `{about['model']}` (weights `{about['model_hash'][:12]}`), "
        f"benchmark `{about['benchmark']}`, N = {about['n']}, {about['device']}, {about['dtype']}, "
        f"guidance {about['sampling']['guidance']:g}. {stores}.",
        "Accuracy is the unweighted mean over tasks; 95 % intervals count clusters of "
        "prompts, paired where two strategies are compared. The paper's models and benchmarks are "
        "others, so its figures are compared by ratios.",
        f"```text\n{command}\n```",
    ]
    for s in built:
        parts.append(f"## {s.title}")
        parts += [markdown_table(s.columns, s.rows)] if s.rows else []
        parts += ["\n".join(f"- {line}" for line in s.sentences)] if s.sentences else []
    return "\n\n".join(parts) + "\n"
