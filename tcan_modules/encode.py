"""Appearance Encode: reference pictures, with weights and masks, to VAE latents."""

import comfy.utils
import torch

from .maths.pictures import check_size, rgb
from .maths.token_weights import read_masks, read_weights
from .networks.appearance import Appearance

LARGEST = 8192  # pixels on a side: the widgets' largest value


def encode_appearance(
    vae, image: torch.Tensor, width: int = 0, height: int = 0, weights: str = "", mask: torch.Tensor | None = None
) -> Appearance:
    """Encode the reference pictures that count.

    Args:
        vae: the host's VAE of an SD1.x model.
        image: IMAGE of the host, ``[images, height, width, channels]``.
        width, height: size to encode at, in pixels; 0 keeps the picture's own, or its proportions if the other is given.
        weights: how much each picture counts (`read_weights`).
        mask: MASK of the host, white on the person (`read_masks`).

    Raises:
        ValueError: in one sentence, what is wrong with the weights, the mask or the VAE.
    """
    pictures = rgb(image)
    check_size(pictures)
    counts = torch.tensor(read_weights(weights, image.shape[0]))
    masks = None if mask is None else _fitted(read_masks(mask, image.shape[0]), *image.shape[1:3], width, height)
    seen = counts > 0 if masks is None else (counts > 0) & masks.flatten(1).any(1)
    if not seen.any():
        raise ValueError(
            "No picture is left: each one has weight 0 or a mask that is 0 everywhere. Give one picture a weight and a mask above 0."
        )
    latents = vae.encode(_resized(pictures[seen] if not seen.all() else pictures, width, height))
    if latents.ndim != 4 or latents.shape[1] != 4:
        raise ValueError(
            f"This VAE gives latents of shape {tuple(latents.shape)}, but TCAN needs SD1.5 latents of 4 channels: use the VAE"
            " of an SD1.5 checkpoint."
        )
    same = bool((counts[seen] == 1).all())
    return Appearance(latents, None if same else counts[seen], None if masks is None else masks[seen])


def _resized(image: torch.Tensor, width: int, height: int, method: str = "lanczos") -> torch.Tensor:
    """``[images, height, width, channels]`` at another size; what does not fit the new proportions is cropped at the sides."""
    own_height, own_width = image.shape[1:3]
    if not width and not height:
        return image
    width = width or _multiple_of_8(own_width * height / own_height)
    height = height or _multiple_of_8(own_height * width / own_width)
    if max(width, height) > LARGEST:
        raise ValueError(
            f"A picture of {own_width} x {own_height} would be encoded at {width} x {height}, which is more than {LARGEST} pixels: crop it,"
            " or give both width and height."
        )
    return comfy.utils.common_upscale(image.movedim(-1, 1), width, height, method, "center").movedim(1, -1)


def _fitted(masks: torch.Tensor, image_height: int, image_width: int, width: int, height: int) -> torch.Tensor:
    """Masks ``[images, height, width]`` of any size, stretched over their pictures and cropped like them, here and by the VAE."""
    if masks.shape[1:] != (image_height, image_width):
        masks = comfy.utils.common_upscale(masks[:, None], image_width, image_height, "area", "disabled")[:, 0]
    masks = _resized(masks[..., None], width, height, "area")[..., 0]
    for side in (1, 2):  # the host's VAE crops a picture to whole latents, equally on both sides
        rest = masks.shape[side] % 8
        masks = masks.narrow(side, rest // 2, masks.shape[side] - rest)
    return masks


def _multiple_of_8(side: float) -> int:
    return max(8, 8 * round(side / 8))
