"""Sampling with the networks in training, for the validation videos.

DDIM in one window; for guidance, the unconditional cond does not see the reference. The nodes do the same in ComfyUI, and more.
"""

import numpy as np
import torch
from torch import nn

from .files import replaced
from .model import TCAN
from .steps import to_signed


@torch.no_grad()
def sample_clip(
    model: TCAN,
    vae: nn.Module,
    empty_prompt: torch.Tensor,
    reference: torch.Tensor,
    pose: torch.Tensor,
    *,
    steps: int = 25,
    guidance: float = 7.5,
    seed: int = 0,
) -> torch.Tensor:
    """Animate a reference picture.

    Args:
        model: the networks.
        vae: as `load_vae` gives it.
        empty_prompt: ``[1, tokens, channels]``.
        reference: uint8 ``[3, h, w]``.
        pose: uint8 ``[frames, 3, h, w]``.

    Returns:
        uint8 ``[frames, 3, h, w]``.
    """
    device = empty_prompt.device
    latent = vae.encode(to_signed(reference[None].to(device)))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, len(pose), 4, pose.shape[-2] // 8, pose.shape[-1] // 8), generator=generator).to(device)
    conditions = {"text": empty_prompt, "pose": (pose.to(device).float() / 255)[None], "reference": latent}
    pictures = vae.decode(_denoise(model, noise, conditions, steps, guidance)[0])
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def _denoise(
    model: TCAN, latents: torch.Tensor, conditions: dict[str, torch.Tensor], steps: int, guidance: float
) -> torch.Tensor:
    """DDIM from noise to latents.

    Args:
        latents: noise, ``[1, frames, 4, h, w]``.
        conditions: ``text``, ``pose`` and ``reference`` of `TCAN.forward`, for one clip.

    Returns:
        Clean latents, same shape.
    """
    from diffusers import DDIMScheduler

    device = latents.device
    scheduler = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(steps, device=device)
    guided = guidance != 1.0
    clips = 2 if guided else 1  # without and with the reference
    dropped = torch.tensor([True, False], device=device) if guided else None
    conditions = {name: tensor.expand(clips, *tensor.shape[1:]) for name, tensor in conditions.items()}
    for time in scheduler.timesteps:
        noise = model(latents.expand(clips, -1, -1, -1, -1), time.expand(clips), **conditions, dropped=dropped)
        if guided:
            noise = noise[:1] + guidance * (noise[1:] - noise[:1])
        latents = scheduler.step(noise, time, latents).prev_sample
    return latents


def side_by_side(*columns: torch.Tensor) -> np.ndarray:
    """Clips next to each other in one video.

    Args:
        columns: uint8 ``[frames, 3, h, w]``; a single picture ``[3, h, w]`` is repeated for all frames.

    Returns:
        uint8 ``[frames, h, sum of the widths, 3]``.
    """
    frames = max(len(column) for column in columns if column.ndim == 4)
    shown = [column if column.ndim == 4 else column.expand(frames, -1, -1, -1) for column in columns]
    return torch.cat(shown, dim=-1).permute(0, 2, 3, 1).contiguous().numpy()


def write_video(path, frames: np.ndarray, rate: int = 12) -> None:
    """Write frames, uint8 RGB ``[frames, h, w, 3]`` with even sides, as H.264 in MP4."""
    import av

    with replaced(path) as scratch, av.open(str(scratch), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
