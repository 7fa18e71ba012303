"""TCAN Speed-ups."""

from comfy_api.latest import io

from .sockets import CATEGORY


class TCANSpeed(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANSpeed",
            display_name="TCAN Speed-ups",
            category=CATEGORY,
            description="Makes sampling faster but less exact. The default settings change nothing.",
            inputs=[
                io.Model.Input("model", tooltip="The model from APPA Apply."),
                io.Int.Input(
                    "reuse_steps",
                    default=1,
                    min=1,
                    max=10,
                    tooltip=(
                        "How many steps share the UNet's deep features. 1: off, exact. 2, 3, 4, 5: 1.6, 2.0, 2.3, 2.8 times fewer"
                        " operations (25 steps, 512x512), less exact each time. Long videos keep 84 MB of RAM per window."
                    ),
                ),
                io.Int.Input(
                    "windows_at_once",
                    default=1,
                    min=1,
                    max=16,
                    optional=True,
                    tooltip=(
                        "How many MultiDiffusion windows are sampled in one call. The video stays the same; each window takes as much"
                        " memory again. Helps only if one window is too small to keep the device busy."
                    ),
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for any sampler.")],
        )

    @classmethod
    def execute(cls, model, reuse_steps: int, windows_at_once: int = 1) -> io.NodeOutput:
        from ..tcan_modules.speed import speed_up

        return io.NodeOutput(speed_up(model, reuse_steps, windows_at_once))


NODES = [TCANSpeed]
