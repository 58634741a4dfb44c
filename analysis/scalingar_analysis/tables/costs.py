"""What an arm cost for each prompt, and whether its policies did anything at all."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from scalingar_analysis.tables.arms import Arm, Key
from scalingar_fw.decoding.result import Status

#: Phases that measure a method instead of running it.
_NOT_ITS_OWN = ("write", "score", "image")


@frozen
class Cost:
    """Means over prompts, unless said otherwise.

    `tokens`: sampled, over all candidates. `forward_rows`: rows sent through the model (two for
    each token under guidance), prompts included. `flops`: by component, None where a run has none.
    `seconds`: of decoding and choosing, the answer's image included, in batches as the run had
    them. `peak_bytes`: the most of any unit: of the allocator on a GPU, of the process on a CPU.
    `model_calls`: forward passes over a prompt's share of a batch; `pruned`, `dropped`, `out_of_budget`, `recoveries`: candidates, and flags that were cleared.
    """

    tokens: float
    forward_rows: float
    flops: dict[str, float] | None
    seconds: float
    peak_bytes: int
    pruned: float
    dropped: float
    out_of_budget: float
    recoveries: float
    model_calls: float
    warnings: tuple[str, ...] = field(default=())

    @property
    def total_flops(self) -> float | None:
        return None if self.flops is None else sum(self.flops.values())

    def on(self, axis: str) -> float | None:
        """The cost on one axis: "tokens", "flops" or "seconds"."""
        return {"tokens": self.tokens, "flops": self.total_flops, "seconds": self.seconds}[axis]


AXES = ("tokens", "flops", "seconds")


def cost_of(arm: Arm, keys: Sequence[Key]) -> Cost:
    """Over the cells `keys`. Rows, FLOPs and seconds are known for whole units only: for those
    that hold any of the cells."""
    cells = [arm.cells[key] for key in keys]
    wanted = set(keys)
    units = [u for u in arm.units if any((item, u.seed) in wanted for item in u.items)]
    prompts = sum(len(u.items) for u in units)
    counts = {s: sum(c.ended.get(s.value, 0) for c in cells) for s in Status}
    components: dict[str, float] | None = {}
    for unit in units:
        if not unit.flops:
            components = None
            break
        for name, flops in unit.flops.items():
            assert components is not None
            components[name] = components.get(name, 0.0) + flops / prompts
    # Units of 0.1 know no rows read again.
    rows = sum(
        u.ledger["prefill_rows"] + u.ledger["decode_rows"] + u.ledger.get("scored_rows", 0)
        for u in units
    )
    return Cost(
        tokens=sum(c.tokens for c in cells) / len(cells),
        forward_rows=rows / prompts,
        flops=components,
        seconds=sum(_seconds(arm, u.receipt, u.seed, u.items) for u in units) / prompts,
        peak_bytes=max(int(u.receipt.get("peak_bytes", 0)) for u in units),
        pruned=counts[Status.PRUNED] / len(cells),
        dropped=counts[Status.DROPPED] / len(cells),
        out_of_budget=counts[Status.OUT_OF_BUDGET] / len(cells),
        recoveries=sum(c.recoveries for c in cells) / len(cells),
        model_calls=sum(u.ledger["model_calls"] for u in units) / prompts,
        warnings=tuple(_warnings(arm, keys, counts)),
    )


def _seconds(arm: Arm, receipt: dict[str, object], seed: int, items: Sequence[int]) -> float:
    """Of a unit: without judging and writing, and with the answers' share of the images."""
    phases = receipt.get("seconds")
    assert isinstance(phases, dict)
    own = sum(float(v) for k, v in phases.items() if k not in _NOT_ITS_OWN)
    done = Status.COMPLETED.value
    images = sum(arm.cells[i, seed].ended.get(done, 0) for i in items if (i, seed) in arm.cells)
    return own + float(phases.get("image", 0.0)) * len(items) / max(1, images)


def _warnings(arm: Arm, keys: Sequence[Key], counts: dict[Status, int]) -> list[str]:
    """Policies that never acted: a saving that was never made, seen before it is reported."""
    out = []
    ended = counts[Status.PRUNED] + counts[Status.OUT_OF_BUDGET]
    termination, sampler = arm.part("termination"), arm.part("sampler")
    if arm.n > 1 and termination not in ("never", "") and not ended:
        out.append(f"its termination ({termination}) never ended a candidate")
    forked = sum(arm.cells[key].forks for key in keys) or counts[Status.DROPPED]
    if arm.n > 1 and sampler in ("smc", "confidence-beam") and not forked:
        out.append(f"its sampler ({sampler}) never resampled")
    if (
        arm.scale is not None
        and arm.part("guidance") != "constant"
        and arm.scale[0] == arm.scale[1]
    ):
        out.append(f"its guidance ({arm.part('guidance')}) never moved from {arm.scale[0]:g}")
    return out
