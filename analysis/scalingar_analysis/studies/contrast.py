"""What a contrast of prompts knows of a picture, and how to choose by it (docs/decisions.md).

    python -m scalingar_analysis.studies.contrast --split validation --limit 96 --seeds 11,12
    python -m scalingar_analysis.studies.contrast --split test --chosen

Complete candidates are drawn once, and read again under every alternative of their prompt; each
rule is then evaluated on the same candidates, exactly. The first form tries every rule and belongs
on validation; the second only reports the preset's, beside what it must beat: the likelihood,
the likelihood without the prompt, the fewest objects, and exact best-of-k.

1. Accuracy of the one chosen among N, and AUROC within prompts, by task.
2. The same AUROC after each eighth of the tokens.
3. With all rules: the front of accuracy against cost over weight, kind and number of
   alternatives, and finalists, for all candidates and for three.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

import click
import numpy as np
from attrs import evolve, frozen

from scalingar_analysis.statistics.intervals import estimate, estimate_difference
from scalingar_analysis.statistics.signal_quality import auroc
from scalingar_analysis.statistics.subsets import oracle_at, selected_at
from scalingar_fw.benchmark import Benchmark, Item
from scalingar_fw.decoding.alternatives import alternatives
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.likelihood import KnowsWordClasses, read
from scalingar_fw.decoding.result import Array, Ledger
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.experiments.evaluate import run_split
from scalingar_fw.registry import default_registry
from scalingar_plugins.rewards.contrast import KINDS, PromptContrast

EIGHTHS = 8


@frozen(eq=False)
class Pool:
    """Complete candidates of P prompts, N each, after each eighth of the tokens (last axis).

    `own`, `bare [P, N, 8]`: log p under the prompt and without it, in nats. `others[p]`: text of
    each alternative to `[N, 8]`. `correct [P, N]` bool. `controls`: by name, `[P, N]`.
    """

    items: Sequence[Item]
    own: Array
    bare: Array
    others: Sequence[Mapping[str, Array]]
    correct: Array
    controls: Mapping[str, Array]
    classes: Sequence[Sequence[str]]

    @property
    def tasks(self) -> list[str]:
        return [i.task for i in self.items]

    @property
    def clusters(self) -> list[str]:
        return [i.cluster for i in self.items]

    def where(self, keep: Sequence[int]) -> Pool:
        """The prompts at these places."""
        at = list(keep)
        return Pool(
            [self.items[i] for i in at],
            self.own[at],
            self.bare[at],
            [self.others[i] for i in at],
            self.correct[at],
            {name: values[at] for name, values in self.controls.items()},
            self.classes,
        )


def record(
    model: ModelAdapter,
    benchmark: Benchmark,
    split: str,
    *,
    n: int,
    sampling: Sampling | None,
    limit: int | None,
    kinds: Sequence[str],
    most: int | None,
    seed: int = 0,
) -> Pool:
    """Draw and read: `kinds` and `most` say which alternatives."""
    classes = model.word_classes if isinstance(model, KnowsWordClasses) else ()
    ends = np.linspace(0, model.grid.size, EIGHTHS + 1).round().astype(int)[1:] - 1
    items: list[Item] = []
    own: list[Array] = []
    bare: list[Array] = []
    others: list[dict[str, Array]] = []
    correct: list[Array] = []
    controls: dict[str, list[Array]] = {}
    for result in run_split(
        model, Strategy(), benchmark, split, n=n, sampling=sampling, limit=limit, seed=seed
    ):
        candidates = list(result.trajectories)
        items.append(result.item)
        correct.append(result.scores > 0.5)
        for name, values in result.controls.items():
            controls.setdefault(name, []).append(values)
        for signal, into in (("log_prob_cond", own), ("log_prob_uncond", bare)):
            sums = np.cumsum([t.signals[signal] for t in candidates], axis=-1, dtype=np.float64)
            into.append(sums[:, ends])
        text = result.item.prompt.text
        texts = list(
            dict.fromkeys(t for kind in kinds for t in alternatives(text, classes, kind, most))
        )
        asked = [evolve(result.item.prompt, text=t) for t in texts]
        sums = np.cumsum(read(model, candidates, asked, Ledger()), axis=-1)[..., ends]
        others.append(dict(zip(texts, sums, strict=True)))
    return Pool(
        items,
        np.array(own),
        np.array(bare),
        others,
        np.array(correct),
        {name: np.array(values) for name, values in controls.items()},
        classes,
    )


def log_posterior(pool: Pool, kind: str, most: int | None, eighth: int = EIGHTHS) -> Array:
    """Log posterior of each prompt among its alternatives after `eighth` eighths, `[P, N]` nats.

    A limit keeps some of the alternatives, so a pool read under all serves every `most`.
    """
    out = np.zeros(pool.own.shape[:2])
    for place, item in enumerate(pool.items):
        texts = alternatives(item.prompt.text, pool.classes, kind, most)
        own = pool.own[place, :, eighth - 1]
        rows = [own, *(pool.others[place][text][:, eighth - 1] for text in texts)]
        out[place] = own - np.logaddexp.reduce(np.stack(rows), axis=0)
    return out


def combined(pool: Pool, rule: PromptContrast, eighth: int = EIGHTHS) -> Array:
    """The rule's score of every candidate, `[P, N]`, as `PromptContrast.score` gives it."""
    own = pool.own[..., eighth - 1]
    scores = own + rule.weight * log_posterior(pool, rule.others, rule.most, eighth)
    count = own.shape[1]
    if rule.finalists < count:
        rank = np.argsort(np.argsort(-own, axis=1, kind="stable"), axis=1, kind="stable")
        scores = np.where(rank < rule.finalists, scores, own - 1e6)
    return scores


