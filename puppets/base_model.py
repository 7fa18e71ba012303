"""The puppet model's base: a small UNet and OpenPose ControlNet in place of SD1.5's.

Both are trained together, half of the pictures with their pose and half without, and are frozen afterwards. At first each picture sees
only itself; later most pictures attend to a partner, another picture of the same character. SD1.5 needs no such training: its
self-attention finds corresponding points in two pictures ("reference-only"), and TCAN's stage 1 builds on that; here it is trained
(`correspondence`).
"""

import torch
from torch import nn
from torch.nn import functional as F

from tcan_modules.training.model import noise_schedule
from tcan_modules.training.networks import new_controlnet, new_unet
from tcan_modules.training.reference_attention import ReferenceTokens, add_reference_attention
from tcan_modules.training.state import Tensors, corner
from tcan_modules.training.steps import draw_noise, to_signed
from tcan_modules.training.temporal_layers import FrameCount
from tcan_modules.weights.architecture import Architecture

from .correspondence import Matches

CONTEXT = 32  # channels of the text embedding
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
# The first sampling step divides predicted noise by sqrt(alpha_bar) = 0.07, so its scale must be exact. That scale varies between latents
# of 16x16, and group norms hide it from the UNet.
V_PREDICTION = True
MATCHING = 0.1  # weight of the matching loss; that of denoising is 1
APART = 0.3  # share of pairs whose pictures do not see each other


def empty_prompt() -> torch.Tensor:
    """The embedding of the empty prompt, ``[1, 4, 32]``, the same in every puppet model."""
    return torch.randn(1, 4, CONTEXT, generator=torch.Generator().manual_seed(0))


class PuppetBase(nn.Module):
    """UNet, ControlNet and frozen VAE.

    The ControlNet's hint layers are narrow in training; `wide_hints` widens them.
    """

    def __init__(self, vae: nn.Module):
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        super().__init__()
        self.unet, self.controlnet = new_unet(ARCHITECTURE), new_controlnet(ARCHITECTURE)
        self.controlnet.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            ARCHITECTURE.block_channels[0], block_out_channels=HINT_CHANNELS
        )
        self.partner_tokens = ReferenceTokens(self.unet, lambda tokens: tokens.roll(len(tokens) // 2, 0))
        add_reference_attention(self.unet, self.partner_tokens, FrameCount())
        self.matches = Matches(self.unet, self.partner_tokens)
        self.vae = vae.requires_grad_(False)
        self.scheduler = noise_schedule(V_PREDICTION)
        self.register_buffer("empty_prompt", empty_prompt(), persistent=False)

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, pose: torch.Tensor, controlled: int) -> torch.Tensor:
        """Predict the velocity of noisy latents.

        Args:
            noisy: ``[n, 4, h, w]``; picture i and picture i + n/2 are partners.
            times: ``[n]``.
            pose: pose images in 0..1, ``[n, 3, 8h, 8w]``.
            controlled: number of pictures, from the first, that see their pose.

        Returns:
            ``[n, 4, h, w]``.
        """
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
        """The loss of denoising and of matching.

        Args:
            batch: uint8 ``pixels`` and ``pose [n, 1, 3, h, w]``, ``joints [n, 1, 18, 2]`` in pixels, and bool ``paired [n]``: whether
                pictures 2k and 2k + 1 are partners. n is even.
            generator: of everything random.
        """
        order = torch.arange(len(batch["pixels"])).view(-1, 2).T.flatten()  # first of all pairs, then second of all pairs
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"][order, 0]))
        noise, times = draw_noise(latents, generator)
        half = len(latents) // 2
        nearer, apart = torch.rand(2, half, generator=generator).to(latents.device)
        self.partner_tokens.dropped = (apart < APART).repeat(2) | ~batch["paired"][order]
        # the second of a pair has less noise, like a reference
        times[half:] = torch.where(self.partner_tokens.dropped[half:], times[half:], (times[half:] * nearer).long())
        noisy = self.scheduler.add_noise(latents, noise, times)
        pose = batch["pose"][order, 0].float() / 255
        prediction = self.predict(noisy, times, pose, half)
        denoising = F.mse_loss(prediction, self.scheduler.get_velocity(latents, noise, times))
        return denoising + MATCHING * self.matches.loss(
            batch["pixels"][order, 0], batch["joints"][order, 0], ~self.partner_tokens.dropped
        )


def wide_hints(state: Tensors) -> Tensors:
    """A ControlNet's state dict with its narrow hint layers at the usual width.

    The added channels are zero, and SiLU keeps zeros, so the network computes the same.
    """
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

    prefix = "controlnet_cond_embedding."
    full = ControlNetConditioningEmbedding(ARCHITECTURE.block_channels[0], block_out_channels=FULL_HINT_CHANNELS).state_dict()
    wide = dict(state)
    for name, tensor in full.items():
        own = state[prefix + name]
        wide[prefix + name] = tensor.zero_()
        wide[prefix + name][corner(own)] = own
    return wide
