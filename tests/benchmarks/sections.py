"""The tables of the benchmark: each measures a workload, prints its rows and returns them as plain figures."""

import sys
from collections.abc import Callable

import torch

from tests.benchmarks.measure import Cost, cost, count, seconds
from tests.benchmarks.workload import Workload

WINDOW, OVERLAP, RUN_STEPS = 16, 4, 25


def parts(workload: Workload, repeats: int) -> dict:
    """The bare networks, the whole step, and the step with each part switched off."""
    net, frozen, ptm = workload.control_net(), workload.control_net(0.0), workload.ptm()
    bare: dict[str, Callable] = {
        "bare UNet": workload.bare_unet,
        "bare ControlNet": workload.bare_control_net,
        "bare appearance UNet": workload.bare_appearance,
    }
    whole: dict[str, tuple] = {
        "whole step": (workload.model(ptm=ptm), net),
        "without PTM": (workload.model(), net),
        "without appearance": (workload.model(ptm=ptm, appearance_strength=0.0), net),
        "ControlNet without temporal layers": (workload.model(ptm=ptm), frozen),
        "without ControlNet": (workload.model(ptm=ptm), None),
    }
    costs = {}
    with torch.inference_mode():
        for name, prepare in bare.items():
            costs[name] = _show(name, cost(prepare(), repeats), costs.get("bare UNet"))
    for name, models in whole.items():
        often = repeats if name == "whole step" else max(1, repeats // 3)
        costs[name] = _show(name, workload.step(*models, often), costs["bare UNet"])
    step, unet = costs["whole step"], costs["bare UNet"]
    ratios = {
        "time over operations at the bare UNet's rate": step.seconds / (step.operations / unet.rate),
        "peak over the bare UNet's": step.peak_bytes / unet.peak_bytes,
        "PTM's share of the time": 1 - costs["without PTM"].seconds / step.seconds,
    }
    _lines(ratios)
    return {name: found.row() for name, found in costs.items()} | ratios


def frames(workload: Workload, repeats: int) -> dict:
    """16, 64 and 256 frames in windows of 16, without overlap and with an overlap of 4."""
    net, costs, figures = workload.control_net(), {}, {}
    for overlap in (0, OVERLAP):
        for total in (16, 64, 256):
            video = workload.resized(total, workload.size)
            (model,) = workload.host.node("TCANMultiDiffusion")(
                model=video.model(ptm=video.ptm()), window_length=WINDOW, window_overlap=overlap
            )
            found = costs[total, overlap] = video.step(model, net, repeats)
            one = costs[16, 0]
            name = f"{total} frames, overlap {overlap}"
            figures[name] = found.row() | {
                "time for a frame, over 16 frames": found.seconds / total / (one.seconds / 16),
                "operations for a frame, over 16 frames": found.operations / total / (one.operations / 16),
                "peak, over 16 frames": found.peak_bytes / one.peak_bytes,
            }
            _show(name, found, one)
            _lines({key: value for key, value in figures[name].items() if "over" in key})
    return figures


def sizes(workload: Workload, repeats: int) -> dict:
    """Other picture sizes, each compared with the bare UNet at that size."""
    figures = {}
    for side in (workload.size, workload.size * 3 // 2, workload.size * 2):
        resized = workload.resized(workload.frames, side)
        with torch.inference_mode():
            bare = _show(f"bare UNet {side}x{side}", cost(resized.bare_unet(), repeats), None)
        step = _show(
            f"whole step {side}x{side}", resized.step(resized.model(ptm=resized.ptm()), resized.control_net(), repeats), bare
        )
        figures[f"{side}x{side}"] = {"bare UNet": bare.row(), "whole step": step.row()}
    return figures


def reuse(workload: Workload, _repeats: int) -> dict:
    """Whole runs of 25 steps with TCAN Speed-ups."""
    net, figures = workload.control_net(), {}
    for every in (1, 2, 3, 4):
        (model,) = workload.host.node("TCANSpeed")(model=workload.model(ptm=workload.ptm()), reuse_steps=every)
        found = _run(workload, model, net)
        exact = figures.get("reuse_steps 1", found.row())
        figures[f"reuse_steps {every}"] = found.row() | {
            "times as fast": exact["seconds"] / found.seconds,
            "times fewer operations": exact["operations"] / found.operations,
        }
        _show(f"{RUN_STEPS} steps, reuse_steps {every}", found, None)
        _lines({key: value for key, value in figures[f"reuse_steps {every}"].items() if key.startswith("times")})
    return figures


def windows(workload: Workload, repeats: int) -> dict:
    """64 frames with 1, 2 and 4 windows in a call."""
    net, costs, figures = workload.control_net(), {}, {}
    video = workload.resized(64, workload.size)
    (windowed,) = workload.host.node("TCANMultiDiffusion")(
        model=video.model(ptm=video.ptm()), window_length=WINDOW, window_overlap=0
    )
    for at_once in (1, 2, 4):
        (model,) = workload.host.node("TCANSpeed")(model=windowed, reuse_steps=1, windows_at_once=at_once)
        found = costs[at_once] = video.step(model, net, repeats)
        name = f"windows_at_once {at_once}"
        figures[name] = found.row() | {"times as fast": costs[1].seconds / found.seconds}
        _show(name, found, costs[1])
        _lines({"times as fast": figures[name]["times as fast"]})
    return figures


SECTIONS: dict[str, Callable[[Workload, int], dict]] = {
    "parts": parts,
    "frames": frames,
    "sizes": sizes,
    "reuse": reuse,
    "windows": windows,
}


def _run(workload: Workload, model, net) -> Cost:
    """One run of Euler steps without loading the models: timed, then counted."""
    sigmas = model.get_model_object("model_sampling").sigmas.flip(0)[:: 1000 // RUN_STEPS]
    found = []

    def euler(denoise, x, sigmas):
        def run():
            latents = x
            for sigma, following in zip(sigmas, [*sigmas[1:], torch.zeros_like(sigmas[0])], strict=True):
                latents = latents + (latents - denoise(latents, sigma)) / sigma * (following - sigma)

        found.append(seconds(run) if not found else count(run, workload.latents_shape))
        return x

    for _ in range(2):
        workload.sample(model, net, euler, sigmas)
    return Cost(found[0], *found[1])


def _show(name: str, found: Cost, bare: Cost | None) -> Cost:
    text = f"{name:36}{found.seconds:8.2f} s {found.operations / 1e12:8.3f} TFLOP {found.rate / 1e9:7.1f} GFLOP/s"
    text += f" {found.peak_bytes / 2**20:8.0f} MiB"
    if bare is not None:
        text += f" {found.rate / bare.rate:6.0%} of its rate {found.peak_bytes / bare.peak_bytes:5.2f}x its peak"
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return found


def _lines(ratios: dict[str, float]) -> None:
    for name, value in ratios.items():
        sys.stdout.write(f"    {name}: {value:.3f}\n")
    sys.stdout.flush()
