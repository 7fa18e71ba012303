"""PTM Builder."""

from comfy_api.latest import io

from ..tcan_modules.values import HIGHEST_TAU
from .sockets import CATEGORY, PTM


class TCANPTMBuilder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANPTMBuilder",
            display_name="PTM Builder",
            category=CATEGORY,
            description=(
                "Builds the pose-driven temperature map (PTM): the farther a pixel is from the skeleton, the more evenly it attends to"
                " all frames, so the background stays still."
            ),
            inputs=[
                io.Image.Input(
                    "pose_images",
                    tooltip="Skeletons drawn on black, one image per frame. Use the same images as for the ControlNet.",
                ),
                io.Float.Input(
                    "tau",
                    default=3.0,
                    min=0.0,
                    max=HIGHEST_TAU,
                    step=0.1,
                    tooltip="Temperature added at a distance of half the image diagonal. 0 turns PTM off.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Foreground in addition to the skeletons (hair, a skirt, an object)."
                ),
                io.Int.Input(
                    "min_resolution",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Smallest layer that uses the map, in latent pixels. 0: every layer. 32: layers of at least 32x32.",
                ),
            ],
            outputs=[
                PTM.Output(display_name="ptm", tooltip="For APPA Apply."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Heat map over the poses, in windows of 16 frames. Dark moves freely, bright is held still.",
                ),
            ],
        )

    @classmethod
    def execute(cls, pose_images, tau: float, min_resolution: int, mask=None) -> io.NodeOutput:
        from ..tcan_modules.maths.temperature import build_maps
        from ..tcan_modules.maths.temperature_preview import preview

        maps = build_maps(pose_images, tau, mask, min_resolution)
        return io.NodeOutput(maps, preview(maps, pose_images))


NODES = [TCANPTMBuilder]
