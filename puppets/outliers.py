"""Wrong poses as detectors give them: limbs swapped, lost, or flung away, in a share of the frames."""

import numpy as np

_ARMS, _LEGS = ((2, 3, 4), (5, 6, 7)), ((8, 9, 10), (11, 12, 13))
_LIMBS = ((3, 4), (6, 7), (9, 10), (12, 13))  # what hangs below a shoulder or a hip


def add_outliers(keypoints: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Key points ``[frames, 18, 3]`` with outliers in ``share`` of the frames (rounded), and which frames they are (bool)."""
    spoiled = keypoints.copy()
    hit = np.zeros(len(keypoints), dtype=bool)
    hit[rng.permutation(len(keypoints))[: round(share * len(keypoints))]] = True
    for frame in np.flatnonzero(hit):
        (_swap, _lose, _fling)[rng.integers(3)](spoiled[frame], rng)
    return spoiled, hit


def _swap(points: np.ndarray, rng: np.random.Generator) -> None:
    """Right and left arms, legs, or both change places."""
    which = rng.integers(3)
    for right, left in ((_ARMS,), (_LEGS,), (_ARMS, _LEGS))[which]:
        points[[*right, *left]] = points[[*left, *right]]


def _lose(points: np.ndarray, rng: np.random.Generator) -> None:
    """Two limbs are not found at all."""
    for limb in rng.permutation(4)[:2]:
        points[list(_LIMBS[limb])] = 0


def _fling(points: np.ndarray, rng: np.random.Generator) -> None:
    """One or two limbs point somewhere else, longer than they are."""
    for limb in rng.permutation(4)[: rng.integers(1, 3)]:
        inner, outer = _LIMBS[limb]
        root = points[inner - 1, :2]
        turn, longer = rng.uniform(0.35, 1.0) * np.pi * rng.choice([-1, 1]), rng.uniform(1.1, 1.6)
        rotation = longer * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for joint in (inner, outer):
            points[joint, :2] = root + (points[joint, :2] - root) @ rotation
