"""Feed-forward layers in chunks, which bounds the memory of their wide hidden layer.

A GEGLU feed-forward holds eight times its input and sets a UNet's peak. Chunks give the same numbers (diffusers: forward chunking); on
a CPU they are also faster, because fresh large buffers cost more than the arithmetic on them.
"""

from collections.abc import Callable

import torch

GEGLU = 8  # channels of a feed-forward's first layer over those of its input
# a GPU wants chunks that fill it; a CPU chunks small enough for malloc to keep (a feed-forward holds twice as much)
LARGEST, LARGEST_ON_CPU = 128 * 2**20, 16 * 2**20  # bytes


def chunk_length(entry: torch.Tensor) -> int:
    """How many entries like this one a chunk may hold; at least 1.

    Args:
        entry: of any shape ``[…]``; inside the layer it grows to `GEGLU` times its size.
    """
    largest = LARGEST_ON_CPU if entry.device.type == "cpu" else LARGEST
    return max(1, largest // (GEGLU * entry.numel() * entry.element_size()))


def in_chunks(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A feed-forward, some tokens at a time; ``x [batch, tokens, channels]`` -> same shape."""
    tokens = x.flatten(0, 1)
    length = chunk_length(tokens[0])
    if length >= len(tokens):
        return forward(x)
    return torch.cat([forward(chunk) for chunk in tokens.split(length)]).view(x.shape)
