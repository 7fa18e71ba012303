"""Key points to the pose pictures that the ControlNet sees, by the pose room's drawing."""

import numpy as np


def draw_keypoints(keypoints: np.ndarray, size: int) -> np.ndarray:
    """Draw ``[frames, 18, 3]`` (x, y in pixels of a square picture, confidence) -> uint8 RGB ``[frames, size, size, 3]`` on black."""
    from tcan_modules.pose.draw import PALETTE, draw_people
    from tcan_modules.pose.skeleton import Person

    return np.stack([PALETTE[draw_people([Person(body)], size, size)] for body in keypoints])
