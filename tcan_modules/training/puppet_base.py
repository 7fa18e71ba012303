"""The puppet model's base: a small SD-shaped UNet and its OpenPose ControlNet, in place of SD1.5 and its published ControlNet.

Both are trained together, half of the pictures with their pose and half without, and are frozen ever after.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..naming import Architecture
from .model import SCHEDULE
from .networks import new_controlnet, new_unet
from .steps import draw_noise, to_signed

CONTEXT = 32  # width of the text embedding
ARCHITECTURE = Architecture(
    in_channels=4,
    out_channels=4,
    block_channels=(64, 96, 128),
    layers=(1, 1, 1),
    depth_down=((1,), (1,), (1,)),
    depth_middle=1,
    depth_up=((1, 1), (1, 1), (1, 1)),
    context_dim=CONTEXT,
)
HINT_CHANNELS, FULL_HINT_CHANNELS = (8, 16, 32, 64), (16, 32, 96, 256)


def empty_prompt() -> torch.Tensor:
    """The embedding that stands for the empty prompt, ``[1, 4, 32]``: the same numbers in every puppet model."""
    return torch.randn(1, 4, CONTEXT, generator=torch.Generator().manual_seed(0))


class PuppetBase(nn.Module):
    """UNet, ControlNet and frozen VAE. The ControlNet's hint layers are narrow while they train (`wide_hints`)."""

    def __init__(self, vae: nn.Module):
        from diffusers import DDIMScheduler
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        super().__init__()
        self.unet, self.controlnet = new_unet(ARCHITECTURE), new_controlnet(ARCHITECTURE)
        self.controlnet.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            ARCHITECTURE.block_channels[0], block_out_channels=HINT_CHANNELS
        )
        self.vae = vae.requires_grad_(False)
        self.scheduler = DDIMScheduler(**SCHEDULE)
        self.register_buffer("empty_prompt", empty_prompt(), persistent=False)

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, pose: torch.Tensor, controlled: int) -> torch.Tensor:
        """Noise in latents ``[n, 4, h, w]``; the first ``controlled`` of them see their pose (in 0..1, ``[n, 3, 8h, 8w]``)."""
        text = self.empty_prompt.expand(len(noisy), -1, -1)
        down, middle = self.controlnet(
            noisy[:controlled], times[:controlled], text[:controlled], controlnet_cond=pose[:controlled], return_dict=False
        )
        rest = (0, 0) * 3 + (0, len(noisy) - controlled)
        down, middle = [F.pad(residual, rest) for residual in down], F.pad(middle, rest)
        return self.unet(
            noisy, times, text, down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False
        )[0]

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"]).flatten(0, 1))
        noise, times = draw_noise(latents, generator)
        noisy = self.scheduler.add_noise(latents, noise, times)
        pose = batch["pose"].flatten(0, 1).float() / 255
        return F.mse_loss(self.predict(noisy, times, pose, (len(noisy) + 1) // 2).float(), noise)


def wide_hints(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ControlNet's state with its narrow hint layers written out at the width that every ControlNet has.

    The channels that are added hold zeros, and SiLU keeps zeros, so the network computes the same.
    """
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

    prefix = "controlnet_cond_embedding."
    full = ControlNetConditioningEmbedding(ARCHITECTURE.block_channels[0], block_out_channels=FULL_HINT_CHANNELS).state_dict()
    wide = dict(state)
    for name, tensor in full.items():
        own = state[prefix + name]
        wide[prefix + name] = tensor.zero_()
        wide[prefix + name][tuple(slice(0, size) for size in own.shape)] = own
    return wide
