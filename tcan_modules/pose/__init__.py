"""Poses: reading and writing POSE_KEYPOINT, detecting, refitting to a character, drawing. Knows numpy, scipy, torch and
PIL, never the host.
"""

from .crop import check_matches, crop_image
from .detectors import DETECTORS, detect
from .draw import as_image, draw_frames
from .gaps import describe_gaps
from .keypoints import read_pose_keypoint, write_pose_keypoint
from .pipeline import Retargeted, RetargetOptions, retarget_frames
from .preview import side_by_side
from .skeleton import Person, PoseFrame, PoseTrack

__all__ = [
    "DETECTORS",
    "Person",
    "PoseFrame",
    "PoseTrack",
    "RetargetOptions",
    "Retargeted",
    "as_image",
    "check_matches",
    "crop_image",
    "describe_gaps",
    "detect",
    "draw_frames",
    "read_pose_keypoint",
    "retarget_frames",
    "side_by_side",
    "write_pose_keypoint",
]
