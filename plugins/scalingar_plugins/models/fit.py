"""Does a model fit here? The sum that `scalingar models fit NAME` and `scalingar doctor` print.

Candidates follow from the published geometry (the cards' arithmetic). Weights are those that were
fetched, else what a public listing states, else the card's count of parameters; where none of them
is known, the sum says so and is a lower bound.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from scalingar_fw.decoding.memory_budget import show_bytes
from scalingar_plugins.models.cards import CARDS, Row

#: Bytes of a number.
WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4}


@frozen
class Need:
    """What a model takes with N candidates. `weights`: None where unknown; `origin`: whence known."""

    name: str
    dtype: str
    n: int
    weights: int | None
    origin: str
    cache: int
    logits: int

    @property
    def candidates(self) -> int:
        return self.n * (self.cache + self.logits)

    @property
    def total(self) -> int:
        """Bytes; a lower bound where the weights are unknown."""
        return (self.weights or 0) + self.candidates

    def lines(self, free: int | None) -> list[str]:
        """The sum, one term on each line, and the verdict where the free memory is known."""
        weights = "unknown" if self.weights is None else show_bytes(self.weights)
        out = [
            f"weights            {weights} ({self.origin})",
            f"+ {self.n} candidates      {self.n} x ({show_bytes(self.cache)} keys and values + "
            f"{show_bytes(self.logits)} logits) = {show_bytes(self.candidates)}",
            f"= {'at least ' if self.weights is None else ''}{show_bytes(self.total)} "
            f"in {self.dtype}, beside the image decoder and a text encoder",
        ]
        if free is not None:
            verdict = "does not fit" if self.total > free else "fits"
            unsure = " as far as is known" if self.weights is None and self.total <= free else ""
            out.append(f"{show_bytes(free)} free: {verdict}{unsure}")
        return out


def need(row: Row, n: int, dtype: str) -> Need:
    """The memory of `n` candidates of a published model, both branches included."""
    width = WIDTHS[dtype]
    cache = 2 * 2 * row.layers * row.kv_heads * row.head_dim * row.slots * width
    weights, origin = _weights(row, width)
    return Need(row.name, dtype, n, weights, origin, cache, 2 * 4 * row.vocab)


def _weights(row: Row, width: int) -> tuple[int | None, str]:
    """Bytes in memory. Published files are taken as half precision where only their size is known."""
    from scalingar_plugins.hub.sources import SOURCES

    if row.millions:
        return row.millions * 1_000_000 * width, f"{row.millions} million parameters"
    source = SOURCES.get(row.name)
    if source is not None and source.bytes:
        listed = sum(source.bytes.values())
        return listed * width // 2, f"the listed files, {show_bytes(listed)} in half precision"
    return None, "no listing states them; see `scalingar models verify NAME --remote`"


def free_memory(device: str) -> int | None:
    """Bytes that are free on a device now, None where the system does not say.

    Args:
        device: "cpu", or a CUDA device such as "cuda:0".
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return _available()


def _available() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable")]
    return int(found[0]) * 1024 if found else None


def free_disk(place: Path) -> int:
    """Bytes that are free where `place` is, or will be."""
    there = next(p for p in (place, *place.parents) if p.exists())
    return shutil.disk_usage(there).free


def most_candidates(row: Row, dtype: str, free: int) -> int:
    """The largest N that fits `free` bytes beside the weights; 0 where the weights alone do not."""
    one = need(row, 1, dtype)
    return max(0, (free - (one.weights or 0)) // (one.cache + one.logits))


def rows() -> Sequence[Row]:
    """Every published model."""
    return [row for card in CARDS for row in card.rows]
