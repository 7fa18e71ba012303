"""Temporal ControlNet."""

from comfy_api.latest import io

from .sockets import CATEGORY, TCAN


class TCANTemporalControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANTemporalControlNet",
            display_name="Temporal ControlNet",
            category=CATEGORY,
            description=(
                "An OpenPose ControlNet with temporal layers, so that single wrong poses do not make the video flicker. Use it with the"
                " stock Apply ControlNet nodes, with one pose image for each frame, and with a model of APPA Apply, which shows it the"
                " whole video."
            ),
            inputs=[
                TCAN.Input("tcan", tooltip="The checkpoint of Load TCAN; it must have temporal layers for the ControlNet."),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="An SD1.5 OpenPose ControlNet, which stays as it is. Left open: the ControlNet in the checkpoint.",
                ),
                io.Float.Input(
                    "temporal_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much the temporal layers add; 0 is the plain ControlNet, which looks at each pose by itself.",
                ),
            ],
            outputs=[io.ControlNet.Output(display_name="control_net", tooltip="For the stock Apply ControlNet nodes.")],
        )

    @classmethod
    def execute(cls, tcan, temporal_strength: float, control_net=None) -> io.NodeOutput:
        from ..tcan_modules.controlnet import temporal_control_net

        return io.NodeOutput(temporal_control_net(tcan, control_net, temporal_strength))


NODES = [TCANTemporalControlNet]
