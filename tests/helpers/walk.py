"""A walk in place as keypoints: driving poses of tests and pictures."""

import numpy as np
import torch

from tcan_modules.pose.draw import as_image, draw_frames
from tcan_modules.pose.skeleton import (
    L_ANKLE,
    L_EAR,
    L_ELBOW,
    L_EYE,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_WRIST,
    NECK,
    NOSE,
    R_ANKLE,
    R_EAR,
    R_ELBOW,
    R_EYE,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
    R_WRIST,
    Person,
    PoseFrame,
)

PERIOD = 24  # frames of two steps, right and left


def keypoints(frame: int) -> np.ndarray:
    """OpenPose's 18 keypoints ``[18, 3]`` of a frame: x, y in 0..1 of a square picture, confidence 1."""
    phase = 2 * np.pi * frame / PERIOD
    bob, sway = 0.01 * np.cos(2 * phase), 0.015 * np.sin(phase)
    points = np.ones((18, 3))
    centre = np.array([0.5 + sway, 0.3 + bob])

    def put(joint: int, x: float, y: float) -> None:
        points[joint, :2] = centre + (x, y)

    put(NOSE, 0, -0.1)
    put(NECK, 0, 0)
    for shoulder, elbow, wrist, hip, knee, ankle, eye, ear, side in (
        (R_SHOULDER, R_ELBOW, R_WRIST, R_HIP, R_KNEE, R_ANKLE, R_EYE, R_EAR, -1),
        (L_SHOULDER, L_ELBOW, L_WRIST, L_HIP, L_KNEE, L_ANKLE, L_EYE, L_EAR, 1),
    ):
        swing = side * np.sin(phase)
        lift = max(0.0, float(swing))
        put(eye, 0.02 * side, -0.125)
        put(ear, 0.045 * side, -0.11)
        put(shoulder, 0.08 * side, 0.01)
        put(elbow, (0.11 + 0.02 * swing) * side, 0.13 - 0.01 * lift)
        put(wrist, (0.12 - 0.05 * swing) * side, 0.24 - 0.05 * lift)
        put(hip, 0.05 * side, 0.25)
        put(knee, 0.055 * side, 0.41 - 0.05 * lift)
        put(ankle, 0.06 * side, 0.57 - 0.1 * lift)
    return points


def pose_images(frames: int, width: int, height: int) -> torch.Tensor:
    """The walk drawn on black, ``[frames, height, width, 3]`` in 0..1."""
    size = min(width, height)
    corner = ((width - size) / 2, (height - size) / 2)
    people = [Person(keypoints(frame)).moved(size, corner) for frame in range(frames)]
    return as_image(draw_frames([PoseFrame([person], width, height) for person in people]))
