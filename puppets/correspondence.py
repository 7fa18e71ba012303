"""Teaches the puppet model's base what SD1.5 knows without being told: where in another picture the same thing is.

SD1.5's features find corresponding points in two pictures (Tang et al., "Emergent correspondence from image diffusion", NeurIPS
2023), and TCAN's reading of a reference rests on it. A small UNet on 16x16 latents has seen too little to have come by that: its
attention to the other picture stays almost uniform, and what it reads there is a blur. The puppet world knows the matches, so the base
learns them by name: half of the heads look for the same place where both pictures show the same, the other half for the same point of
the body.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from tcan_modules.pose.draw import LIMBS
from tcan_modules.training.reference_attention import ReferenceTokens, reference_blocks

TOLERANCE = 10  # of 255: pictures that differ less show the same
SIDES = (8, 16)  # grids of the layers that learn it: on 4 x 4 cells there is too much in each
ALONG = (0.25, 0.5, 0.75)  # points between the joints of a limb


def body_points(joints: torch.Tensor) -> torch.Tensor:
    """Joints ``[n, 18, 2]`` -> the same points of every body, ``[n, points, 2]``: the joints, and some along the limbs."""
    ends = joints[:, torch.tensor(LIMBS)]
    return torch.cat([joints, *(torch.lerp(ends[:, :, 0], ends[:, :, 1], share) for share in ALONG)], dim=1)


def same_places(one: torch.Tensor, other: torch.Tensor, side: int) -> torch.Tensor:
    """Which cells of a grid show the same in uint8 pictures ``[n, 3, h, w]``: bool ``[n, side * side]``."""
    differ = (one.float() - other.float()).abs().amax(1, keepdim=True)
    return (F.adaptive_max_pool2d(differ, side) < TOLERANCE).flatten(1)


def cells(points: torch.Tensor, size: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells that points (in pixels, ``[n, points, 2]``) lie in, and which of them lie in the picture at all."""
    column, row = (points * side / size).floor().long().unbind(-1)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return torch.where(inside, row * side + column, 0), inside


def log_attention(layer: nn.Module, own: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Logarithm of a self-attention's weights on kept tokens, among these alone: ``[n, heads, own tokens, kept tokens]``."""
    query, key = (tensor.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for tensor in (layer.to_q(own), layer.to_k(kept)))
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).log_softmax(-1)


def _missed(logs: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean over what counts of -log(mean over heads of the chance); ``[n, heads, things]``, ``[n, things]``."""
    found = logs.logsumexp(1) - math.log(logs.shape[1])
    return -(found * counts).sum() / counts.sum().clamp(min=1)


def mismatch(logs: torch.Tensor, pixels: torch.Tensor, joints: torch.Tensor, paired: torch.Tensor) -> torch.Tensor:
    """How badly one layer finds the matches.

    Args:
        logs: `log_attention` of it, ``[n, heads, tokens, tokens]``.
        pixels: uint8 ``[n, 3, size, size]``; the mate of picture i is i + n/2, modulo n.
        joints: ``[n, 18, 2]`` in pixels.
        paired: which of them have a mate, bool ``[n]``.
    """
    half, side, heads = len(pixels) // 2, math.isqrt(logs.shape[-1]), logs.shape[1] // 2
    places = same_places(pixels, pixels.roll(half, 0), side) & paired[:, None]
    cell, inside = cells(body_points(joints), pixels.shape[-1], side)
    points = logs[torch.arange(len(cell))[:, None], heads:, cell, cell.roll(half, 0)].transpose(1, 2)
    return _missed(logs[:, :heads].diagonal(dim1=-2, dim2=-1), places) + _missed(
        points, inside & inside.roll(half, 0) & paired[:, None]
    )


class Matches:
    """Watches the self-attention of a UNet's up blocks that read a mate's features, and says how badly it finds the matches."""

    def __init__(self, unet: nn.Module, partner_tokens: ReferenceTokens):
        self.partner_tokens = partner_tokens
        self.seen: list[torch.Tensor] = []
        for name, block in reference_blocks(unet).items():
            block.attn1.register_forward_pre_hook(lambda layer, inputs, name=name: self._look(layer, inputs[0], name))

    def _look(self, layer: nn.Module, own: torch.Tensor, name: str) -> None:
        if torch.is_grad_enabled() and math.isqrt(own.shape[1]) in SIDES and name in self.partner_tokens.features:
            self.seen.append(log_attention(layer, own, self.partner_tokens.features[name]))

    def loss(self, pixels: torch.Tensor, joints: torch.Tensor, paired: torch.Tensor) -> torch.Tensor:
        """`mismatch`, the mean over the layers that were seen since the last time; none without gradients."""
        seen, self.seen = self.seen, []
        if not seen:
            return pixels.new_zeros((), dtype=torch.float32)
        return torch.stack([mismatch(logs, pixels, joints, paired) for logs in seen]).mean()
