"""Move the hands, feet and face of a retargeted pose with its body.

Hands follow their wrists at the forearm's scale, feet their ankles at the shin's, and the face follows the head. The authors leave
them where the driver has them and do not draw them (their utils.py, ``get_retargeted``).
"""

import numpy as np

from .skeleton import (
    L_ANKLE,
    L_EAR,
    L_ELBOW,
    L_EYE,
    L_KNEE,
    L_WRIST,
    NOSE,
    R_ANKLE,
    R_EAR,
    R_ELBOW,
    R_EYE,
    R_KNEE,
    R_WRIST,
    PoseTrack,
)

ARMS = {"left_hand": (L_ELBOW, L_WRIST), "right_hand": (R_ELBOW, R_WRIST)}
LEGS = ((slice(0, 3), L_KNEE, L_ANKLE), (slice(3, 6), R_KNEE, R_ANKLE))  # keypoints of a foot, and its leg
HEAD = (NOSE, R_EYE, L_EYE, R_EAR, L_EAR)
# A forearm that points at the camera looks short, and its full length would blow the hand up: the limit, times the median.
LARGEST_HAND = 2.0


def follow_body(driving: PoseTrack, body: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    """Move hands, feet and face from the driver's body to the retargeted one.

    A hand without its wrist or a foot without its ankle is left out, and so is a face if no point of the head is seen.

    Args:
        driving: the driver's poses.
        body: the retargeted body ``[frames, 18, 3]``.
        scale: scale of the whole body ``[frames]``, for hands whose forearm is unseen.

    Returns:
        ``left_hand`` and ``right_hand`` ``[frames, 21, 3]``, ``feet`` ``[frames, 6, 3]``, ``face`` ``[frames, n, 3]``.
    """

    def at_its_end(group, middle, end):
        limb = forearm_scale(driving, body, middle, end, scale)
        return _moved(group, driving.points[:, end], body[:, end, :2], limb, driving.seen[:, end])

    groups = {name: at_its_end(getattr(driving, name), *arm) for name, arm in ARMS.items()}
    groups["feet"] = np.concatenate([at_its_end(driving.feet[:, foot], *leg) for foot, *leg in LEGS], axis=1)
    # The head's position is the mean of its seen points, its scale the ratio of their mean distances from it.
    seen = driving.seen[:, HEAD]
    old, old_spread = _middle_and_spread(driving.points[:, HEAD], seen)
    new, new_spread = _middle_and_spread(body[:, HEAD, :2], seen)
    head_scale = np.where(old_spread > 0, new_spread / np.where(old_spread > 0, old_spread, 1.0), scale)
    groups["face"] = _moved(driving.face, old, new, head_scale, seen.any(axis=1))
    return groups


def forearm_scale(driving: PoseTrack, body: np.ndarray, elbow: int, wrist: int, scale: np.ndarray) -> np.ndarray:
    """New length of a forearm, or of a shin, over its old one.

    Args:
        driving: the driver's poses.
        body: the retargeted body ``[frames, 18, 3]``.
        elbow: index of the joint.
        wrist: index of the joint.
        scale: scale of the whole body ``[frames]``, taken in frames in which the forearm is unseen.

    Returns:
        ``[frames]``, at most ``LARGEST_HAND`` times the median.
    """
    seen = driving.seen[:, elbow] & driving.seen[:, wrist]
    old = np.where(seen, np.linalg.norm(driving.points[:, wrist] - driving.points[:, elbow], axis=-1), 0.0)
    new = np.linalg.norm(body[:, wrist, :2] - body[:, elbow, :2], axis=-1)
    usable = seen & (old > 0)
    if not usable.any():
        return scale
    ratio = np.divide(new, old, out=np.zeros_like(old), where=usable)
    return np.where(usable, np.minimum(ratio, LARGEST_HAND * np.median(ratio[usable])), scale)


def _moved(group: np.ndarray, old: np.ndarray, new: np.ndarray, scale: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Scale keypoints around ``old`` and move them to ``new``.

    Args:
        group: ``[frames, n, 3]``.
        old: ``[frames, 2]``.
        new: ``[frames, 2]``.
        scale: ``[frames]``.
        kept: bool ``[frames]``; the other frames become zero.

    Returns:
        ``[frames, n, 3]``, zeros for missing points.
    """
    points = new[:, None] + (group[..., :2] - old[:, None]) * scale[:, None, None]
    seen = (group[..., 2:] > 0) & kept[:, None, None]
    return np.where(seen, np.concatenate([points, group[..., 2:]], axis=-1), 0.0)


def _middle_and_spread(points: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the seen points and their mean distance from it; zeros if none is seen.

    Args:
        points: ``[frames, n, 2]``.
        seen: bool ``[frames, n]``.

    Returns:
        The mean ``[frames, 2]`` and the distance ``[frames]``.
    """
    count = np.maximum(seen.sum(axis=1), 1)
    middle = np.where(seen[..., None], points, 0.0).sum(axis=1) / count[:, None]
    distance = np.linalg.norm(points - middle[:, None], axis=-1)
    return middle, np.where(seen, distance, 0.0).sum(axis=1) / count
