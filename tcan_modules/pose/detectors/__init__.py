"""Pose detectors behind one small interface. Nothing is imported or loaded before a detector is made, and nothing is
downloaded.

A detector is a class with `__init__(folders, hands, device)`, which loads what it needs or raises ValueError saying
what to install or where to put which file; `find_people(image)`, which takes one uint8 RGB picture [height, width, 3]
and returns a list of `Person` in its pixels; and `close()`.
"""

import numpy as np
import torch
from PIL import Image

from ...log import log
from ..choices import check_choice
from ..skeleton import PoseFrame
from .dwpose import DWPoseDetector
from .mediapipe_pose import MediaPipeDetector
from .openpose import OpenPoseDetector

CLASSES = {"dwpose": DWPoseDetector, "openpose": OpenPoseDetector, "mediapipe": MediaPipeDetector}


def detect(
    images: torch.Tensor,
    detector: str,
    resolution: int,
    folders,
    hands: bool = False,
    device: str = "cpu",
    on_frame=None,
) -> list[PoseFrame]:
    """Finds the people in each picture of an IMAGE [frames, height, width, 3].

    Pictures are first resized to `resolution` pixels on their shorter side, and the key points are pixels of that size.
    `folders` are searched for model files. `on_frame()` is called after each picture, and may raise to stop. Only key
    points are kept.
    """
    check_choice("detector", detector, CLASSES)
    if images.ndim != 4 or images.shape[-1] < 3 or 0 in images.shape:
        raise ValueError(
            f"The pictures have shape {tuple(images.shape)}: at least one colour picture is needed, as [frames,"
            " height, width, 3]."
        )
    frames = []
    finder = CLASSES[detector](folders, hands, device)
    try:
        for image in images:
            picture = resized(image, resolution)
            frames.append(PoseFrame(finder.find_people(picture), picture.shape[1], picture.shape[0]))
            if on_frame is not None:
                on_frame()
    finally:
        finder.close()
    empty = sum(not frame.people for frame in frames)
    if empty:
        log.warning("%s found nobody in %d of %d frames.", detector, empty, len(frames))
    return frames


def resized(image: torch.Tensor, resolution: int) -> np.ndarray:
    """One picture of an IMAGE [height, width, channels] as uint8 RGB with `resolution` pixels on its shorter side."""
    picture = Image.fromarray((image[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    scale = resolution / min(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return np.asarray(picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS))
