"""From a batch of pictures to a loss, for both stages (authors' ``train.py``, the body of their loop)."""

import torch
from torch import nn

from .model import TCAN


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pictures to -1..1."""
    return pixels.float() / 127.5 - 1


def draw_noise(latents: torch.Tensor, generator: torch.Generator, timesteps: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise like the latents ``[rows, …]``, and a timestep for each row, both drawn on the CPU."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(0, timesteps, (latents.shape[0],), generator=generator).to(latents.device)
    return noise, times


class StageStep(nn.Module):
    """Loss of a batch ``{"pixels": [rows, frames, 3, h, w], "pose": likewise, "reference": [rows, 3, h, w]}`` (uint8).

    Args:
        empty_prompt: text embedding of all rows, ``[1, tokens, width]``.
        drop_reference: chance of a row to be trained without its reference (stage 1; the authors' 10 %).
    """

    def __init__(
        self,
        model: TCAN,
        vae: nn.Module,
        empty_prompt: torch.Tensor,
        drop_reference: float = 0.0,
    ):
        super().__init__()
        self.model, self.vae, self.drop_reference = model, vae, drop_reference
        self.register_buffer("empty_prompt", empty_prompt.float(), persistent=False)

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        rows = batch["pixels"].shape[0]
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"]).flatten(0, 1), generator).unflatten(0, (rows, -1))
            reference = self.vae.encode(to_signed(batch["reference"]))
        noise, times = draw_noise(latents, generator)
        dropped = None
        if self.drop_reference:
            dropped = (torch.rand(rows, generator=generator) < self.drop_reference).to(latents.device)
        return self.model.loss(
            latents,
            noise,
            times,
            text=self.empty_prompt.expand(rows, -1, -1),
            pose=batch["pose"].float() / 255,
            reference=reference,
            dropped=dropped,
        )
