"""Layers that are much wider inside than outside, computed in pieces, so that what they hold meanwhile is bounded.

GEGLU feed-forwards hold eight times their input and make the peak of a UNet. Pieces give the same numbers; on a CPU they are also
faster: large fresh buffers cost more than what is computed in them.
"""

from collections.abc import Callable

import torch

GEGLU = 8  # channels of a feed-forward's first layer over those of its input
# a GPU wants pieces that fill it; a CPU some that malloc does not give back to the system after each (twice as much is held inside)
LARGEST, LARGEST_ON_CPU = 128 * 2**20, 16 * 2**20


def piece_length(entry: torch.Tensor) -> int:
    """How many entries like this one fit in a piece where each becomes `GEGLU` times as large inside; at least one."""
    largest = LARGEST_ON_CPU if entry.device.type == "cpu" else LARGEST
    return max(1, largest // (GEGLU * entry.numel() * entry.element_size()))


def in_pieces(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A feed-forward on ``x [rows, tokens, channels]``, some tokens at a time -> same shape."""
    tokens = x.flatten(0, 1)
    length = piece_length(tokens[0])
    if length >= len(tokens):
        return forward(x)
    return torch.cat([forward(piece) for piece in tokens.split(length)]).view(x.shape)
