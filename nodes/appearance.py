"""Appearance Encode."""

import comfy.utils
import torch
from comfy_api.latest import io

from ..tcan_modules.appearance import Appearance as Encoded
from ..tcan_modules.maths.token_weights import read_masks, read_weights
from .sockets import CATEGORY, TCAN, Appearance


class TCANAppearanceEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANAppearanceEncode",
            display_name="Appearance Encode",
            category=CATEGORY,
            description=(
                "Encodes the picture of the character that is to be animated, or several of them (front, back, …), which may count"
                " differently; with a mask only the person is taken from them."
            ),
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint of Load TCAN; it must have an appearance encoder."),
                io.Vae.Input("vae", tooltip="The VAE of your SD1.5 checkpoint."),
                io.Image.Input(
                    "image",
                    tooltip="One picture of the character, or a batch of pictures of the same character (front, back, …).",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Width to encode at, in pixels; 0 keeps the picture's own, or its proportions where height is given.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Height to encode at, in pixels; 0 keeps the picture's own, or its proportions where width is given.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip=(
                        "How much each picture counts, one number for each with commas between: '1, 0.5'. 0 leaves a picture out."
                        " Empty: all count the same."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "White where the person is; what is black is not taken from the picture. One mask for all pictures or one for"
                        " each. The mask of Load Image is the other way round: put Invert Mask between."
                    ),
                ),
            ],
            outputs=[Appearance.Output(display_name="appearance", tooltip="The character, for APPA Apply.")],
        )

    @classmethod
    def execute(cls, tcan, vae, image: torch.Tensor, width: int, height: int, weights: str = "", mask=None) -> io.NodeOutput:
        tcan.checkpoint.require("appearance")
        counts = torch.tensor(read_weights(weights, image.shape[0]))
        masks = None if mask is None else _fitted(read_masks(mask, image.shape[0]), *image.shape[1:3], width, height)
        seen = counts > 0 if masks is None else (counts > 0) & masks.flatten(1).any(1)
        if not seen.any():
            raise ValueError(
                "Nothing is left of the pictures: each one has weight 0 or a mask that is 0 everywhere. Give at least one of them both."
            )
        latents = vae.encode(_resized(image[seen, ..., :3] if not seen.all() else image[..., :3], width, height))
        if latents.ndim != 4 or latents.shape[1] != 4:
            raise ValueError(
                f"This VAE gives latents of shape {tuple(latents.shape)}, and TCAN works with SD1.x latents of 4 channels: use the VAE"
                " of an SD1.5 checkpoint."
            )
        same = bool((counts[seen] == 1).all())
        return io.NodeOutput(Encoded(latents, None if same else counts[seen], None if masks is None else masks[seen]))


def _resized(image: torch.Tensor, width: int, height: int, method: str = "lanczos") -> torch.Tensor:
    """``[images, height, width, channels]`` at the wanted size; what does not fit its proportions is cut at the sides."""
    own_height, own_width = image.shape[1:3]
    if not width and not height:
        return image
    width = width or _multiple_of_8(own_width * height / own_height)
    height = height or _multiple_of_8(own_height * width / own_width)
    return comfy.utils.common_upscale(image.movedim(-1, 1), width, height, method, "center").movedim(1, -1)


def _fitted(masks: torch.Tensor, image_height: int, image_width: int, width: int, height: int) -> torch.Tensor:
    """Masks ``[images, height, width]`` of any size, stretched over their pictures and cut as these are, here and by the VAE."""
    if masks.shape[1:] != (image_height, image_width):
        masks = comfy.utils.common_upscale(masks[:, None], image_width, image_height, "area", "disabled")[:, 0]
    masks = _resized(masks[..., None], width, height, "area")[..., 0]
    for side in (1, 2):  # the host's VAE cuts a picture to whole latents, equally on both sides
        rest = masks.shape[side] % 8
        masks = masks.narrow(side, rest // 2, masks.shape[side] - rest)
    return masks


def _multiple_of_8(side: float) -> int:
    return max(8, 8 * round(side / 8))


NODES = [TCANAppearanceEncode]
