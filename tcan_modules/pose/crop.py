"""The authors' crop of the character: everything below the lowest visible wrist or hip, plus a tenth of the picture, is
cut off.

The reference picture and the poses must be cut alike, or they no longer match (their utils.py, `pose_base_crop`).
"""

import torch

from .skeleton import L_HIP, L_WRIST, R_HIP, R_WRIST, PoseFrame, PoseTrack

DECISIVE = (R_WRIST, L_WRIST, R_HIP, L_HIP)
# A joint in the outer tenths of the picture does not decide.
MARGIN = 0.1
# How much the proportions of a picture and its poses may differ: resizing rounds to whole pixels.
ROUNDING = 0.02


def kept_share(character: PoseTrack) -> float:
    """The share of the picture's height that is kept, 0..1; 1 when no wrist or hip decides."""
    heights = [character.points[0, joint, 1] / character.height for joint in DECISIVE if character.seen[0, joint]]
    heights = [height for height in heights if MARGIN < height < 1 - MARGIN]
    return min(1.0, max(heights) + MARGIN) if heights else 1.0


def kept_height(share: float, height: int) -> int:
    """How many of a picture's `height` rows are kept."""
    return max(1, int(share * height))


def crop_track(track: PoseTrack, share: float) -> PoseTrack:
    """The track on a canvas cut at the bottom; key points keep their places, also below the cut."""
    return track.replaced(height=kept_height(share, track.height))


def crop_image(image: torch.Tensor, share: float) -> torch.Tensor:
    """IMAGE [frames, height, width, channels] cut at the bottom."""
    return image[:, : kept_height(share, image.shape[1])]


def check_matches(image: torch.Tensor, frame: PoseFrame) -> None:
    """Raises ValueError when an IMAGE [frames, height, width, channels] cannot be the picture in which `frame` was
    detected.
    """
    height, width = image.shape[1:3]
    if abs(width * frame.height / (height * frame.width) - 1) > ROUNDING:
        raise ValueError(
            f"The character_image is {width} x {height}, but the character's poses are {frame.width} x"
            f" {frame.height}, which has other proportions: connect the picture in which these poses were detected."
        )
