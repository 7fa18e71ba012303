"""The pictures that poses belong to, and the authors' crop of the character.

The crop cuts a tenth of the picture below the lowest wrist or hip. The reference picture and the poses must be cut alike, or they no
longer match (the authors' utils.py, ``pose_base_crop``).
"""

import torch

from .skeleton import L_HIP, L_WRIST, R_HIP, R_WRIST, PoseFrame, PoseTrack

DECISIVE = (R_WRIST, L_WRIST, R_HIP, L_HIP)
# A joint in the outer tenths of the picture does not decide.
MARGIN = 0.1
# How much the proportions of a picture and its poses may differ: resizing rounds to whole pixels.
ROUNDING = 0.02


def kept_share(character: PoseTrack) -> float:
    """Share of the picture's height that the crop keeps, 0..1.

    Args:
        character: poses of the character's picture; only the first frame decides.

    Returns:
        The share; 1 if no wrist or hip is visible in the picture's middle eight tenths.
    """
    heights = [character.points[0, joint, 1] / character.height for joint in DECISIVE if character.seen[0, joint]]
    heights = [height for height in heights if MARGIN < height < 1 - MARGIN]
    return min(1.0, max(heights) + MARGIN) if heights else 1.0


def kept_height(share: float, height: int) -> int:
    """Height in pixels that is left of a picture of ``height`` pixels."""
    return max(1, int(share * height))


def crop_track(track: PoseTrack, share: float) -> PoseTrack:
    """Cut the bottom of the canvas; keypoints keep their coordinates, also below the cut."""
    return track.replaced(height=kept_height(share, track.height))


def crop_image(image: torch.Tensor, share: float) -> torch.Tensor:
    """Cut the bottom of an IMAGE ``[frames, height, width, channels]``."""
    return image[:, : kept_height(share, image.shape[1])]


def check_matches(image: torch.Tensor, frame: PoseFrame) -> None:
    """Check that an IMAGE has the proportions of the picture in which a frame was detected.

    Args:
        image: ``[frames, height, width, channels]``.
        frame: the character's poses.

    Raises:
        ValueError: the proportions differ by more than rounding.
    """
    height, width = image.shape[1:3]
    if abs(width * frame.height / (height * frame.width) - 1) > ROUNDING:
        raise ValueError(
            f"The character_image is {width} x {height}, but the character's poses are {frame.width} x"
            f" {frame.height}, so the proportions differ: connect the picture in which the poses were detected."
        )
