"""Appearance Encode."""

import comfy.utils
import torch
from comfy_api.latest import io

from ..tcan_modules.appearance import Appearance as Encoded
from ..tcan_modules.reference_weights import read_masks, read_weights
from .sockets import CATEGORY, TCAN, Appearance


class TCANAppearanceEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANAppearanceEncode",
            display_name="Appearance Encode",
            category=CATEGORY,
            description=(
                "Encodes one or more reference pictures of a character (front, back, …). Each picture can have a weight; a mask limits it"
                " to the person."
            ),
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint from Load TCAN. It must have an appearance encoder."),
                io.Vae.Input("vae", tooltip="The VAE of your SD1.5 checkpoint."),
                io.Image.Input(
                    "image",
                    tooltip="The reference picture, or a batch of pictures of the same character (front, back, …).",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Width to encode at, in pixels. 0: the picture's own width, or in proportion to height if that is set.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Height to encode at, in pixels. 0: the picture's own height, or in proportion to width if that is set.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="One weight per picture, separated by commas: '1, 0.5'. 0 leaves a picture out. Empty: all 1.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "White on the person; black areas are ignored. One mask for all pictures, or one per picture. Load Image's"
                        " mask is the opposite: put Invert Mask in between."
                    ),
                ),
            ],
            outputs=[Appearance.Output(display_name="appearance", tooltip="The encoded character, for APPA Apply.")],
        )

    @classmethod
    def execute(cls, tcan, vae, image: torch.Tensor, width: int, height: int, weights: str = "", mask=None) -> io.NodeOutput:
        tcan.checkpoint.require("appearance")
        counts = torch.tensor(read_weights(weights, image.shape[0]))
        masks = None if mask is None else _fitted(read_masks(mask, image.shape[0]), *image.shape[1:3], width, height)
        seen = counts > 0 if masks is None else (counts > 0) & masks.flatten(1).any(1)
        if not seen.any():
            raise ValueError(
                "Nothing is left of the reference pictures: each one has weight 0 or a black mask. Give at least one picture a weight"
                " above 0 and a mask with some white."
            )
        latents = vae.encode(_resized(image[seen, ..., :3] if not seen.all() else image[..., :3], width, height))
        if latents.ndim != 4 or latents.shape[1] != 4:
            raise ValueError(
                f"This VAE gives latents of shape {tuple(latents.shape)}, but TCAN needs SD1.5 latents of 4 channels: use the VAE of"
                " an SD1.5 checkpoint."
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
