"""The OpenPose body of 18 joints, and the classes that hold people.

Coordinates are floats, in pixels of a canvas of ``width`` x ``height``, x to the right, y down. The third number of a keypoint is its
confidence; 0 means that it was not seen and that its coordinates have no meaning. Body, hands, face and feet are the groups of a
person's keypoints.
"""

from dataclasses import dataclass, field, replace

import numpy as np

JOINTS = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)
(
    NOSE,
    NECK,
    R_SHOULDER,
    R_ELBOW,
    R_WRIST,
    L_SHOULDER,
    L_ELBOW,
    L_WRIST,
    R_HIP,
    R_KNEE,
    R_ANKLE,
    L_HIP,
    L_KNEE,
    L_ANKLE,
    R_EYE,
    L_EYE,
    R_EAR,
    L_EAR,
) = range(18)
HAND_POINTS = 21
FACE_POINTS = 70
# Big toe, small toe and heel of the left foot, then of the right one.
FOOT_POINTS = 6

# The joint that each joint hangs on; a bone is named after its outer joint. The neck is the root.
PARENT = (
    NECK,
    None,
    NECK,
    R_SHOULDER,
    R_ELBOW,
    NECK,
    L_SHOULDER,
    L_ELBOW,
    NECK,
    R_HIP,
    R_KNEE,
    NECK,
    L_HIP,
    L_KNEE,
    NOSE,
    NOSE,
    R_EYE,
    L_EYE,
)
# Bones from the root outwards: a parent always comes before its children.
BONES = (
    NOSE,
    R_SHOULDER,
    L_SHOULDER,
    R_HIP,
    L_HIP,
    R_EYE,
    L_EYE,
    R_ELBOW,
    L_ELBOW,
    R_KNEE,
    L_KNEE,
    R_EAR,
    L_EAR,
    R_WRIST,
    L_WRIST,
    R_ANKLE,
    L_ANKLE,
)
MIRRORED = (
    (R_SHOULDER, L_SHOULDER),
    (R_ELBOW, L_ELBOW),
    (R_WRIST, L_WRIST),
    (R_HIP, L_HIP),
    (R_KNEE, L_KNEE),
    (R_ANKLE, L_ANKLE),
    (R_EYE, L_EYE),
    (R_EAR, L_EAR),
)

GROUPS = ("body", "left_hand", "right_hand", "face", "feet")
GROUP_POINTS = {
    "body": len(JOINTS),
    "left_hand": HAND_POINTS,
    "right_hand": HAND_POINTS,
    "face": FACE_POINTS,
    "feet": FOOT_POINTS,
}


@dataclass(frozen=True)
class Person:
    """One person in one frame.

    Each group holds (x, y, confidence); None if not detected.

    Attributes:
        body: ``[18, 3]``.
        left_hand: ``[21, 3]``.
        right_hand: ``[21, 3]``.
        face: ``[n, 3]``.
        feet: ``[6, 3]``, the left foot's first.
    """

    body: np.ndarray
    left_hand: np.ndarray | None = None
    right_hand: np.ndarray | None = None
    face: np.ndarray | None = None
    feet: np.ndarray | None = None

    @property
    def seen(self) -> np.ndarray:
        """Which of the 18 joints are seen, bool ``[18]``."""
        return self.body[:, 2] > 0

    def box(self) -> np.ndarray:
        """Left, top, right, bottom of the seen joints in pixels ``[4]``; zeros if none is seen."""
        points = self.body[self.seen, :2]
        return np.concatenate([points.min(0), points.max(0)]) if len(points) else np.zeros(4)

    def moved(self, scale, offset=(0.0, 0.0)) -> "Person":
        """The same person with every coordinate times ``scale`` plus ``offset``.

        Args:
            scale: a number or (x, y).
            offset: a number or (x, y), in pixels.
        """

        def move(group):
            if group is None:
                return None
            points = group[:, :2] * scale + np.asarray(offset, dtype=float)
            return np.where(group[:, 2:] > 0, np.concatenate([points, group[:, 2:]], axis=1), 0.0)

        return Person(*(move(getattr(self, group)) for group in GROUPS))


@dataclass(frozen=True)
class PoseFrame:
    """All people of one frame, on a canvas of ``width`` x ``height`` pixels."""

    people: list[Person]
    width: int
    height: int


@dataclass(frozen=True)
class PoseTrack:
    """One person through a video, on a canvas of ``width`` x ``height`` pixels.

    Each group holds (x, y, confidence), zeros for unseen keypoints.

    Attributes:
        body: ``[frames, 18, 3]``.
        left_hand: ``[frames, 21, 3]``.
        right_hand: ``[frames, 21, 3]``.
        face: ``[frames, n, 3]``.
        feet: ``[frames, 6, 3]``.
        filled: the frames in which the person was not found and the pose comes from the neighbours.
        passed_over: one sentence on the people who are not followed, or an empty text.
    """

    body: np.ndarray
    left_hand: np.ndarray
    right_hand: np.ndarray
    face: np.ndarray
    feet: np.ndarray
    width: int
    height: int
    filled: list[int] = field(default_factory=list)
    passed_over: str = ""

    def __len__(self) -> int:
        return len(self.body)

    @property
    def points(self) -> np.ndarray:
        """Joint positions in pixels ``[frames, 18, 2]``."""
        return self.body[..., :2]

    @property
    def seen(self) -> np.ndarray:
        """Which joints are seen, bool ``[frames, 18]``."""
        return self.body[..., 2] > 0

    @property
    def present(self) -> np.ndarray:
        """Which frames show any joint of the person, bool ``[frames]``."""
        return self.seen.any(axis=1)

    def replaced(self, **changes) -> "PoseTrack":
        """A copy with other values for the named attributes."""
        return replace(self, **changes)

    def frames(self) -> list[PoseFrame]:
        """The track as frames of at most one person; a hand or face without a seen point is None."""

        def group(name, t):
            array = getattr(self, name)[t]
            return array if (array[:, 2] > 0).any() else None

        return [
            PoseFrame(
                [Person(self.body[t], *(group(name, t) for name in GROUPS[1:]))] if self.present[t] else [],
                self.width,
                self.height,
            )
            for t in range(len(self))
        ]


def track_of(people: list[Person | None], width: int, height: int) -> PoseTrack:
    """Stack one person per frame into a track.

    Args:
        people: None for a frame without the person.
        width: width of the canvas in pixels.
        height: height of the canvas in pixels.
    """

    def stack(name):
        arrays = [getattr(person, name) if person is not None else None for person in people]
        points = max((len(array) for array in arrays if array is not None), default=GROUP_POINTS[name])
        out = np.zeros((len(arrays), points, 3))
        for t, array in enumerate(arrays):
            if array is not None:
                out[t, : len(array)] = array
        return out

    return PoseTrack(*(stack(name) for name in GROUPS), width=width, height=height)


def person_size(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Diagonal of the box around the seen joints, in pixels.

    Args:
        points: ``[frames, 18, 2]``.
        seen: bool ``[frames, 18]``.

    Returns:
        ``[frames]``; 0 if no joint is seen.
    """
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    some = seen.any(axis=1)
    return np.linalg.norm(np.where(some[:, None], high, 0.0) - np.where(some[:, None], low, 0.0), axis=-1)
