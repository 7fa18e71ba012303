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
                "Finds the people in pictures or the frames of a video. The detectors of comfyui_controlnet_aux can"
                " be used in its place: their POSE_KEYPOINT output fits wherever ours does."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The character's picture, or the frames of the driving video."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    default=DETECTORS[0],
                    tooltip=(
                        "dwpose: the authors' own, everybody with hands (needs rtmlib, onnxruntime and two files in"
                        " models/dwpose). openpose: everybody (needs controlnet-aux and three files in"
                        " models/openpose; non-commercial licence). mediapipe: one person, no files (needs the"
                        " library mediapipe 0.10.21). Nothing is downloaded for you."
                    ),
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip=(
                        "Pictures are resized to so many pixels on the shorter side before the detection; poses have this size."
                    ),
                ),
                io.Boolean.Input(
                    "hands",
                    default=False,
                    optional=True,
                    tooltip="Find and draw hands too. TCAN's own examples are made without.",
                ),
            ],
            outputs=[
                PoseKeypoint.Output(display_name="pose_keypoint", tooltip="Everybody found in each frame, in pixels."),
                io.Image.Output(display_name="pose_images", tooltip="The skeletons on black, one picture for each frame."),
            ],
        )

    @classmethod
    def execute(cls, image, detector: str, resolution: int, hands: bool = False) -> io.NodeOutput:
        import comfy.model_management

        from ..tcan_modules.pose import as_image, detect, draw_frames, write_pose_keypoint

        device = str(comfy.model_management.get_torch_device())
        folders = model_folders(detector)
        frames = detect(image, detector, resolution, folders, hands, device, each_frame(len(image)))
        return io.NodeOutput(write_pose_keypoint(frames), as_image(draw_frames(frames, hands=hands)))


NODES = [TCANPoseDetect]
