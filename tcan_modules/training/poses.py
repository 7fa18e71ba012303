"""Poses of training videos: detected once, stored next to the video, drawn when needed.

They are stored in the format of POSE_KEYPOINT.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .videos import Video

CHUNK = 16  # frames in memory at once during detection


def find_poses(videos: list[Video], detector: str, resolution: int, folders: list[Path], device: str) -> None:
    """Detect and store the poses of all videos that have none.

    Raises:
        ValueError: the detector cannot be used; the message says what it needs.
    """
    missing = [video for video in videos if video.poses is None and not video.cache.exists()]
    for video in tqdm(missing, desc="detecting poses", disable=not missing):
        from ..pose import detect, write_pose_keypoint

        found = []
        for first in range(0, video.frames.count, CHUNK):
            pictures = video.frames.read(list(range(first, min(first + CHUNK, video.frames.count))))
            images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255
            found += detect(images, detector, resolution, folders, device=device)
        _write(video.cache, write_pose_keypoint(found))


def _write(path: Path, data) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data))
    os.replace(temporary, path)


class DrawnPoses:
    """A video's pose images by frame number: the data set's, or drawn from stored keypoints."""

    def __init__(self, video: Video):
        self.video = video
        self._keypoints = None

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The pose images of the given frames (any order, counted from 0), RGB."""
        if self.video.poses is not None:
            return self.video.poses.read(numbers)
        from ..pose import draw_frames, read_pose_keypoint

        if self._keypoints is None:
            self._keypoints = read_pose_keypoint(json.loads(self.video.cache.read_text()))
        drawn = draw_frames([self._keypoints[number] for number in numbers])
        return [Image.fromarray(picture) for picture in drawn.numpy()]
