"""Time, counted operations and peak memory of one call, on the device that the host computes on."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.allocations import Allocations


@dataclass
class Cost:
    """Seconds (median), floating point operations, and peak bytes beyond what was allocated before."""

    seconds: float
    operations: int
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    def row(self) -> dict:
        return asdict(self)


def cost(call: Callable[[], object], repeats: int, apart: Sequence[int] = ()) -> Cost:
    """Measure a call: `count` it once, which warms up, then time it ``repeats`` times."""
    operations, peak = count(call, apart)
    return Cost(statistics.median(seconds(call) for _ in range(repeats)), operations, peak)


def count(call: Callable[[], object], apart: Sequence[int] = ()) -> tuple[int, int]:
    """Operations and peak bytes of a call.

    On a GPU the bytes are the allocator's peak. On a CPU they are counted (`Allocations`), without tensors of the shape ``apart``.
    """
    gc.collect()
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    # in this order: the counter of operations decomposes some of them into others, which hold more
    with FlopCounterMode(display=False) as counter, Allocations(apart) as counted:
        call()
    peak = torch.cuda.max_memory_allocated() - before if on_gpu else counted.peak
    return counter.get_total_flops(), peak


def seconds(call: Callable[[], object]) -> float:
    """Seconds of a call, by CUDA events on a GPU."""
    if not torch.cuda.is_available():
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000
