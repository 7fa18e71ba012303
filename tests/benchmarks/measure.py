"""Time, counted operations and peak memory of one call, on the device that the host computes on."""

import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Cost:
    """Seconds (median), floating point operations, and bytes at the peak beyond what was allocated before; None where unknown."""

    seconds: float
    operations: int
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Operations in a second."""
        return self.operations / self.seconds

    def row(self) -> dict:
        return asdict(self)


def cost(call: Callable[[], object], repeats: int = 3) -> Cost:
    """Measure a call: once to warm up and count its operations, once for its memory, then ``repeats`` times by the clock."""
    with FlopCounterMode(display=False) as counter:
        call()
    peak = _peak(call)
    return Cost(statistics.median(_seconds(call) for _ in range(repeats)), counter.get_total_flops(), peak)


def _seconds(call: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak(call: Callable[[], object]) -> int | None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    if not os.access(_CLEAR, os.W_OK):
        call()
        return None
    _CLEAR.write_text("5")  # the kernel forgets the process's peak
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
