"""The node Pose Draw."""

from comfy_api.latest import io

from ..tcan_modules.pose.choices import LEAST_SCORE
from .pose_common import PoseKeypoint, each_frame, score_threshold
from .sockets import CATEGORY


class TCANPoseDraw(io.ComfyNode):
    """Draw skeletons."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANPoseDraw",
            display_name="Pose Draw",
            category=CATEGORY,
            description="Draws skeletons as the OpenPose ControlNet was trained on them: one picture per frame, with everybody in it.",
            inputs=[
                PoseKeypoint.Input(
                    "pose_keypoint",
                    tooltip=(
                        "Poses from a detector, an editor or a JSON file, in pixels or in fractions (0..1) of their canvas. If they"
                        " name no canvas, width and height are its size."
                    ),
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    tooltip="Width of the pictures. 0: as detected, or calculated from the height. Proportions are kept.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=16384,
                    step=8,
                    tooltip="Height of the pictures. 0: as detected, or calculated from the width. Proportions are kept.",
                ),
                io.Boolean.Input("hands", default=False, optional=True, tooltip="Draws hands if the poses have them."),
                score_threshold(),
            ],
            outputs=[io.Image.Output(display_name="pose_images", tooltip="The skeletons on black, one picture per frame.")],
        )

    @classmethod
    def execute(
        cls, pose_keypoint, width: int, height: int, hands: bool = False, score_threshold: float = LEAST_SCORE
    ) -> io.NodeOutput:
        from ..tcan_modules.pose import as_image, draw_frames, read_pose_keypoint

        frames = read_pose_keypoint(pose_keypoint, score_threshold, (width, height))
        return io.NodeOutput(as_image(draw_frames(frames, width, height, hands, each_frame(len(frames)))))


NODES = [TCANPoseDraw]
