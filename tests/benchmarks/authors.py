"""The authors' denoising step and ours in one run: ``python dev.py python -m tests.benchmarks.authors --code … --packages …``.

Half of SD1.5's width, 16 frames, 32x32 latents, guidance, float32 on the CPU. The authors' code needs the diffusers of its time,
in a folder:

    git clone https://github.com/eccv2024tcan/TCAN TCAN
    pip install --no-deps --target packages diffusers==0.25.0 peft==0.9.0 transformers==4.32.0 accelerate==0.22.0 \\
        huggingface_hub==0.20.3 tokenizers==0.13.3 omegaconf
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from tests.benchmarks.authors_step import ATTENTION
from tests.benchmarks.measure import seconds
from tests.benchmarks.models import HALF
from tests.benchmarks.workload import TIMESTEP, Workload
from tests.helpers.host import boot

FRAMES, SIZE, REUSE = 16, 32, 4
NAMES = {
    "whole": "the authors' step, their own attention (whole score matrices)",
    "fused": "the authors' step, PyTorch's fused attention put in",
}


def theirs(code: Path, packages: Path, attention: str, repeats: int) -> list[float]:
    """Seconds of each step after the first, in a separate process."""
    command = [sys.executable, str(Path(__file__).with_name("authors_step.py")), str(code), attention]
    command += ["--channels", *map(str, HALF), "--frames", str(FRAMES), "--size", str(SIZE), "--repeats", str(repeats)]
    paths = os.pathsep.join(map(str, (packages, code)))
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The authors' code did not run:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ours(workload: Workload, model, net, steps: int) -> list[float]:
    """Seconds of each step through the public nodes, after one step that is not counted."""
    found = []

    def measure(denoise, x, sigmas):
        found.extend(seconds(lambda sigma=sigma: denoise(x, sigma)) for sigma in sigmas[:-1].tolist())
        return x

    times = TIMESTEP - 10 * torch.arange(steps + 2)
    workload.sample(model, net, measure, model.get_model_object("model_sampling").sigmas[times])
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.authors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--code", type=Path, required=True, help="the authors' repository")
    parser.add_argument("--packages", type=Path, required=True, help="the folder with diffusers of their time")
    parser.add_argument("--repeats", type=int, default=3, help="steps of each (default: 3)")
    given = parser.parse_args()
    found = {NAMES[name]: theirs(given.code.resolve(), given.packages.resolve(), name, given.repeats) for name in ATTENTION}
    host = boot(cpu=True)
    logging.getLogger().setLevel(logging.WARNING)
    workload = Workload(host, HALF, FRAMES, SIZE)
    exact, net = workload.model(ptm=workload.ptm()), workload.control_net()
    (fast,) = host.node("TCANSpeed")(model=exact, reuse_steps=REUSE)
    found["our step"] = ours(workload, exact, net, given.repeats)
    # the step before these is a full one, so these are two rounds that each end with a full step
    rounds = ours(workload, fast, net, 2 * REUSE)
    found[f"our step, reuse_steps {REUSE}, mean of {2 * REUSE}"] = [statistics.mean(rounds)]
    base = statistics.median(found[NAMES["whole"]])
    for name, values in found.items():
        middle = statistics.median(values)
        sys.stdout.write(f"{name:64}{middle:7.2f} s  ({min(values):.2f} to {max(values):.2f})  {middle / base:.2f}\n")


if __name__ == "__main__":
    main()
