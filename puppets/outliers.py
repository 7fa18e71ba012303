"""Wrong poses as detectors give them: limbs that are swapped, lost or misplaced."""

import numpy as np

_ARMS, _LEGS = ((2, 3, 4), (5, 6, 7)), ((8, 9, 10), (11, 12, 13))
_LIMBS = ((3, 4), (6, 7), (9, 10), (12, 13))  # elbow and wrist, knee and ankle


def add_outliers(keypoints: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make the poses of some frames wrong.

    Args:
        keypoints: ``[frames, 18, 3]``.
        share: of the frames, rounded to a whole number.

    Returns:
        The keypoints with outliers, same shape, and which frames have them, bool ``[frames]``.
    """
    spoiled = keypoints.copy()
    hit = np.zeros(len(keypoints), dtype=bool)
    hit[rng.permutation(len(keypoints))[: round(share * len(keypoints))]] = True
    for frame in np.flatnonzero(hit):
        (_swap, _lose, _misplace)[rng.integers(3)](spoiled[frame], rng)
    return spoiled, hit


def _swap(points: np.ndarray, rng: np.random.Generator) -> None:
    """Swap right and left arms, legs, or both."""
    which = rng.integers(3)
    for right, left in ((_ARMS,), (_LEGS,), (_ARMS, _LEGS))[which]:
        points[[*right, *left]] = points[[*left, *right]]


def _lose(points: np.ndarray, rng: np.random.Generator) -> None:
    """Remove two limbs."""
    for limb in rng.permutation(4)[:2]:
        points[list(_LIMBS[limb])] = 0


def _misplace(points: np.ndarray, rng: np.random.Generator) -> None:
    """Turn one or two limbs and make them longer."""
    for limb in rng.permutation(4)[: rng.integers(1, 3)]:
        inner, outer = _LIMBS[limb]
        root = points[inner - 1, :2]
        turn, longer = rng.uniform(0.35, 1.0) * np.pi * rng.choice([-1, 1]), rng.uniform(1.1, 1.6)
        rotation = longer * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for joint in (inner, outer):
            points[joint, :2] = root + (points[joint, :2] - root) @ rotation
