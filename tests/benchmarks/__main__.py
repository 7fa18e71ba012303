"""`python dev.py python -m tests.benchmarks`: the cost of a denoising step beside the host's bare networks.

On a CPU the models are SD1.5 at half its width on 32x32 latents, and at a fifth where they are scaled, in float32; on a GPU they have
SD1.5's width on 64x64 latents in float16. ``card`` and ``long`` are tables of a GPU. Times need an idle machine; counted
operations and bytes do not.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from tests.benchmarks import card, sections
from tests.benchmarks.arithmetic import arithmetic
from tests.benchmarks.models import HALF, SD15, SMALL, TINY
from tests.benchmarks.quality import reuse_quality
from tests.benchmarks.workload import Workload
from tests.helpers.host import Host, boot


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = ("arithmetic", *sections.SECTIONS, *card.TABLES)
    parser.add_argument("--only", nargs="+", choices=names, help="some of the sections instead of all")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of the large model, of which the median counts")
    parser.add_argument("--full", action="store_true", help="on a CPU too, scale the large model (an hour and more)")
    parser.add_argument(
        "--psnr", type=Path, metavar="CHECKPOINT", help="instead: what reuse costs in PSNR, with a packed puppet model"
    )
    parser.add_argument("--bfloat16", action="store_true", help="on a GPU, in the place of float16")
    parser.add_argument("--gigabytes", type=float, help="a GPU as small as that")
    parser.add_argument("--rehearse", action="store_true", help="the smallest models, to try the tables themselves")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    flags = card.flags(arguments.gigabytes) if on_gpu and arguments.gigabytes else ()
    flags += ("--bf16-unet",) if on_gpu and arguments.bfloat16 else ()  # the host prefers float16
    host = boot(cpu=not on_gpu, flags=flags)
    logging.getLogger().setLevel(logging.WARNING)
    sys.stdout.write(f"{torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads'}\n")
    if arguments.psnr:
        figures = {"psnr": reuse_quality(host, arguments.psnr)}
        _write(figures, arguments.json)
        return
    large, scaled = _workloads(host, on_gpu, arguments)
    if on_gpu and arguments.gigabytes:
        card.allow(arguments.gigabytes)
    figures = {}
    for name in arguments.only or [name for name in names if on_gpu or name not in card.TABLES]:
        sys.stdout.write(f"\n{name}\n")
        if name == "arithmetic":
            figures[name] = arithmetic(host)
        elif name in card.TABLES:
            figures[name] = card.TABLES[name](scaled, arguments.repeats)
        else:
            workload = large if name == "parts" else scaled
            figures[name] = sections.SECTIONS[name](workload, arguments.repeats if workload is large else 1)
        _write(figures, arguments.json)  # kept if the next section fails


def _workloads(host: Host, on_gpu: bool, arguments: argparse.Namespace) -> tuple[Workload, Workload]:
    """The workload of section ``parts``, and the one of the sections with many frames."""
    if arguments.rehearse:
        workload = Workload(host, TINY, 4, 8)
        return workload, workload
    if on_gpu:
        workload = Workload(host, SD15, 16, 64, torch.bfloat16 if arguments.bfloat16 else torch.float16)
        return workload, workload
    large = Workload(host, HALF, 16, 32)
    return large, large if arguments.full else Workload(host, SMALL, 16, 16)


def _write(figures: dict, file: Path | None) -> None:
    if file:
        file.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
