"""How much each reference token counts in attention: picture weights and masks.

A token of weight w has w times its share in the softmax: log(w) is added to its scores. A token of weight 0 is removed from the keys,
which gives the same and costs nothing.
"""

import math
import re
from dataclasses import dataclass

import torch

from .pictures import masks_of

LARGEST = 100.0


@dataclass
class TokenWeights:
    """Which reference tokens of a layer are kept, and how much each counts."""

    kept: torch.Tensor | None = None  # indices, [kept tokens]
    weights: torch.Tensor | None = None  # [kept tokens], above 0


def read_weights(text: str, images: int) -> list[float]:
    """One weight for each picture from text such as ``"1, 0.5"``; an empty text is 1 for all.

    Raises:
        ValueError: in one sentence, what is wrong with the text.
    """
    words = re.split(r"[\s,;]+", text.strip().strip(",;"))
    if words == [""]:
        return [1.0] * images
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    try:
        weights = [float(word) for word in words]
    except ValueError:
        raise ValueError(
            f"The weights {shown!r} are not numbers: write one number for each picture, separated by commas, such as '1, 0.5'."
        ) from None
    if not all(0 <= weight <= LARGEST for weight in weights):  # NaN compares as False
        raise ValueError(
            f"The weights {shown!r} must be from 0 to {LARGEST:g}: 0 leaves a picture out, 1 is neutral, 2 makes it count twice."
        )
    if len(weights) != images:
        raise ValueError(
            f"There are {len(weights)} weights ({shown!r}), but {images} pictures: write one number for each picture, or leave"
            " weights empty."
        )
    if not any(weights):
        raise ValueError(
            "All weights are 0, so no picture is left: give at least one a weight above 0, or set appearance_strength of"
            " APPA Apply to 0."
        )
    return weights


def read_masks(mask: torch.Tensor, images: int) -> torch.Tensor:
    """One mask for each picture, from one for all of them or one for each.

    Args:
        mask: MASK of the host in any form (`masks_of`).

    Returns:
        ``[images, height, width]`` in 0..1.

    Raises:
        ValueError: in one sentence, what is wrong with the masks.
    """
    masks = masks_of(mask)
    if masks.shape[0] not in (1, images):
        raise ValueError(
            f"There are {masks.shape[0]} masks, but {images} pictures: connect one mask for each picture, or one for all of them."
        )
    masks = masks.float().clamp(0, 1)  # leaves NaN as it is
    if not masks.isfinite().all():
        raise ValueError("The mask contains NaN or infinity: make it again, with 1 on the person and 0 elsewhere.")
    if not masks.any():
        raise ValueError(
            "The mask is 0 everywhere, so nothing of the picture is left: it must be 1 (white) on the person. The mask of"
            " Load Image is 1 where the picture is transparent: add Invert Mask after it, or leave the mask unconnected."
        )
    return masks.expand(images, -1, -1)


def token_grid(height: int, width: int, tokens: int) -> tuple[int, int]:
    """Height and width of the layer with this number of tokens, for latents of a size."""
    while height * width > tokens:
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def token_weights(weights: torch.Tensor, masks: torch.Tensor | None, grid: tuple[int, int]) -> TokenWeights:
    """The weights of a layer's tokens, in the order of the reference tokens.

    Args:
        weights: for each picture, ``[images]``.
        masks: ``[images, height, width]`` of any size; a token's share is the mean of the mask over its area.
        grid: height and width of the layer.
    """
    tokens = weights[:, None, None].expand(-1, *grid)
    if masks is not None:
        tokens = tokens * torch.nn.functional.adaptive_avg_pool2d(masks, grid)
    tokens = tokens.flatten()
    kept = tokens.nonzero().flatten()
    tokens = tokens[kept]
    return TokenWeights(
        kept=None if len(kept) == weights.shape[0] * math.prod(grid) else kept,
        weights=None if (tokens == 1).all() else tokens,
    )
