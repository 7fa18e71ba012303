"""Poses of training videos: detected once, stored next to the video, drawn when needed.

They are stored in the format of POSE_KEYPOINT.
"""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .faults import DataError, named
from .files import replaced
from .pictures import same_proportions
from .videos import Video

CHUNK = 16  # frames in memory at once during detection


def find_poses(videos: list[Video], detector: str, resolution: int, folders: list[Path], device: str) -> None:
    """Detect and store the poses of all videos that have none, and check those that are stored.

    Raises:
        ValueError: the detector cannot be used, or stored poses belong to another video; the message says what is needed.
    """
    missing = [video for video in videos if video.poses is None and not video.cache.exists()]
    for video in tqdm(missing, desc="detecting poses", disable=not missing):
        from ..pose import detect, write_pose_keypoint

        found, frames = [], iter(video.frames)
        while pictures := list(islice(frames, CHUNK)):
            images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255
            found += detect(images, detector, resolution, folders, device=device)
        with replaced(video.cache) as scratch:
            scratch.write_text(json.dumps(write_pose_keypoint(found)))
    for video in videos:
        if video.poses is None and video not in missing:
            _stored(video)


def _stored(video: Video) -> list:
    """The stored poses of a video, one for each frame.

    Raises:
        DataError: the file is damaged, or belongs to another video.
    """
    from ..pose import read_pose_keypoint

    with named(video.cache):
        frames = read_pose_keypoint(json.loads(video.cache.read_text(encoding="utf-8")))
    if len(frames) != video.frames.count:
        raise DataError(
            f"'{video.cache}' has {len(frames)} poses and the video {video.frames.count} frames: delete it, and the poses are detected"
            " again."
        )
    for number, frame in enumerate(frames):
        if not same_proportions((frame.width, frame.height), video.frames.size):
            raise DataError(
                f"Pose {number} in '{video.cache}' is for pictures of {frame.width} x {frame.height} and the video's are"
                f" {video.frames.size[0]} x {video.frames.size[1]}: delete it, and the poses are detected again."
            )
    return frames


class DrawnPoses:
    """A video's pose images by frame number: the data set's, or drawn from stored keypoints."""

    def __init__(self, video: Video):
        self.video = video
        self._keypoints = None

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The pose images of the given frames (any order, counted from 0), RGB."""
        if self.video.poses is not None:
            return self.video.poses.read(numbers)
        from ..pose import draw_frames

        if self._keypoints is None:
            self._keypoints = _stored(self.video)
        with named(self.video.cache):
            drawn = draw_frames([self._keypoints[number] for number in numbers])
        return [Image.fromarray(picture) for picture in drawn.numpy()]
