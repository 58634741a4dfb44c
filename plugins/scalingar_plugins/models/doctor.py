"""`scalingar doctor`: what this machine has, and which models fit on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import click

from scalingar_fw.cli.group import app_of
from scalingar_fw.cli.listing import columns

#: N of the table of what fits.
COUNTS = (1, 8, 16)
_DISTRIBUTION = "scalingar-fw"


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is installed and free here, and which models fit at which N."""
    import torch

    from scalingar_fw.decoding.memory_budget import show_bytes
    from scalingar_plugins.models.fit import free_disk, free_memory

    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    free = {device: free_memory(device) for device in devices}
    lines = [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("torch", torch.__version__),
    ]
    for device in devices:
        amount = free[device]
        said = "free memory unknown" if amount is None else f"{show_bytes(amount)} free"
        what = f"{os.cpu_count()} cores" if device == "cpu" else torch.cuda.get_device_name(device)
        lines.append((device, f"{what}, {said}, bfloat16 {_bfloat16(device)}"))
    if torch.backends.mps.is_available():
        lines.append(("mps", "an Apple GPU"))
    lines += [(f"extra {name}", state) for name, state in _extras()]
    packages = sorted({entry.package for entry in app_of(ctx).registry.entries.values()})
    lines.append(("plugins", ", ".join(packages)))
    for name, place in _caches():
        state = "is there" if place.is_dir() else "not made yet"
        lines.append((name, f"{place} ({state}, {show_bytes(free_disk(place))} free on its disk)"))
    click.echo(columns(lines))
    for device in devices:
        amount = free[device]
        if amount is not None:
            click.echo(f"\nFits on {device} beside {show_bytes(amount)}:")
            click.echo(_table(device, amount))


def _bfloat16(device: str) -> str:
    """Whether a first operation in bfloat16 works, and natively on a GPU."""
    import torch

    try:
        ones = torch.ones(2, 2, dtype=torch.bfloat16, device=device)
        works = float((ones @ ones).sum()) == 8.0
    except RuntimeError:
        return "does not work"
    if device.startswith("cuda") and torch.cuda.get_device_capability(device) < (8, 0):
        return "is emulated (slow)"
    return "works" if works else "gives wrong sums"


def _extras() -> Iterator[tuple[str, str]]:
    """Each extra with what it lacks, as this distribution's metadata declares them."""
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield "-", f"{_DISTRIBUTION} is not installed as a package: extras are unknown"
        return
    needs: dict[str, list[str]] = {}
    for line in distribution.requires or ():
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if found is not None and found[2] not in ("dev", "testing"):
            needs.setdefault(found[2], []).append(found[1])
    for extra, names in sorted(needs.items()):
        absent = [name for name in names if not _installed(name)]
        remedy = f"pip install '{_DISTRIBUTION}[{extra}]'"
        yield extra, f"lacks {', '.join(absent)}: {remedy}" if absent else "installed"


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _caches() -> Iterator[tuple[str, Path]]:
    from scalingar_plugins.hub.receipts import receipts_folder

    yield "cache", receipts_folder().parent
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    yield "hub's cache", Path(constants.HF_HUB_CACHE)


def _table(device: str, free: int) -> str:
    """For each published model, whether N = 1, 8, 16 fit, and the largest N."""
    from scalingar_plugins.models.fit import most_candidates, need, rows

    dtypes = ("bfloat16", "float32") if device.startswith("cuda") else ("float32", "bfloat16")
    lines: list[tuple[str, ...]] = [("model", "dtype", *(f"N = {n}" for n in COUNTS), "largest N")]
    for row in rows():
        for dtype in dtypes:
            needs = [need(row, n, dtype) for n in COUNTS]
            known = needs[0].weights is not None
            marks = tuple("yes" if one.total <= free else "no" for one in needs)
            most = str(most_candidates(row, dtype, free))
            lines.append((row.name, dtype, *marks, most if known else f"at most {most}"))
    return columns(lines)
