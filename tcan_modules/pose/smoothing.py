"""Smooth keypoints over time, for detectors whose poses jitter.

Each run of frames in which a point is seen is smoothed separately; no point is added or removed.
"""

import numpy as np
from scipy.signal import savgol_filter

from ..values import check_between, check_choice
from .choices import SMOOTHINGS
from .skeleton import GROUPS, PoseTrack, person_size

# One-Euro: the cutoff falls from the first to the second (in cycles per frame) as the strength goes from 0 to 1.
CUTOFFS = (0.5, 0.02)
SPEED_CUTOFF = 0.2
# How much the cutoff rises for each body size that a point moves per frame.
SPEED_GAIN = 10.0
# Savitzky-Golay: quadratic, over windows from 5 frames to this many.
LONGEST_WINDOW = 25


def smooth(track: PoseTrack, method: str = "off", strength: float = 0.5) -> PoseTrack:
    """Smooth the path of every keypoint.

    Args:
        track: the person.
        method: ``off``; ``one_euro`` (Casiez, Roussel and Vogel 2012), which smooths slow movement most and follows fast movement with
            little lag; ``savitzky_golay``, which fits parabolas over a window and has no lag.
        strength: 0..1.

    Raises:
        ValueError: the method is unknown, or the strength is not from 0 to 1.
    """
    check_choice("smoothing", method, SMOOTHINGS)
    check_between("smoothing_strength", strength, 0, 1)
    if method == "off":
        return track
    sizes = person_size(track.points, track.seen)
    size = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    groups = {}
    for name in GROUPS:
        array = getattr(track, name).copy()
        for point in range(array.shape[1]):
            for run in _runs(array[:, point, 2] > 0):
                path = array[run, point, :2]
                array[run, point, :2] = (
                    one_euro(path / size, strength) * size if method == "one_euro" else savitzky_golay(path, strength)
                )
        groups[name] = array
    return track.replaced(**groups)


def one_euro(path: np.ndarray, strength: float) -> np.ndarray:
    """One-Euro filter: a low-pass whose cutoff rises with the speed.

    Args:
        path: ``[frames, 2]`` in body sizes.
        strength: 0..1.

    Returns:
        ``[frames, 2]``.
    """
    lowest = CUTOFFS[0] * (CUTOFFS[1] / CUTOFFS[0]) ** strength
    out = path.copy()
    speed = np.zeros(path.shape[1])
    for t in range(1, len(path)):
        speed = speed + _share(SPEED_CUTOFF) * (path[t] - path[t - 1] - speed)
        out[t] = out[t - 1] + _share(lowest + SPEED_GAIN * np.linalg.norm(speed)) * (path[t] - out[t - 1])
    return out


def savitzky_golay(path: np.ndarray, strength: float) -> np.ndarray:
    """Fit parabolas over a moving window.

    Args:
        path: ``[frames, 2]``; one shorter than 5 frames stays unchanged.
        strength: 0..1.

    Returns:
        ``[frames, 2]``.
    """
    window = 5 + 2 * round(strength * (LONGEST_WINDOW - 5) / 2)
    window = min(window, len(path) - 1 + len(path) % 2)
    return savgol_filter(path, window, polyorder=2, axis=0) if window >= 5 else path


def _share(cutoff: float) -> float:
    """Share of a step that a first-order low-pass passes at once; ``cutoff`` per frame."""
    turn = 2 * np.pi * cutoff
    return turn / (turn + 1)


def _runs(seen: np.ndarray) -> list[slice]:
    """Runs of frames in which a point is seen; ``seen`` is bool ``[frames]``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(np.int8), [0]])))
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2])]
