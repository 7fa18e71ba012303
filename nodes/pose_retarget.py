"""The node Pose Retarget."""

from comfy_api.latest import io

from ..tcan_modules.pose.bounds import LONGEST_SIDE
from ..tcan_modules.pose.choices import FITS, GAPS, MODES, PEOPLE, SMOOTHINGS
from .pose_common import PoseKeypoint, each_frame, score_threshold
from .sockets import CATEGORY


class TCANPoseRetarget(io.ComfyNode):
    """Retarget the poses of a driving video to a character."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TCANPoseRetarget",
            display_name="Pose Retarget",
            category=CATEGORY,
            description=(
                "Retargets the poses of a driving video to the character's body, in the character's picture. Needs only two"
                " inputs; the defaults are the authors' settings."
            ),
            inputs=[
                PoseKeypoint.Input("character", tooltip="The pose of the character's picture (only the first frame is used)."),
                PoseKeypoint.Input("driving", tooltip="The poses of the driving video."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip=(
                        "relative: bones shorten as the driver's do (a turn, an arm towards the camera), and the"
                        " neck moves along. absolute: every bone keeps the character's full length, and the"
                        " neck stays in place."
                    ),
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default=FITS[0],
                    optional=True,
                    tooltip=(
                        "authors: as in their code; the neck's travel depends on the driving video's size. to_scale:"
                        " the travel is scaled like the body, for any sizes and aspect ratios. keep_character:"
                        " the character keeps its place and size in its picture, even if the driver walks about or"
                        " approaches the camera."
                    ),
                ),
                *_person_inputs(
                    "driving",
                    "the driving video",
                    " largest: by size and by the number of frames. The same person is followed through the video.",
                ),
                *_person_inputs("character", "the character's picture"),
                io.Combo.Input(
                    "gaps",
                    options=list(GAPS),
                    default=GAPS[0],
                    optional=True,
                    tooltip=(
                        "Frames in which the driver was not found. interpolate: moves from the pose before to the pose after."
                        " hold: repeats the pose before."
                    ),
                ),
                io.Combo.Input(
                    "smoothing",
                    options=list(SMOOTHINGS),
                    default=SMOOTHINGS[0],
                    optional=True,
                    tooltip=(
                        "Calms jittering poses. one_euro preserves fast movement; savitzky_golay smooths all movement"
                        " equally, without lag."
                    ),
                ),
                io.Float.Input(
                    "smoothing_strength",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="How strongly to smooth; 1 is the strongest.",
                ),
                io.Boolean.Input(
                    "crop",
                    default=False,
                    optional=True,
                    tooltip=(
                        "The authors' crop: cuts off the picture from a tenth of its height below the character's lowest wrist or hip."
                        " Connect character_image and use its output as the reference, so that picture and poses are"
                        " cut alike."
                    ),
                ),
                io.Boolean.Input("hands", default=False, optional=True, tooltip="Draws hands if the driving poses have them."),
                io.Image.Input(
                    "character_image",
                    optional=True,
                    tooltip="The character's picture: appears in the preview, and is cut with the poses.",
                ),
                io.Image.Input("driving_images", optional=True, tooltip="The driving video's frames, for the preview."),
                score_threshold(),
                *(_canvas_input(name) for name in ("canvas_width", "canvas_height")),
            ],
            outputs=[
                PoseKeypoint.Output(
                    display_name="pose_keypoint", tooltip="The retargeted poses, in pixels of the character's picture."
                ),
                io.Image.Output(
                    display_name="pose_images", tooltip="The retargeted skeletons, in the size of the character's poses."
                ),
                io.Image.Output(
                    display_name="preview",
                    tooltip=("Character, driver and retargeted pose side by side, at most 48 frames spread over the video."),
                ),
                io.Image.Output(
                    display_name="character_image",
                    tooltip="The connected character_image, cut like the poses if crop is on.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, character, driving, mode: str, hands: bool = False, character_image=None, driving_images=None, **options
    ) -> io.NodeOutput:
        from comfy_execution.graph_utils import ExecutionBlocker

        from ..tcan_modules.pose import RetargetOptions, retarget_video

        chosen = RetargetOptions(mode=mode, **options)
        video = retarget_video(character, driving, chosen, hands, character_image, driving_images, progress=each_frame)
        cut = video.character_image
        if cut is None:
            cut = ExecutionBlocker("Pose Retarget has no character_image to output: connect one to its input.")
        return io.NodeOutput(video.pose_keypoint, video.pose_images, video.preview, cut)


def _canvas_input(name: str) -> io.Int.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=LONGEST_SIDE,
        step=8,
        optional=True,
        tooltip=(
            "Size in pixels of the picture in which the poses were found, for poses that do not say it and come without"
            " character_image or driving_images. 0: as the poses say."
        ),
    )


def _person_inputs(name: str, where: str, more: str = "") -> list:
    """The inputs that choose one of several people in ``where``; ``more`` ends a tooltip."""
    return [
        io.Combo.Input(
            f"{name}_person",
            options=list(PEOPLE),
            default=PEOPLE[0],
            optional=True,
            tooltip=f"Which person of {where}, if it shows several.{more}",
        ),
        io.Int.Input(
            f"{name}_index",
            default=0,
            min=0,
            max=99,
            optional=True,
            tooltip=f"For 'index': which person of {where}, counted from 0 in the detector's order.",
        ),
    ]


NODES = [TCANPoseRetarget]
