"""Checks that tensors are a video's latents and an SD1.5 prompt."""

import torch


def check_latents(latents: torch.Tensor, channels: int = 4) -> None:
    """Raise unless these are a video's latents, ``[frames, channels, height, width]``."""
    if latents.ndim != 4 or latents.shape[1] != channels or 0 in latents.shape:
        raise ValueError(
            f"TCAN samples SD1.5 latents [frames, {channels}, height, width], and these are {list(latents.shape)}: use Empty Latent Image"
            " with one latent for each frame, or the latents of an SD1.5 VAE."
        )


def check_text(text: torch.Tensor, channels: int) -> None:
    """Raise if a prompt ``[prompts, tokens, channels]`` is of another CLIP than the model's."""
    if text.shape[-1] != channels:
        raise ValueError(
            f"This prompt has {text.shape[-1]} channels, and the model takes {channels}: encode it with the CLIP of an SD1.5 checkpoint."
        )
