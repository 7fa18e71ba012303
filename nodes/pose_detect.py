"""The node Pose Detect."""

from comfy_api.latest import io

from ..tcan_modules.pose.choices import DETECTORS
from .pose_common import PoseKeypoint, each_frame, model_folders
from .sockets import CATEGORY


class TCANPoseDetect(io.ComfyNode):
    """Find people in pictures and draw their skeletons."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANPoseDetect",
            display_name="Pose Detect",
            category=CATEGORY,
            description=(
                "Finds the people in pictures or in the frames of a video, and draws their skeletons. You can use the detectors"
                " of comfyui_controlnet_aux instead: their POSE_KEYPOINT output fits the same inputs."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The character's picture, or the frames of the driving video."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    default=DETECTORS[0],
                    tooltip=(
                        "dwpose: the authors' detector; finds everybody, with hands (needs rtmlib, onnxruntime and two files in"
                        " models/dwpose). openpose: finds everybody (needs controlnet-aux and three files in"
                        " models/openpose; non-commercial licence). mediapipe: finds one person, without files (needs the"
                        " library mediapipe 0.10.21). Nothing is downloaded automatically."
                    ),
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip=(
                        "Pictures are resized to this many pixels on the shorter side before detection; the poses have this size."
                    ),
                ),
                io.Boolean.Input(
                    "hands",
                    default=False,
                    optional=True,
                    tooltip="Finds and draws hands too. TCAN's own examples have none.",
                ),
            ],
            outputs=[
                PoseKeypoint.Output(display_name="pose_keypoint", tooltip="The poses of all people in each frame, in pixels."),
                io.Image.Output(display_name="pose_images", tooltip="The skeletons on black, one picture per frame."),
            ],
        )

    @classmethod
    def execute(cls, image, detector: str, resolution: int, hands: bool = False) -> io.NodeOutput:
        import comfy.model_management

        from ..tcan_modules.pose import as_image, detect, draw_frames, write_pose_keypoint
        from ..tcan_modules.values import check_choice

        check_choice("detector", detector, DETECTORS)
        device = str(comfy.model_management.get_torch_device())
        folders = model_folders(detector)
        frames = detect(image, detector, resolution, folders, hands, device, each_frame(len(image)))
        return io.NodeOutput(write_pose_keypoint(frames), as_image(draw_frames(frames, hands=hands)))


NODES = [TCANPoseDetect]
