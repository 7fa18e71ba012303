"""The suite's device: a card with models of SD1.5's width, or the CPU with small ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# The largest relative error of a video in each precision.
BARS = {"float32": 1e-4, "float16": 3e-2, "bfloat16": 3e-2}


@dataclass(frozen=True)
class Card:
    """A device, and the size of the models and videos on it."""

    device: str
    channels: tuple[int, ...]  # of the UNet's levels
    frames: int
    size: int  # of the latents, in both directions
    flags: tuple[str, ...] = ()  # of every host's command line

    @property
    def is_rehearsal(self) -> bool:
        """Whether the CPU stands in for a card."""
        return self.device == "cpu"

    @property
    def bar(self) -> float:
        """The largest relative error in the precision that the host chooses for float16 files."""
        return BARS["float32" if self.is_rehearsal else "float16"]


CARD = Card("cuda", (320, 640, 1280, 1280), frames=16, size=32, flags=("--preview-method", "latent2rgb"))
# The stock loaders recognize SD1.5 by its 320 channels, at any depth.
REHEARSAL = Card("cpu", (320, 320, 320), frames=6, size=8, flags=("--preview-method", "latent2rgb"))


def describe() -> dict[str, Any]:
    """The card, its driver and the software versions behind the figures."""
    import platform

    import comfyui_version

    found = {
        "ComfyUI": comfyui_version.__version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "ComfyUI in": str(Path(comfyui_version.__file__).parent),
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
        "card": "none",
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "GiB": round(properties.total_memory / 2**30, 1),
            "compute capability": f"{properties.major}.{properties.minor}",
            "CUDA of torch": torch.version.cuda,
            "driver": _driver(),
        }
    return found


def _driver() -> str:
    import subprocess

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"
