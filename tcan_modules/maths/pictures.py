"""IMAGE and MASK in the one form that the pack computes with, from any that nodes give."""

import torch

ROUNDING = 0.02  # of a side: sizes are rounded to whole latents


def rgb(image: torch.Tensor) -> torch.Tensor:
    """The colours of an IMAGE: grey is repeated, alpha is dropped.

    Args:
        image: ``[images, height, width, channels]`` in 0..1, with 1 to 4 channels (grey, grey and alpha, RGB, RGB and alpha).

    Returns:
        ``[images, height, width, 3]``.

    Raises:
        ValueError: no picture, another number of channels, NaN, or numbers of another kind.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 2, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An IMAGE of shape {list(image.shape)} cannot be used: connect at least one picture with 1 to 4 channels"
            " ([images, height, width, channels])."
        )
    if not image.is_floating_point() or not all(bound.isfinite() for bound in image.aminmax()):
        raise ValueError(f"An IMAGE of {image.dtype} must hold finite numbers in 0..1: make the pictures again.")
    return image[..., :3] if image.shape[-1] > 2 else image[..., :1].repeat(1, 1, 1, 3)


def rgb_on_black(image: torch.Tensor) -> torch.Tensor:
    """The colours of an IMAGE with its alpha over black.

    For drawn poses, where black means that nothing is drawn.

    Args:
        image: ``[images, height, width, channels]`` in 0..1, with 1 to 4 channels.

    Returns:
        ``[images, height, width, 3]``.
    """
    colours = rgb(image)
    return colours if image.shape[-1] in (1, 3) else colours * image[..., -1:]


def check_size(image: torch.Tensor, least: int = 8) -> None:
    """Raise if an IMAGE ``[images, height, width, channels]`` is smaller than one latent."""
    if image.ndim == 4 and min(image.shape[1:3]) < least:
        raise ValueError(
            f"A picture of {image.shape[2]} x {image.shape[1]} is too small: it needs at least {least} pixels on each side."
        )


def masks_of(mask: torch.Tensor) -> torch.Tensor:
    """A MASK of any form as ``[masks, height, width]``.

    Args:
        mask: ``[height, width]``, ``[masks, height, width]``, or with one channel: ``[masks, 1, height, width]`` or
            ``[masks, height, width, 1]``.

    Raises:
        ValueError: another form, or no mask.
    """
    masks = mask
    if masks.ndim == 2:
        masks = masks[None]
    elif masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    elif masks.ndim == 4 and masks.shape[-1] == 1:
        masks = masks[..., 0]
    if masks.ndim != 3 or 0 in masks.shape:
        raise ValueError(
            f"A MASK of shape {list(mask.shape)} cannot be used: connect at least one mask ([masks, height, width])."
        )
    return masks


def center_crop(height: int, width: int, new_height: int, new_width: int) -> tuple[int, int]:
    """What ComfyUI cuts from a picture to give it other proportions (``common_upscale``).

    Returns:
        Pixels cut at the top and again at the bottom, and pixels cut at the left and again at the right.
    """
    own, new = width / height, new_width / new_height
    if own > new:
        return 0, round((width - width * (new / own)) / 2)
    if own < new:
        return round((height - height * (own / new)) / 2), 0
    return 0, 0


def describe_crop(height: int, width: int, new_height: int, new_width: int) -> str | None:
    """What `center_crop` cuts from pose images, for the log; None if it is hardly anything."""
    top, left = center_crop(height, width, new_height, new_width)
    if top <= ROUNDING * height and left <= ROUNDING * width:
        return None
    sides = f"{top} pixels at the top and at the bottom" if top else f"{left} pixels on the left and on the right"
    return (
        f"the pose images are {width} x {height} and the video is {new_width} x {new_height}, which has other proportions: {sides} of"
        " the poses are cut off"
    )
