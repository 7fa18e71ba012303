"""Tables of a GPU: whole runs beside the bare UNet in one process, and a long video on a card of a given size.

Peaks are those of PyTorch's allocator. Operations are counted in the first steps of a run.
"""

import sys
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.measure import cost, seconds
from tests.benchmarks.workload import Workload

GIB = 2**30
RUN_STEPS, CFG, WINDOW, OVERLAP = 25, 7.5, 16, 4
FRAMES, LONG_STEPS = 1024, 2


def runs(workload: Workload, repeats: int) -> dict:
    """Time 25 steps with guidance: all of TCAN, without PTM, and with reused deep features."""
    with torch.inference_mode():
        bare = cost(workload.bare_unet(), repeats)
    alone = RUN_STEPS * bare.seconds
    figures = {"bare UNet": {"seconds": alone, "operations": RUN_STEPS * bare.operations, "peak GiB": bare.peak_bytes / GIB}}
    _write(f"{'':28}{'seconds':>9}{'GiB at the peak':>17}{'beyond weights':>16}{'rate of the bare UNet':>23}")
    _write(f"{f'bare UNet, {RUN_STEPS} calls':28}{alone:9.2f}{'':17}{bare.peak_bytes / GIB:16.2f}")
    net = workload.control_net()
    models = {"all of TCAN": workload.model(ptm=workload.ptm()), "without PTM": workload.model()}
    speed = workload.host.node("TCANSpeed")
    models |= {f"reuse_steps {every}": speed(model=models["all of TCAN"], reuse_steps=every)[0] for every in (2, 4)}
    for name, model in models.items():
        every = int(name.split()[-1]) if name.startswith("reuse") else 1
        operations = _operations(workload, model, net, every)
        found = _timed(workload, model, net, RUN_STEPS)
        rate = operations / found["seconds"] / bare.rate
        figures[name] = found | {"operations": operations, "share of the bare UNet's rate": rate}
        row = f"{name:28}{found['seconds']:9.2f}{found['peak GiB']:17.2f}{found['beyond weights GiB']:16.2f}{rate:23.0%}"
        _write(row)
    return figures


def long_video(workload: Workload, _repeats: int) -> dict:
    """1,024 frames in windows of 16 that share 4: seconds of a step, and the peak."""
    video = workload.resized(FRAMES if workload.size == 64 else 4 * workload.frames, workload.size)
    length = min(WINDOW, workload.frames)
    (model,) = workload.host.node("TCANMultiDiffusion")(
        model=video.model(ptm=video.ptm()), window_length=length, window_overlap=length // 4
    )
    found = _timed(video, model, workload.control_net(), LONG_STEPS)
    step = found["seconds"] / LONG_STEPS
    figures = found | {"frames": video.frames, "seconds a step": step, f"seconds of {RUN_STEPS} steps, scaled": RUN_STEPS * step}
    for key, value in figures.items():
        _write(f"{key:36}{value:10.2f}")
    return figures


def flags(gigabytes: float) -> tuple[str, ...]:
    """Flags of the host that make it plan for a smaller card."""
    return ("--reserve-vram", f"{max(0.0, torch.cuda.get_device_properties(0).total_memory / GIB - gigabytes):.2f}")


def allow(gigabytes: float) -> None:
    """Limit PyTorch to this much of the card from now on."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * GIB / torch.cuda.get_device_properties(0).total_memory))


TABLES: dict[str, Callable[[Workload, int], dict]] = {"card": runs, "long": long_video}


def _euler(workload: Workload, model, net, steps: int, run: Callable) -> None:
    """Sample the first ``steps`` of 25 Euler steps with ``run(step, latents, pairs)``; a pair is a sigma and the next one."""
    sigmas = model.get_model_object("model_sampling").sigmas.flip(0)[:: 1000 // RUN_STEPS][:steps]

    def sampler(denoise, x, sigmas):
        def step(latents, sigma, following):
            return latents + (latents - denoise(latents, sigma)) / sigma * (following - sigma)

        run(step, x, [*zip(sigmas, [*sigmas[1:], torch.zeros_like(sigmas[0])])])
        return x

    workload.sample(model, net, sampler, sigmas, CFG)


def _timed(workload: Workload, model, net, steps: int) -> dict[str, float]:
    """Seconds of a run without loading, and the card's peak in GiB with and without the weights."""
    found = {}
    on_gpu = torch.cuda.is_available()

    def run(step, latents, pairs):
        before = torch.cuda.memory_allocated() if on_gpu else 0
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()

        def all_steps():
            made = latents
            for sigma, following in pairs:
                made = step(made, sigma, following)

        found["seconds"] = seconds(all_steps)
        peak = torch.cuda.max_memory_allocated() if on_gpu else 0
        found["peak GiB"], found["beyond weights GiB"] = peak / GIB, (peak - before) / GIB

    _euler(workload, model, net, steps, run)
    return found


def _operations(workload: Workload, model, net, every: int) -> int:
    """Operations of 25 steps that compute deep features every ``every`` steps.

    Counted on the first two steps, which also warm up.
    """
    counts = []

    def run(step, latents, pairs):
        for pair in pairs:
            with FlopCounterMode(display=False) as counter:
                latents = step(latents, *pair)
            counts.append(counter.get_total_flops())

    _euler(workload, model, net, 2, run)
    whole = -(-RUN_STEPS // every)
    return whole * counts[0] + (RUN_STEPS - whole) * counts[1]


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
