"""Random model files for the stock loaders and Load TCAN, made on the card from a seed.

So nothing large has to travel to the card's machine.
"""

import argparse
import contextlib
import shutil
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tcan_modules.weights.checkpoint import Checkpoint, pack
from tcan_modules.weights.layouts import Part
from tcan_modules.weights.naming import to_host
from tests.benchmarks.models import random_checkpoint
from tests.gpu.card import CARD, REHEARSAL, Card
from tests.helpers.tiny_models import tiny_vae
from tests.helpers.wide_models import lora_weights

# Kind of model, as the host names its folders -> the file.
FILES = {
    "diffusion_models": "sd15.safetensors",
    "controlnet": "openpose.safetensors",
    "loras": "lora.safetensors",
    "tcan": "tcan.safetensors",
}
DONE = "done"


def make(folder: Path, card: Card) -> Path:
    """Write the files, unless a complete set is there already."""
    if (folder / DONE).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = random_checkpoint(card.channels, dtype=torch.float16, device=card.device)
    checkpoint.empty_prompt = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(0))
    checkpoint.vae = _vae(folder)
    tensors = {
        "diffusion_models": to_host(checkpoint.unet.tensors, checkpoint.unet.architecture),
        "controlnet": _control_net(checkpoint),
        "loras": {name: tensor.half() for name, tensor in lora_weights(checkpoint.unet.tensors).items()},
        "tcan": pack(checkpoint),
    }
    for kind, name in FILES.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors[kind].items()}, folder / name)
    (folder / DONE).touch()
    if card.device == "cuda":
        torch.cuda.empty_cache()
    return folder


def link(folder: Path, base: Path) -> None:
    """Put the files into a host's model folders."""
    for kind, name in FILES.items():
        target = base / "models" / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            try:
                target.symlink_to(folder / name)
            except OSError:  # links are not allowed everywhere
                shutil.copy(folder / name, target)


def _vae(folder: Path) -> Part:
    path = folder / "vae.safetensors"
    tiny_vae(path)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    path.unlink()
    return Part(tensors, "random")


def _control_net(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    part = checkpoint.controlnet
    return {f"control_model.{name}": tensor for name, tensor in to_host(part.tensors, part.architecture).items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.gpu.models", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true", help="small ones, for the CPU")
    given = parser.parse_args()
    started = time.perf_counter()
    folder = make(given.folder, REHEARSAL if given.rehearse else CARD)
    size = sum(file.stat().st_size for file in folder.iterdir())
    sys.stdout.write(f"{size / 2**30:.2f} GiB in {time.perf_counter() - started:.1f} s\n")


if __name__ == "__main__":
    main()
