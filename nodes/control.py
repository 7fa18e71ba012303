"""Temporal ControlNet."""

from comfy_api.latest import io

from ..tcan_modules.values import STRONGEST
from .sockets import CATEGORY, TCAN


class TCANTemporalControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANTemporalControlNet",
            display_name="Temporal ControlNet",
            category=CATEGORY,
            description=(
                "An OpenPose ControlNet with temporal layers: a wrong pose in a single frame does not make the video flicker. Use it with"
                " the stock Apply ControlNet nodes, one pose image per frame, and a model from APPA Apply, which shows it the whole video."
            ),
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint from Load TCAN. It must have temporal layers for the ControlNet."),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="An SD1.5 OpenPose ControlNet; its weights do not change. Not connected: the ControlNet in the checkpoint.",
                ),
                io.Float.Input(
                    "temporal_strength",
                    default=1.0,
                    min=0.0,
                    max=STRONGEST,
                    step=0.05,
                    tooltip="Strength of the temporal layers. 0 is the plain ControlNet, which sees only one pose at a time.",
                ),
            ],
            outputs=[io.ControlNet.Output(display_name="control_net", tooltip="For the stock Apply ControlNet nodes.")],
        )

    @classmethod
    def execute(cls, tcan, temporal_strength: float, control_net=None) -> io.NodeOutput:
        from ..tcan_modules.controlnet import temporal_control_net

        return io.NodeOutput(temporal_control_net(tcan, control_net, temporal_strength))


NODES = [TCANTemporalControlNet]
