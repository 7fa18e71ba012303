"""Skeletons for the pose tests."""

import json
from pathlib import Path

import numpy as np

from tcan_modules.pose.skeleton import BONES, NECK, PARENT, Person, PoseTrack, track_of

FIXTURES = Path(__file__).with_name("fixtures")

# Angles (degrees, 0 is right, 90 is down) and lengths (in nose-neck lengths) of the bones of a person who stands and
# faces the camera.
STANDING = {
    0: (-90, 1.0),
    2: (178, 0.75),
    3: (115, 1.2),
    4: (100, 1.1),
    5: (2, 0.75),
    6: (65, 1.2),
    7: (80, 1.1),
    8: (103, 2.2),
    9: (93, 1.8),
    10: (91, 1.7),
    11: (77, 2.2),
    12: (87, 1.8),
    13: (89, 1.7),
    14: (-140, 0.22),
    15: (-40, 0.22),
    16: (165, 0.3),
    17: (15, 0.3),
}


def body(pivot: float = 40.0, neck=(256.0, 130.0), turn=None, stretch=None, missing=()) -> np.ndarray:
    """An OpenPose body ``[18, 3]``.

    Args:
        pivot: pixels from nose to neck.
        neck: x and y in pixels.
        turn: degrees by bone.
        stretch: factors by bone.
        missing: joints that are not seen.
    """
    turn, stretch = turn or {}, stretch or {}
    points = np.zeros((18, 3))
    points[NECK] = (*neck, 1.0)
    for bone in BONES:
        angle, length = STANDING[bone]
        angle = np.deg2rad(angle + turn.get(bone, 0.0))
        step = pivot * length * stretch.get(bone, 1.0) * np.array([np.cos(angle), np.sin(angle)])
        points[bone] = (*(points[PARENT[bone], :2] + step), 1.0)
    points[list(missing)] = 0.0
    return points


def track(bodies, width: int = 512, height: int = 512) -> PoseTrack:
    """A track of bodies ``[18, 3]``, one per frame; None if absent."""
    return track_of([None if points is None else Person(points) for points in bodies], width, height)


def dance(frames: int = 8, pivot: float = 40.0, **kwargs) -> list[np.ndarray]:
    """Bodies with swinging arms, a shortening forearm and a moving neck."""
    bodies = []
    for t in range(frames):
        swing = np.sin(t / 2)
        bodies.append(
            body(
                pivot,
                neck=(256 + 20 * swing, 150 + 5 * np.cos(t)),
                turn={3: 40 * swing, 4: 60 * swing, 6: -30 * swing, 7: 70 * swing, 9: 20 * swing},
                stretch={4: 1 - 0.4 * abs(swing)},
                **kwargs,
            )
        )
    return bodies


def fixture(name: str) -> list[dict]:
    """POSE_KEYPOINT, written by comfyui_controlnet_aux's own ``encode_poses_as_dict``."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def bone_lengths(points: np.ndarray) -> np.ndarray:
    """Bone lengths ``[..., 18]`` of joints ``[..., 18, 2]``; 0 for the neck."""
    lengths = np.zeros(points.shape[:-1])
    for bone in BONES:
        lengths[..., bone] = np.linalg.norm(points[..., bone, :] - points[..., PARENT[bone], :], axis=-1)
    return lengths
