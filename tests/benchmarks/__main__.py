"""`python dev.py python -m tests.benchmarks`: what a denoising step costs beside the host's bare networks, in one run.

On a CPU the models are SD1.5 at half its width on 32x32 latents, and at a fifth where they are scaled, in float32; on a GPU they have
SD1.5's width on 64x64 latents in float16. Times want a machine that does nothing else; counted operations and bytes do not.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from tests.benchmarks import sections
from tests.benchmarks.arithmetic import arithmetic
from tests.benchmarks.models import HALF, SD15, SMALL
from tests.benchmarks.quality import reuse_quality
from tests.benchmarks.scene import Scene
from tests.host import boot


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = ("arithmetic", *sections.SECTIONS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="some of the sections instead of all")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of the large model, of which the median counts")
    parser.add_argument("--full", action="store_true", help="on a CPU too, scale the large model (an hour and more)")
    parser.add_argument(
        "--psnr", type=Path, metavar="CHECKPOINT", help="instead: what reuse costs in PSNR, with a packed puppet model"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    host = boot(cpu=not on_gpu)
    logging.getLogger().setLevel(logging.WARNING)
    sys.stdout.write(f"{torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads'}\n")
    figures = {}
    if arguments.psnr:
        figures["psnr"] = reuse_quality(host, arguments.psnr)
    else:
        large = Scene(host, SD15, 16, 64, torch.float16) if on_gpu else Scene(host, HALF, 16, 32)
        scaled = large if on_gpu or arguments.full else Scene(host, SMALL, 16, 16)
        for name in arguments.only:
            sys.stdout.write(f"\n{name}\n")
            if name == "arithmetic":
                figures[name] = arithmetic(host)
            else:
                scene = large if name == "parts" else scaled
                figures[name] = sections.SECTIONS[name](scene, arguments.repeats if scene is large else 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
