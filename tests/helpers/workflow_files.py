"""The shipped workflows, and small files that they can read."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.scratch import ROOT
from tests.helpers.tiny_models import tiny_checkpoint, tiny_vae
from tests.helpers.walk import pose_images

WORKFLOWS = ROOT / "workflows"


def load(name: str, api: bool = False) -> dict:
    """A shipped workflow, or its API twin."""
    return json.loads((WORKFLOWS / ("api" if api else "") / f"{name}.json").read_text(encoding="utf-8"))


def animate_files(base: Path, frames: int, width: int, height: int) -> None:
    """Write the files that workflow ``animate`` names: a photograph, a walk, tiny random models."""
    graph = load("animate", api=True)
    names = {name: value for node in graph.values() for name, value in node["inputs"].items() if isinstance(value, str)}
    (base / "models" / "vae").mkdir(parents=True, exist_ok=True)
    tiny_checkpoint(base / "models" / "tcan" / names["checkpoint"])
    tiny_vae(base / "models" / "vae" / names["vae_name"])
    photograph(base / "input" / "character.png", max(width, height))
    save_frames(walk(frames, width, height), base / "input" / "poses.webp")


def photograph(path: Path, size: int = 128) -> None:
    """Write a photograph of the astronaut Eileen Collins (NASA, public domain)."""
    from skimage import data

    Image.fromarray(data.astronaut()).resize((size, size), Image.Resampling.LANCZOS).save(path)


def walk(frames: int, width: int, height: int) -> np.ndarray:
    """Drawn poses, uint8 ``[frames, height, width, 3]``."""
    return (pose_images(frames, width, height) * 255).round().byte().numpy()


def save_frames(frames: Sequence[np.ndarray], path: Path) -> None:
    """Write uint8 pictures as a lossless animated WebP, so that the black of poses stays black."""
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=83, lossless=True)
