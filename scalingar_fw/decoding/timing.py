"""Seconds by phase and peak memory."""

from __future__ import annotations

import sys
import time

import torch


class Clock:
    """Wall-clock seconds by phase: each `mark` charges the time since the last one.

    On a GPU, work is queued and a phase is charged when something waits for it; the sum is exact,
    the split between model and policy is not. Profilers give that; synchronising here would slow
    every run for a number.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def restart(self) -> None:
        self._last = time.perf_counter()

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def reset_peak(device: torch.device) -> None:
    """Start a new peak on devices that keep one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Peak of the allocator on a GPU since `reset_peak`; of the whole process elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
