"""Teaches the temporal layers of the puppet model's ControlNet what they are for, before stage 2 trains them with the UNet's.

Stage 2 tells them through the denoised clip alone. There a wrong pose costs little, so in the few steps of two CPU cores they learned to
take out no more than a fifth of what wrong poses cost. The authors' layers begin trained, from AnimateDiff's motion modules. The puppet
world knows the right poses, so these are told first: for a clip with wrong poses give what the frozen ControlNet, which sees frame by
frame, gives for the right ones.
"""

from collections.abc import Sequence

import torch
from torch import nn

from tcan_modules.training.model import TCAN
from tcan_modules.training.sources import Start
from tcan_modules.training.steps import draw_noise, to_signed
from tcan_modules.training.temporal_layers import repeat_frames


def relative_error(found: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared error of residuals over their squares, mean over the residuals.

    Without the first of them: it leaves the network before any temporal layer.
    """
    pairs = zip(found[1:], right[1:], strict=True)
    return torch.stack([(a - b).square().sum() / b.square().sum() for a, b in pairs]).mean()


class PoseRepair(nn.Module):
    """Loss of clips ``{"pixels": [rows, frames, 3, h, w], "pose": likewise, "true_pose": likewise}`` (uint8): `relative_error`."""

    def __init__(self, model: TCAN, start: Start):
        super().__init__()
        self.vae, self.scheduler = start.vae, model.scheduler
        model.learn(2)
        self.controlnet, self.count = model.controlnet, model.control_count  # the UNet stays outside, and out of the optimizer
        self.register_buffer("empty_prompt", start.empty_prompt.float(), persistent=False)

    def residuals(self, noisy: torch.Tensor, times: torch.Tensor, pose: torch.Tensor, frames: int) -> list[torch.Tensor]:
        """Of latents ``[rows * frames, 4, h, w]``; they see each other ``frames`` at a time."""
        self.count.frames = frames
        text = self.empty_prompt.expand(len(noisy), -1, -1)
        hint = pose.flatten(0, 1).float() / 255
        down, middle = self.controlnet(noisy, times, text, controlnet_cond=hint, return_dict=False)
        return [*down, middle]

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        rows, frames = batch["pixels"].shape[:2]
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"]).flatten(0, 1), generator).unflatten(0, (rows, frames))
            noise, times = draw_noise(latents, generator)
            noisy = self.scheduler.add_noise(latents, noise, times).flatten(0, 1)
            times = repeat_frames(times, frames)
            right = self.residuals(noisy, times, batch["true_pose"], 1)
        return relative_error(self.residuals(noisy, times, batch["pose"], frames), right)
