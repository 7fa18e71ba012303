"""The puppet model's base: a small SD-shaped UNet and its OpenPose ControlNet, in place of SD1.5 and its published ControlNet.

Both are trained together, half of the pictures with their pose and half without, and are frozen ever after. At first every picture is
alone; then two pictures of one character attend to each other, most of the time. SD1.5 brings that along: its self-attention finds what
belongs together in two pictures without training ("reference-only"), and TCAN's stage 1 builds on it; here it is taught (`correspondence`).
"""

import torch
from torch import nn
from torch.nn import functional as F

from tcan_modules.training.model import noise_schedule
from tcan_modules.training.networks import new_controlnet, new_unet
from tcan_modules.training.reference_attention import ReferenceTokens, add_reference_attention
from tcan_modules.training.state import corner
from tcan_modules.training.steps import draw_noise, to_signed
from tcan_modules.training.temporal_layers import FrameCount
from tcan_modules.weights.architecture import Architecture

from .correspondence import Matches

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
# Predicted noise, divided by sqrt(alpha_bar) = 0.07 at the first timestep, would need the noise's own scale, which 16x16 latents do not fix
# and group norms cannot see.
V_PREDICTION = True
MATCHING = 0.1  # weight of finding the matches, beside the loss of denoising
APART = 0.3  # chance of a pair to be trained as two pictures that know nothing of each other


def empty_prompt() -> torch.Tensor:
    """The embedding that stands for the empty prompt, ``[1, 4, 32]``: the same numbers in every puppet model."""
    return torch.randn(1, 4, CONTEXT, generator=torch.Generator().manual_seed(0))


class PuppetBase(nn.Module):
    """UNet, ControlNet and frozen VAE. The ControlNet's hint layers are narrow while they train (`wide_hints`)."""

    def __init__(self, vae: nn.Module):
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        super().__init__()
        self.unet, self.controlnet = new_unet(ARCHITECTURE), new_controlnet(ARCHITECTURE)
        self.controlnet.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            ARCHITECTURE.block_channels[0], block_out_channels=HINT_CHANNELS
        )
        self.partner_tokens = ReferenceTokens(self.unet, lambda features: features.roll(len(features) // 2, 0))
        add_reference_attention(self.unet, self.partner_tokens, FrameCount())
        self.matches = Matches(self.unet, self.partner_tokens)
        self.vae = vae.requires_grad_(False)
        self.scheduler = noise_schedule(V_PREDICTION)
        self.register_buffer("empty_prompt", empty_prompt(), persistent=False)

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, pose: torch.Tensor, controlled: int) -> torch.Tensor:
        """Velocity in latents ``[n, 4, h, w]``; the first ``controlled`` of them see their pose (in 0..1, ``[n, 3, 8h, 8w]``)."""
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
        """Loss of pictures ``[n, 1, 3, h, w]``, n even; where ``paired`` (bool ``[n]``), those at 2k and 2k + 1 belong together.

        ``joints`` of the bodies: ``[n, 1, 18, 2]`` in pixels.
        """
        order = torch.arange(len(batch["pixels"])).view(-1, 2).T.flatten()  # first of all pairs, then second of all pairs
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"][order, 0]))
        noise, times = draw_noise(latents, generator)
        half = len(latents) // 2
        nearer, apart = torch.rand(2, half, generator=generator).to(latents.device)
        self.partner_tokens.dropped = (apart < APART).repeat(2) | ~batch["paired"][order]
        # the second of a pair is the clearer one, as a reference is
        times[half:] = torch.where(self.partner_tokens.dropped[half:], times[half:], (times[half:] * nearer).long())
        noisy = self.scheduler.add_noise(latents, noise, times)
        pose = batch["pose"][order, 0].float() / 255
        prediction = self.predict(noisy, times, pose, half)
        denoising = F.mse_loss(prediction, self.scheduler.get_velocity(latents, noise, times))
        return denoising + MATCHING * self.matches.loss(
            batch["pixels"][order, 0], batch["joints"][order, 0], ~self.partner_tokens.dropped
        )


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
        wide[prefix + name][corner(own)] = own
    return wide
