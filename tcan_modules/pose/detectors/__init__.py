"""Pose detectors behind one small interface.

A detector is a class with three methods:

- ``__init__(folders, hands, device)`` loads what it needs, or raises ValueError with what to install or where to put which file;
- ``find_people(image)`` takes one uint8 RGB picture ``[height, width, 3]`` and returns a list of ``Person`` in its pixels;
- ``close()`` frees what was loaded.

No library and no model is loaded before a detector is made, and nothing is downloaded.
"""

import numpy as np
import torch
from PIL import Image

from ...log import log
from ...maths.pictures import rgb
from ...values import check_choice
from ..bounds import check_picture
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
    """Find the people in each picture; only keypoints are kept.

    Args:
        images: IMAGE ``[frames, height, width, channels]``.
        detector: ``dwpose``, ``openpose`` or ``mediapipe``.
        resolution: pictures are resized to this many pixels on their shorter side, and keypoints are pixels of that size.
        folders: where to search for model files.
        hands: finds hands too; DWPose always finds them.
        device: torch's name of the device.
        on_frame: called without arguments after each picture; may raise to stop.

    Raises:
        ValueError: the detector is unknown, or lacks a library or file, or there is no picture, or one with too small or too long sides.
    """
    check_choice("detector", detector, CLASSES)
    rgb(images[:1])  # is refused here if it is no picture
    check_picture(images.shape[2], images.shape[1], resolution)
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
    """Resize one picture to ``resolution`` pixels on its shorter side.

    Args:
        image: ``[height, width, channels]`` in 0..1, in colour or grey.
        resolution: pixels.

    Returns:
        uint8 RGB ``[height, width, 3]``.
    """
    picture = Image.fromarray((rgb(image[None])[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    scale = resolution / min(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return np.asarray(picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS))
