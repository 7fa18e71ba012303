"""The steps of retargeting in their order.

``retarget_frames`` chooses a person, fills gaps, smooths, retargets and crops. ``retarget_video`` also reads and writes POSE_KEYPOINT,
draws, and makes the preview.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..log import log
from ..maths.pictures import rgb
from .choices import LEAST_SCORE
from .crop import check_matches, crop_image, crop_track, kept_share
from .draw import as_image, draw_frames
from .gaps import describe_gaps, fill_gaps
from .keypoints import read_pose_keypoint, write_pose_keypoint
from .people import choose_person
from .preview import side_by_side
from .retarget import retarget
from .skeleton import PoseFrame, PoseTrack
from .smoothing import smooth


@dataclass(frozen=True)
class RetargetOptions:
    """How poses are retargeted.

    The defaults are the authors' procedure for the largest person. The canvas is that of poses that name none and come without a
    picture.
    """

    mode: str = "relative"
    fit: str = "authors"
    driving_person: str = "largest"
    driving_index: int = 0
    character_person: str = "largest"
    character_index: int = 0
    gaps: str = "interpolate"
    smoothing: str = "off"
    smoothing_strength: float = 0.5
    crop: bool = False
    score_threshold: float = LEAST_SCORE
    canvas_width: int = 0
    canvas_height: int = 0


@dataclass(frozen=True)
class Retargeted:
    """Retargeted poses, with the tracks they were made from.

    With the crop, ``character`` and ``poses`` have the cut canvas.

    Attributes:
        character: the character, 1 frame.
        driving: the chosen driver, with gaps filled and smoothed.
        poses: the driver's poses with the character's body.
        share: how much of the canvas' height the crop keeps, 0..1.
    """

    character: PoseTrack
    driving: PoseTrack
    poses: PoseTrack
    share: float


def retarget_frames(
    character: list[PoseFrame], driving: list[PoseFrame], options: RetargetOptions = RetargetOptions()
) -> Retargeted:
    """Retarget the driving frames to the first frame of ``character``.

    Raises:
        ValueError: one of the two shows nobody, the character shows no neck, or an option is unknown.
    """
    body = _named("character", choose_person, character[:1], options.character_person, options.character_index)
    driver = _named("driving video", choose_person, driving, options.driving_person, options.driving_index)
    driver = smooth(fill_gaps(driver, options.gaps), options.smoothing, options.smoothing_strength)
    poses = retarget(body, driver, options.mode, options.fit)
    share = kept_share(body) if options.crop else 1.0
    return Retargeted(crop_track(body, share), driver, crop_track(poses, share), share)


@dataclass(frozen=True)
class RetargetedVideo:
    """Retargeted poses in all forms that Pose Retarget returns.

    Attributes:
        pose_keypoint: POSE_KEYPOINT, a dict per frame.
        pose_images: the skeletons, IMAGE ``[frames, height, width, 3]``.
        preview: IMAGE ``[at most 48 frames, height, width, 3]``.
        character_image: the given one, cut like the poses; None if there was none.
    """

    pose_keypoint: list[dict]
    pose_images: torch.Tensor
    preview: torch.Tensor
    character_image: torch.Tensor | None


def retarget_video(
    character,
    driving,
    options: RetargetOptions,
    hands: bool = False,
    character_image: torch.Tensor | None = None,
    driving_images: torch.Tensor | None = None,
    progress: Callable[[int], Callable[[], None]] | None = None,
) -> RetargetedVideo:
    """Read, retarget, draw and preview a whole video; logs which frames were filled.

    Args:
        character: POSE_KEYPOINT; only the first frame counts.
        driving: POSE_KEYPOINT.
        options: how to retarget.
        hands: draws hands too.
        character_image: IMAGE ``[frames, height, width, channels]`` in which ``character`` was detected.
        driving_images: IMAGE ``[frames, height, width, channels]``, for the preview.
        progress: called once with the number of frames; returns a function to call after each frame.

    Raises:
        ValueError: the data is no POSE_KEYPOINT, the picture has other proportions than its poses, or as in ``retarget_frames``.
    """
    for images in (character_image, driving_images):
        if images is not None:
            rgb(images[:1])  # refuses what is no picture
    body = _named("character", _read, character, options, character_image)
    driver = _named("driving video", _read, driving, options, driving_images)
    if character_image is not None:
        check_matches(character_image, body[0])
    retargeted = retarget_frames(body, driver, options)
    _log_notes(retargeted, options.gaps)
    cut = None if character_image is None else crop_image(character_image, retargeted.share)
    frames = retargeted.poses.frames()
    on_frame = None if progress is None else progress(len(frames))
    return RetargetedVideo(
        pose_keypoint=write_pose_keypoint(frames),
        pose_images=as_image(draw_frames(frames, hands=hands, on_frame=on_frame)),
        preview=side_by_side(retargeted.character, retargeted.driving, retargeted.poses, cut, driving_images, hands),
        character_image=cut,
    )


def _log_notes(retargeted: Retargeted, gaps: str) -> None:
    """Log who was passed over, and which frames were filled."""
    notes = {"driving video": retargeted.driving.passed_over, "character": retargeted.character.passed_over}
    for whose, note in notes.items():
        if note:
            log.warning("Pose Retarget, in the poses of the %s: %s", whose, note)
    note = describe_gaps(retargeted.driving, gaps)
    if note:
        log.warning("Pose Retarget: %s", note)


def _read(data, options: RetargetOptions, pictures: torch.Tensor | None) -> list[PoseFrame]:
    """Read POSE_KEYPOINT; the pictures ``[frames, height, width, channels]``, or else the options, give a canvas that is missing."""
    size = (options.canvas_width, options.canvas_height) if pictures is None else (pictures.shape[2], pictures.shape[1])
    return read_pose_keypoint(data, options.score_threshold, size)


def _named(whose: str, step, *arguments):
    """Call a step and name in its error whose poses are wrong."""
    try:
        return step(*arguments)
    except ValueError as error:
        raise ValueError(f"In the poses of the {whose}: {error}") from None
