"""Trains the puppet base to find corresponding points in two pictures, as SD1.5 does.

SD1.5's features find them without such training (Tang et al., "Emergent correspondence from image diffusion", NeurIPS 2023), and TCAN's
reference attention depends on it. A small UNet on 16x16 latents does not learn it from denoising: its attention to the other picture
stays almost uniform and gives a blur. The puppet world knows the matches, so the base is trained on them: half of the heads attend to
the same place where both pictures show the same, the other half to the same point of the body.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from tcan_modules.pose.draw import LIMBS
from tcan_modules.training.reference_attention import ReferenceTokens, reference_blocks

TOLERANCE = 10  # of 255: places that differ less show the same
SIDES = (8, 16)  # cells per side in the layers that are trained on matches; in a grid of 4 x 4 a cell shows too much
ALONG = (0.25, 0.5, 0.75)  # points between the joints of a limb


def body_points(joints: torch.Tensor) -> torch.Tensor:
    """Joints ``[n, 18, 2]`` and points along the limbs between them: ``[n, points, 2]``."""
    ends = joints[:, torch.tensor(LIMBS)]
    return torch.cat([joints, *(torch.lerp(ends[:, :, 0], ends[:, :, 1], share) for share in ALONG)], dim=1)


def same_places(one: torch.Tensor, other: torch.Tensor, side: int) -> torch.Tensor:
    """Which cells of a grid show the same in both pictures.

    Args:
        one, other: uint8 ``[n, 3, h, w]``.
        side: cells per side.

    Returns:
        bool ``[n, side * side]``.
    """
    differ = (one.float() - other.float()).abs().amax(1, keepdim=True)
    return (F.adaptive_max_pool2d(differ, side) < TOLERANCE).flatten(1)


def cells(points: torch.Tensor, size: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid cells in which points lie.

    Args:
        points: in pixels, ``[n, points, 2]``.
        size: side of the picture in pixels.
        side: cells per side.

    Returns:
        The cells' indices (0 for points outside of the picture), and which points are inside (bool), both ``[n, points]``.
    """
    column, row = (points * side / size).floor().long().unbind(-1)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return torch.where(inside, row * side + column, 0), inside


def log_attention(layer: nn.Module, own: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Logarithm of a self-attention's weights on reference tokens, normalised over these only.

    Args:
        layer: the self-attention.
        own: ``[n, tokens, channels]``.
        reference: ``[n, reference tokens, channels]``.

    Returns:
        ``[n, heads, tokens, reference tokens]``.
    """
    query, key = (tensor.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for tensor in (layer.to_q(own), layer.to_k(reference)))
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).log_softmax(-1)


def _missed(logs: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean of -log(attention averaged over heads), over the matches that count.

    Args:
        logs: log attention at each match, ``[n, heads, matches]``.
        counts: bool ``[n, matches]``.
    """
    found = logs.logsumexp(1) - math.log(logs.shape[1])
    return -(found * counts).sum() / counts.sum().clamp(min=1)


def mismatch(logs: torch.Tensor, pixels: torch.Tensor, joints: torch.Tensor, paired: torch.Tensor) -> torch.Tensor:
    """The matching loss of one layer.

    Args:
        logs: its `log_attention`, ``[n, heads, tokens, tokens]``.
        pixels: uint8 ``[n, 3, size, size]``; the partner of picture i is i + n/2, modulo n.
        joints: ``[n, 18, 2]`` in pixels.
        paired: which pictures have a partner, bool ``[n]``.
    """
    half, side, heads = len(pixels) // 2, math.isqrt(logs.shape[-1]), logs.shape[1] // 2
    places = same_places(pixels, pixels.roll(half, 0), side) & paired[:, None]
    cell, inside = cells(body_points(joints), pixels.shape[-1], side)
    points = logs[torch.arange(len(cell))[:, None], heads:, cell, cell.roll(half, 0)].transpose(1, 2)
    return _missed(logs[:, :heads].diagonal(dim1=-2, dim2=-1), places) + _missed(
        points, inside & inside.roll(half, 0) & paired[:, None]
    )


class Matches:
    """Computes the matching loss of the layers in which a UNet attends to partners."""

    def __init__(self, unet: nn.Module, partner_tokens: ReferenceTokens):
        self.partner_tokens = partner_tokens
        self.seen: list[torch.Tensor] = []  # log attention of the layers that ran
        for name, block in reference_blocks(unet).items():
            block.attn1.register_forward_pre_hook(lambda layer, inputs, name=name: self._look(layer, inputs[0], name))

    def _look(self, layer: nn.Module, own: torch.Tensor, name: str) -> None:
        if torch.is_grad_enabled() and math.isqrt(own.shape[1]) in SIDES and name in self.partner_tokens.features:
            self.seen.append(log_attention(layer, own, self.partner_tokens.features[name]))

    def loss(self, pixels: torch.Tensor, joints: torch.Tensor, paired: torch.Tensor) -> torch.Tensor:
        """`mismatch`, averaged over the layers that ran since the last call; 0 without gradients.

        Args:
            pixels: uint8 ``[n, 3, size, size]``.
            joints: ``[n, 18, 2]`` in pixels.
            paired: bool ``[n]``.
        """
        seen, self.seen = self.seen, []
        if not seen:
            return pixels.new_zeros((), dtype=torch.float32)
        return torch.stack([mismatch(logs, pixels, joints, paired) for logs in seen]).mean()