def rules(pool: Pool, preset: PromptContrast) -> dict[str, Array]:
    """What one may choose by, `[P, N]` each: the contrast, its parts, and crude controls."""
    return {
        "log p": pool.own[..., -1],
        "log p without the prompt": pool.bare[..., -1],
        "log p - log p without": pool.own[..., -1] - pool.bare[..., -1],
        "posterior": log_posterior(pool, preset.others, preset.most),
        "contrast": combined(pool, preset),
        **pool.controls,
    }


def chosen(pool: Pool, signal: Array) -> Array:
    """Whether the candidate with the highest signal is right, `[P]` (ties: the first)."""
    return selected_at(pool.correct.astype(float), signal, pool.correct.shape[1])


def tables(pool: Pool, preset: PromptContrast) -> list[str]:
    """Accuracy and AUROC by task, Markdown rows."""
    found = rules(pool, preset)
    n = pool.correct.shape[1]
    base = pool.correct.mean(1)
    mixed = float(((base > 0) & (base < 1)).mean())
    lines = [
        f"{len(pool.items)} prompts x {n} candidates; {mixed:.0%} of the prompts mixed",
        "",
        "| task | one sample | oracle | " + " | ".join(found) + " |",
        "|" + " --- |" * (3 + len(found)),
    ]
    groups: dict[str, list[int]] = {t: [] for t in dict.fromkeys(pool.tasks)}
    for place, task in enumerate(pool.tasks):
        groups[task].append(place)
    held = [i for i, item in enumerate(pool.items) if item.held_out]
    groups["**held out**"] = held
    groups["**all**"] = list(range(len(pool.items)))
    for task, places in groups.items():
        if not places:
            continue
        part = pool.where(places)
        cells = [
            f"{_mean(part, part.correct.mean(1)):.3f}",
            f"{_mean(part, oracle_at(part.correct.astype(float), n)):.3f}",
        ]
        for signal in rules(part, preset).values():
            within = auroc(signal, part.correct.astype(float), part.clusters).value
            cells.append(f"{_mean(part, chosen(part, signal)):.3f} / {within:.2f}")
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    part = pool.where(held) if held else pool
    lines += ["", "Gain over one sample on held-out tasks, and over log p:", ""]
    one = part.correct.mean(1)
    for name, signal in rules(part, preset).items():
        mine = chosen(part, signal)
        gain = estimate_difference(mine - one, part.tasks, part.clusters)
        over = estimate_difference(
            mine - chosen(part, part.own[..., -1]), part.tasks, part.clusters
        )
        relative = gain.mean / _mean(part, one)
        lines.append(f"- {name}: {gain} ({relative:+.1%}); over log p {over}")
    return lines


def _mean(pool: Pool, values: Array) -> float:
    return estimate(values, pool.tasks, pool.clusters).mean


def over_time(pool: Pool, preset: PromptContrast) -> list[str]:
    """AUROC within prompts after each eighth of the tokens, held-out tasks together."""
    held = [i for i, item in enumerate(pool.items) if item.held_out]
    part = pool.where(held) if held else pool
    right = part.correct.astype(float)
    lines = [
        "",
        "| after | log p | log p without the prompt | posterior | contrast |",
        "|" + " --- |" * 5,
    ]
    for eighth in range(1, EIGHTHS + 1):
        signals = (
            part.own[..., eighth - 1],
            part.bare[..., eighth - 1],
            log_posterior(part, preset.others, preset.most, eighth),
            combined(part, preset, eighth),
        )
        cells = [auroc(s, right, part.clusters) for s in signals]
        shown = " | ".join(f"{a.value:.2f} [{a.low:.2f}, {a.high:.2f}]" for a in cells)
        lines.append(f"| {eighth}/8 | {shown} |")
    return lines


