"""OpenPose, from the library controlnet_aux (licensed for non-commercial use).

Loaded from a local folder with ``body_pose_model.pth``, ``hand_pose_model.pth`` and ``facenet.pth``.
"""

from pathlib import Path

import numpy as np

from ..skeleton import Person
from .files import find_file, import_library

NAME = "OpenPose"
INSTALL = "controlnet-aux timm matplotlib scikit-image"
SOURCE = "https://huggingface.co/lllyasviel/Annotators"
FILES = ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")


class OpenPoseDetector:
    """Finds everybody in the picture; hands cost a second network."""

    def __init__(self, folders, hands: bool, device: str):
        """Load the networks onto ``device`` from the model folders."""
        body_file, *others = FILES
        folder = Path(find_file(body_file, folders, NAME, SOURCE)).parent
        for name in others:
            find_file(name, [folder], NAME, SOURCE)
        library = import_library("controlnet_aux.open_pose", NAME, INSTALL)
        self.model = library.OpenposeDetector.from_pretrained(str(folder)).to(device)
        self.hands = hands

    def find_people(self, image: np.ndarray) -> list[Person]:
        """Find the people in an RGB picture, uint8 ``[height, width, 3]``."""
        height, width = image.shape[:2]
        people = []
        for pose in self.model.detect_poses(image, include_hand=self.hands):
            body = _keypoints(pose.body.keypoints, width, height)
            person = Person(body, *(_keypoints(hand, width, height, marked=True) for hand in (pose.left_hand, pose.right_hand)))
            if person.seen.any():
                people.append(person)
        return people

    def close(self) -> None:
        """Free the networks."""
        self.model = None


def _keypoints(keypoints, width: int, height: int, marked: bool = False) -> np.ndarray | None:
    """Convert controlnet_aux's keypoints (0..1, None if missing) to pixels ``[n, 3]``.

    Args:
        keypoints: None if the group was not found.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        marked: a negative coordinate marks a missing point, as in hands.
    """
    if keypoints is None:
        return None
    return np.array(
        [
            (0.0, 0.0, 0.0)
            if point is None or (marked and min(point.x, point.y) < 0)
            else (point.x * width, point.y * height, 1.0)
            for point in keypoints
        ]
    )
