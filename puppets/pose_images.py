"""Pose images for the ControlNet, drawn by ``tcan_modules/pose``."""

import numpy as np


def draw_keypoints(keypoints: np.ndarray, size: int) -> np.ndarray:
    """Draw skeletons on black.

    Args:
        keypoints: x and y in pixels of a square picture, and confidence, ``[frames, 18, 3]``.

    Returns:
        uint8 RGB ``[frames, size, size, 3]``.
    """
    from tcan_modules.pose.draw import PALETTE, draw_people
    from tcan_modules.pose.skeleton import Person

    return np.stack([PALETTE[draw_people([Person(body)], size, size)] for body in keypoints])