def joined(pools: Sequence[Pool]) -> Pool:
    """The prompts of several pools, such as the same items drawn with several seeds."""
    names = pools[0].controls
    return Pool(
        [i for p in pools for i in p.items],
        np.concatenate([p.own for p in pools]),
        np.concatenate([p.bare for p in pools]),
        [o for p in pools for o in p.others],
        np.concatenate([p.correct for p in pools]),
        {name: np.concatenate([p.controls[name] for p in pools]) for name in names},
        pools[0].classes,
    )


def first(pool: Pool, n: int) -> Pool:
    """The pool of the first `n` candidates of each prompt."""
    return Pool(
        pool.items,
        pool.own[:, :n],
        pool.bare[:, :n],
        [{text: read[:n] for text, read in each.items()} for each in pool.others],
        pool.correct[:, :n],
        {name: values[:, :n] for name, values in pool.controls.items()},
        pool.classes,
    )


def price(pool: Pool, rule: PromptContrast) -> float:
    """What reading costs in candidates: one reading is half a candidate, which has two branches."""
    n = min(rule.finalists, pool.correct.shape[1])
    counts = [
        len(alternatives(i.prompt.text, pool.classes, rule.others, rule.most)) for i in pool.items
    ]
    cost: float = n * float(np.mean(counts)) / 2
    return cost


def search(pool: Pool, every: bool = False) -> list[str]:
    """Rules on held-out tasks that no cheaper rule is as good as, or every rule, the cheapest first;
    for all candidates and for three."""
    held = [i for i, item in enumerate(pool.items) if item.held_out]
    part = pool.where(held) if held else pool
    lines: list[str] = []
    for n in sorted({min(3, part.correct.shape[1]), part.correct.shape[1]}):
        mine = first(part, n)
        rows = []
        for kind, most, finalists in itertools.product(KINDS[:2], (2, 4, 8, 16, 48), (2, 3, 4, 8)):
            if finalists > n:
                continue
            rule = PromptContrast(others=kind, most=most, finalists=finalists)
            cost = price(mine, rule)
            for weight in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
                rule = evolve(rule, weight=weight)
                rows.append((cost, _mean(mine, chosen(mine, combined(mine, rule))), rule))
        plain = _mean(mine, chosen(mine, mine.own[..., -1]))
        lines += [
            "",
            f"Chosen among {n}; by log p alone {plain:.4f}",
            "",
            "| costs, candidates | accuracy, held out | weight | kind | most | finalists |",
            "|" + " --- |" * 6,
        ]
        best = plain
        for cost, value, rule in sorted(rows, key=lambda row: (row[0], -row[1])):
            if every or value > best:
                best = max(best, value)
                lines.append(
                    f"| {cost:.1f} | {value:.4f} | {rule.weight:g} | {rule.others} | {rule.most} "
                    f"| {rule.finalists} |"
                )
    return lines


@click.command(help=__doc__)
@click.option("--model", default="shapes", show_default=True)
@click.option("--benchmark", default="shapes", show_default=True)
@click.option("--split", default="validation", show_default=True)
@click.option("-n", default=8, show_default=True)
@click.option("--limit", type=int, help="items, taken in turn from each task")
@click.option("--weights", help="a folder of weights")
@click.option("--guidance", type=float, help="the preset's by default")
@click.option("--top-p", type=float, help="the preset's by default")
@click.option("--seeds", default="0", show_default=True, help="comma-separated, taken together")
@click.option("--every-rule", is_flag=True, help="the rules that others are as good as, too")
@click.option("--chosen", "only", is_flag=True, help="the preset's rule alone")
def main(
    model: str,
    benchmark: str,
    split: str,
    n: int,
    limit: int | None,
    weights: str | None,
    guidance: float | None,
    top_p: float | None,
    seeds: str,
    every_rule: bool,
    only: bool,
) -> None:
    began = time.monotonic()
    registry = default_registry()
    options = {} if weights is None else {"weights": weights}
    adapter = registry.get("model", model)(**options)
    sampling = adapter.preset
    if guidance is not None:
        sampling = evolve(sampling, guidance=guidance)
    if top_p is not None:
        sampling = evolve(sampling, top_p=top_p)
    preset = PromptContrast()
    pools = [
        record(
            adapter,
            registry.get("benchmark", benchmark)(),
            split,
            n=n,
            sampling=sampling,
            limit=limit,
            kinds=(preset.others,) if only else KINDS[:2],
            most=preset.most if only else None,
            seed=int(seed),
        )
        for seed in seeds.split(",")
    ]
    pool = joined(pools)
    for line in (
        tables(pool, preset) + over_time(pool, preset) + ([] if only else search(pool, every_rule))
    ):
        click.echo(line)
    click.echo(f"\n{time.monotonic() - began:.0f} s, seeds {seeds}, {sampling}", err=True)


if __name__ == "__main__":
    main()
