"""Trains the temporal layers of the puppet model's ControlNet before stage 2.

Stage 2 trains them only by the loss of the denoised clip. A wrong pose adds little to it, so in the few steps that two CPU cores allow
they learned to remove at most a fifth of what wrong poses cost. The authors' layers start trained, from AnimateDiff's motion modules. The
puppet world knows the right poses, so here the layers are trained on them first: for a clip with wrong poses they must give the residuals
that the frozen ControlNet, frame by frame, gives for the right ones.
"""

from collections.abc import Sequence

import torch
from torch import nn

from tcan_modules.training.model import TCAN
from tcan_modules.training.sources import Start
from tcan_modules.training.steps import draw_noise, to_signed
from tcan_modules.training.temporal_layers import repeat_frames


def relative_error(found: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared error of residuals relative to their squares, averaged over the residuals.

    Without the first residual, which leaves the network before any temporal layer.

    Args:
        found, right: a ControlNet's residuals, each ``[frames, channels, h, w]``.
    """
    pairs = zip(found[1:], right[1:], strict=True)
    return torch.stack([(a - b).square().sum() / b.square().sum() for a, b in pairs]).mean()


class PoseRepair(nn.Module):
    """The loss of a ControlNet's temporal layers on clips with wrong poses: `relative_error`."""

    def __init__(self, model: TCAN, start: Start):
        super().__init__()
        self.vae, self.scheduler = start.vae, model.scheduler
        model.learn(2)
        self.controlnet, self.count = model.controlnet, model.control_count  # without the UNet, which is not trained here
        self.register_buffer("empty_prompt", start.empty_prompt.float(), persistent=False)

    def residuals(self, noisy: torch.Tensor, times: torch.Tensor, pose: torch.Tensor, frames: int) -> list[torch.Tensor]:
        """The ControlNet's residuals, each ``[clips * frames, channels, h', w']``.

        Args:
            noisy: latents ``[clips * frames, 4, h, w]``.
            times: ``[clips * frames]``.
            pose: uint8 ``[clips, frames, 3, 8h, 8w]``.
            frames: how many frames the temporal layers see together.
        """
        self.count.frames = frames
        text = self.empty_prompt.expand(len(noisy), -1, -1)
        hint = pose.flatten(0, 1).float() / 255
        down, middle = self.controlnet(noisy, times, text, controlnet_cond=hint, return_dict=False)
        return [*down, middle]

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        """The loss of a batch.

        Args:
            batch: uint8 ``pixels``, ``pose`` and ``true_pose [clips, frames, 3, h, w]``.
            generator: of everything random.
        """
        clips, frames = batch["pixels"].shape[:2]
        with torch.no_grad():
            latents = self.vae.encode(to_signed(batch["pixels"]).flatten(0, 1), generator).unflatten(0, (clips, frames))
            noise, times = draw_noise(latents, generator)
            noisy = self.scheduler.add_noise(latents, noise, times).flatten(0, 1)
            times = repeat_frames(times, frames)
            right = self.residuals(noisy, times, batch["true_pose"], 1)
        return relative_error(self.residuals(noisy, times, batch["pose"], frames), right)
