"""Appearance Encode."""

import comfy.utils
import torch
from comfy_api.latest import io

from ..tcan_modules.appearance import Appearance as Encoded
from .sockets import CATEGORY, TCAN, Appearance


class TCANAppearanceEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANAppearanceEncode",
            display_name="Appearance Encode",
            category=CATEGORY,
            description="Encodes the picture of the character that is to be animated.",
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
            ],
            outputs=[Appearance.Output(display_name="appearance", tooltip="The character, for APPA Apply.")],
        )

    @classmethod
    def execute(cls, tcan, vae, image: torch.Tensor, width: int, height: int) -> io.NodeOutput:
        tcan.checkpoint.require("appearance")
        latents = vae.encode(_resized(image[..., :3], width, height))
        if latents.ndim != 4 or latents.shape[1] != 4:
            raise ValueError(
                f"This VAE gives latents of shape {tuple(latents.shape)}, and TCAN works with SD1.x latents of 4 channels: use the VAE"
                " of an SD1.5 checkpoint."
            )
        return io.NodeOutput(Encoded(latents))


def _resized(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """``[images, height, width, 3]`` at the wanted size; what does not fit its proportions is cut at the sides."""
    own_height, own_width = image.shape[1:3]
    if not width and not height:
        return image
    width = width or _multiple_of_8(own_width * height / own_height)
    height = height or _multiple_of_8(own_height * width / own_width)
    return comfy.utils.common_upscale(image.movedim(-1, 1), width, height, "lanczos", "center").movedim(1, -1)


def _multiple_of_8(side: float) -> int:
    return max(8, 8 * round(side / 8))


NODES = [TCANAppearanceEncode]
