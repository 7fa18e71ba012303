"""Layouts of keypoints other than OpenPose's 18, as people's files have them.

COCO's 17 joints, COCO-WholeBody's 133 points (joints, feet, face, hands), OpenPose's own BODY_25 (joints, mid hip, feet) and MediaPipe's
33 landmarks. All are recognised by their number of points.
"""

import numpy as np

from .skeleton import FACE_POINTS, JOINTS, L_EYE, L_SHOULDER, NECK, R_EYE, R_SHOULDER

# OpenPose joint <- COCO point, for all joints but the neck.
COCO = {
    0: 0,
    2: 6,
    3: 8,
    4: 10,
    5: 5,
    6: 7,
    7: 9,
    8: 12,
    9: 14,
    10: 16,
    11: 11,
    12: 13,
    13: 15,
    14: 2,
    15: 1,
    16: 4,
    17: 3,
}
WHOLE_BODY = {"feet": slice(17, 23), "face": slice(23, 91), "left_hand": slice(91, 112), "right_hand": slice(112, 133)}
# OpenPose joint <- BODY_25 point; its points 19 to 24 are the feet.
BODY_25 = (*range(8), *range(9, 19))
BODY_25_FEET = slice(19, 25)
# OpenPose joint <- MediaPipe landmark, for all joints but the neck.
MEDIAPIPE = {
    0: 0,
    2: 12,
    3: 14,
    4: 16,
    5: 11,
    6: 13,
    7: 15,
    8: 24,
    9: 26,
    10: 28,
    11: 23,
    12: 25,
    13: 27,
    14: 5,
    15: 2,
    16: 8,
    17: 7,
}
READ = "18 (OpenPose), 17 (COCO), 25 (BODY_25), 33 (MediaPipe) or 133 (COCO-WholeBody)"


def split_layout(points: np.ndarray) -> dict[str, np.ndarray] | None:
    """Split keypoints of any known layout into the groups of a person.

    Args:
        points: ``[n, 3]`` of (x, y, confidence).

    Returns:
        ``body`` ``[18, 3]`` and the other groups that the layout has; None if no layout has that number of points.
    """
    if len(points) == len(JOINTS):
        return {"body": points}
    if len(points) == 25:
        return {"body": points[list(BODY_25)], "feet": points[BODY_25_FEET]}
    if len(points) == 33:
        return {"body": _with_neck(points, MEDIAPIPE)}
    if len(points) in (17, 133):
        body = _with_neck(points, COCO)
        groups = {} if len(points) == 17 else {name: points[where] for name, where in WHOLE_BODY.items()}
        if "face" in groups:
            groups["face"] = whole_face(groups["face"], body)
        return {"body": body, **groups}
    return None


def whole_face(face: np.ndarray, body: np.ndarray) -> np.ndarray:
    """A face of OpenPose's 70 points from one of 68, whose last two are the eyes.

    Args:
        face: ``[68, 3]``.
        body: ``[18, 3]``.

    Returns:
        ``[70, 3]``.
    """
    return np.concatenate([face, body[[R_EYE, L_EYE]]])[:FACE_POINTS]


def _with_neck(points: np.ndarray, places: dict[int, int]) -> np.ndarray:
    """A body ``[18, 3]``, whose neck is the middle of the shoulders, as sure as the less sure of them."""
    body = np.zeros((len(JOINTS), 3))
    body[list(places)] = points[list(places.values())]
    shoulders = body[[R_SHOULDER, L_SHOULDER]]
    if (shoulders[:, 2] > 0).all():
        body[NECK] = [*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()]
    return body
