"""`python dev.py python -m tests.benchmarks`: what a denoising step costs beside the host's bare networks, in one run.

On a CPU the model is SD1.5 at half its width on 32x32 latents in float32; on a GPU it has SD1.5's width on 64x64 latents in float16.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from tests.benchmarks.measure import Cost, cost
from tests.benchmarks.models import HALF, SD15
from tests.benchmarks.scene import Scene
from tests.host import boot


def measure(scene: Scene, repeats: int) -> dict[str, Cost]:
    """Costs by name; the bare networks first, then the whole step, then the step with each part switched off."""
    node = scene.host.node("TCANTemporalControlNet")
    net, frozen = node(tcan=scene.tcan)[0], node(tcan=scene.tcan, temporal_strength=0.0)[0]
    ptm = scene.ptm()
    calls = {
        "bare UNet": scene.bare_unet,
        "bare ControlNet": scene.bare_control_net,
        "bare appearance UNet": scene.bare_appearance,
        "whole step": lambda: scene.whole_step(scene.model(ptm=ptm), net),
        "without PTM": lambda: scene.whole_step(scene.model(), net),
        "without appearance": lambda: scene.whole_step(scene.model(ptm=ptm, appearance_strength=0.0), net),
        "ControlNet without temporal layers": lambda: scene.whole_step(scene.model(ptm=ptm), frozen),
        "without ControlNet": lambda: scene.whole_step(scene.model(ptm=ptm)),
    }
    costs = {}
    with torch.inference_mode():
        for name, prepare in calls.items():
            costs[name] = cost(prepare(), repeats)
            show(name, costs[name], costs["bare UNet"])
    return costs


def show(name: str, found: Cost, bare: Cost) -> None:
    peak = "" if found.peak_bytes is None else f"{found.peak_bytes / 2**20:8.0f} MiB {found.peak_bytes / bare.peak_bytes:5.2f}x"
    share = bare.rate and found.rate / bare.rate
    sys.stdout.write(f"{name:36}{found.seconds:8.2f} s {found.operations / 1e12:7.3f} TFLOP {share:7.0%} of its rate {peak}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument("--frames", type=int, default=16, help="frames in the window (default 16)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each call, of which the median counts (default 3)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    gpu = torch.cuda.is_available()
    host = boot(cpu=not gpu)
    logging.getLogger().setLevel(logging.WARNING)
    scene = Scene(host, SD15 if gpu else HALF, arguments.frames, 64 if gpu else 32, torch.float16 if gpu else torch.float32)
    sys.stdout.write(
        f"{torch.get_num_threads()} threads, {scene.device}, {arguments.frames} frames; shares are of the bare UNet\n"
    )
    costs = measure(scene, arguments.repeats)
    step, bare = costs["whole step"], costs["bare UNet"]
    sys.stdout.write(f"whole step: {step.seconds / (step.operations / bare.rate):.2f}x its operations at the bare UNet's rate\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({name: found.row() for name, found in costs.items()}, indent=1))


if __name__ == "__main__":
    main()
