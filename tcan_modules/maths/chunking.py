"""Feed-forward layers computed in chunks, so that their wide hidden layer takes bounded memory (diffusers: forward chunking).

A GEGLU feed-forward holds eight times its input and sets a UNet's peak. Chunks give the same numbers; on a CPU they are also
faster, because fresh large buffers cost more than the arithmetic on them.
"""

from collections.abc import Callable

import torch

GEGLU = 8  # channels of a feed-forward's first layer over those of its input
# a GPU wants chunks that fill it; a CPU chunks small enough for malloc to keep (a feed-forward holds twice as much)
LARGEST, LARGEST_ON_CPU = 128 * 2**20, 16 * 2**20  # bytes


def chunk_length(entry: torch.Tensor) -> int:
    """How many entries of this size one chunk may hold; at least 1.

    Inside the layer each entry grows to `GEGLU` times its size.
    """
    largest = LARGEST_ON_CPU if entry.device.type == "cpu" else LARGEST
    return max(1, largest // (GEGLU * entry.numel() * entry.element_size()))


def in_chunks(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A feed-forward on ``x [batch, tokens, channels]``, a chunk of tokens at a time -> same shape."""
    tokens = x.flatten(0, 1)
    length = chunk_length(tokens[0])
    if length >= len(tokens):
        return forward(x)
    return torch.cat([forward(chunk) for chunk in tokens.split(length)]).view(x.shape)
