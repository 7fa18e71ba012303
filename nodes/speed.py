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
            description="Trades exactness for speed. Nothing is traded as long as the settings are left alone.",
            inputs=[
                io.Model.Input("model", tooltip="The model of APPA Apply."),
                io.Int.Input(
                    "reuse_steps",
                    default=1,
                    min=1,
                    max=10,
                    tooltip=(
                        "How many steps share the deep features. 1 is off and exact. In the steps between only the outermost blocks run:"
                        " at 512x512 25 steps then take 1.6 (2), 2.0 (3), 2.3 (4) or 2.8 (5) times fewer operations, and the video"
                        " differs more from the exact one the more steps share. Long videos keep 84 MB a window in the computer's memory."
                    ),
                ),
                io.Int.Input(
                    "windows_at_once",
                    default=1,
                    min=1,
                    max=16,
                    optional=True,
                    tooltip=(
                        "How many windows of MultiDiffusion go into one call of the networks. The video stays the same; each more takes"
                        " the memory of a window. It helps where a window is too small to keep the device busy."
                    ),
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, good for every sampler.")],
        )

    @classmethod
    def execute(cls, model, reuse_steps: int, windows_at_once: int = 1) -> io.NodeOutput:
        from ..tcan_modules.speed import speed_up

        return io.NodeOutput(speed_up(model, reuse_steps, windows_at_once))


NODES = [TCANSpeed]
