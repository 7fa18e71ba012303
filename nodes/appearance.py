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
    def execute(cls, tcan, vae, image, width: int, height: int, weights: str = "", mask=None) -> io.NodeOutput:
        from ..tcan_modules.encode import encode_appearance

        tcan.checkpoint.require("appearance")
        return io.NodeOutput(encode_appearance(vae, image, width, height, weights, mask))


NODES = [TCANAppearanceEncode]
