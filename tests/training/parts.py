"""Tiny networks and data for the tests of training."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from tcan_modules.training.autoencoder import TinyAutoencoder
from tcan_modules.training.sources import Start
from tcan_modules.training.vae import TinyVAE
from tcan_modules.weights.checkpoint import load_checkpoint

REFERENCE = Path(__file__).parents[1] / "reference"
SIZE = 64


def tiny_start() -> Start:
    """The authors' tiny random networks with a small VAE."""
    parts = ("unet", "appearance_encoder", "temporal_controlnet")
    checkpoint = load_checkpoint([REFERENCE / f"{part}.safetensors" for part in parts], "reference")
    torch.manual_seed(1)
    prompt = torch.randn(1, 7, 48)
    checkpoint.empty_prompt = prompt
    return Start(checkpoint, TinyVAE(TinyAutoencoder()).requires_grad_(False), prompt)


class RandomClips(Dataset):
    """Numbered samples of noise."""

    def __init__(self, frames: int):
        self.frames = frames

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(number)
        shape = (self.frames, 3, SIZE, SIZE)
        pixels, pose = (torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(2))
        return {"pixels": pixels, "pose": pose, "reference": pixels[0]}


def losses_of(step: torch.nn.Module, batch: dict[str, torch.Tensor], steps: int, lr: float) -> list[float]:
    """The losses of a training on one batch, always with the same noise."""
    optimizer = torch.optim.Adam([tensor for tensor in step.parameters() if tensor.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = step(batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
