"""Checks of values that no widget allows, but a link or the API brings."""

from collections.abc import Sequence

import torch


def check_choice(name: str, value, choices: Sequence[str]) -> None:
    """Raise if a combo has a value that is none of its choices."""
    if value not in choices:
        raise ValueError(f"{name} cannot be {str(value)[:60]!r}: choose one of {', '.join(choices)}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Raise if a number is NaN or outside of its widget's range."""
    if not (isinstance(value, (int, float)) and low <= value <= high):  # NaN compares as False
        is_huge = isinstance(value, int) and value.bit_length() > 64  # Python refuses to print some
        given = "a number of that size" if is_huge else str(value)[:60]
        raise ValueError(f"{name} cannot be {given}: give a number from {low:g} to {high:g}.")


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
