"""From a batch of pictures to a loss, for both stages (authors' ``train.py``, loop body)."""

import torch
from torch import nn

from .model import TCAN


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Convert uint8 pictures ``[…, 3, h, w]`` to -1..1."""
    return pixels.float() / 127.5 - 1


def draw_noise(latents: torch.Tensor, generator: torch.Generator, timesteps: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise like ``latents [clips, …]`` and a timestep for each clip, both on the CPU."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(0, timesteps, (latents.shape[0],), generator=generator).to(latents.device)
    return noise, times


class StageStep(nn.Module):
    """The loss of a batch, in either stage.

    Args:
        model: the networks.
        vae: as `load_vae` gives it.
        empty_prompt: text embedding of all clips, ``[1, tokens, channels]``.
        drop_reference: share of clips that are trained without their reference (stage 1; 10 % in the authors' training).
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
        """The loss of a batch.

        Args:
            batch: uint8 tensors: ``pixels`` and ``pose [clips, frames, 3, h, w]``, ``reference [clips, 3, h, w]``.
            generator: of everything random.
        """
        clips = batch["pixels"].shape[0]
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"]).flatten(0, 1), generator).unflatten(0, (clips, -1))
            reference = self.vae.encode(to_signed(batch["reference"]))
        noise, times = draw_noise(latents, generator)
        dropped = None
        if self.drop_reference:
            dropped = (torch.rand(clips, generator=generator) < self.drop_reference).to(latents.device)
        return self.model.loss(
            latents,
            noise,
            times,
            text=self.empty_prompt.expand(clips, -1, -1),
            pose=batch["pose"].float() / 255,
            reference=reference,
            dropped=dropped,
        )
