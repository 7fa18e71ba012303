"""Appearance Encode."""

from comfy_api.latest import io

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
    def execute(cls, tcan, vae, image, width: int, height: int, weights: str = "", mask=None) -> io.NodeOutput:
        from ..tcan_modules.encode import encode_appearance

        tcan.checkpoint.require("appearance")
        return io.NodeOutput(encode_appearance(vae, image, width, height, weights, mask))


NODES = [TCANAppearanceEncode]
