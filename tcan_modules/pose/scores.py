"""Which points are seen, for detectors that write a score for every point.

A joint's score rises and falls around any threshold, so that a plain one would let joints blink. As in Canny's edges, two thresholds
decide on the scores averaged over three frames: a joint is seen in a run of frames above half the threshold, if one of them reaches the
threshold. Frames of the run that show the joint itself below half are interpolated. Poses whose scores are all 0 or 1, as our own
detectors and controlnet_aux's write them, stay as they are.
"""

import numpy as np

from .skeleton import GROUPS, Person, PoseFrame, track_of
from .tracking import paths

# Share of the threshold at which a joint that was seen is lost.
LOST_SHARE = 0.5
# Sums of scores are compared up to this.
ROUNDING = 1e-9


def confident(frames: list[PoseFrame], threshold: float) -> list[PoseFrame]:
    """Leave out the points that are not sure enough.

    Args:
        frames: all people, on any canvas.
        threshold: 0..1; 0 leaves out nothing.
    """
    if threshold <= 0 or not any(_has_scores(person) for frame in frames for person in frame.people):
        return frames
    people: list[list[Person]] = [list(frame.people) for frame in frames]
    for path in paths(frames):
        for run in np.split(np.arange(len(path)), np.flatnonzero(np.diff([t for t, _ in path]) != 1) + 1):
            places = [path[i] for i in run]
            track = track_of([people[t][index] for t, index in places], 1, 1)
            sure = {name: _sure(getattr(track, name), threshold) for name in GROUPS}
            for i, (t, index) in enumerate(places):
                people[t][index] = _only(people[t][index], sure, i)
    return [PoseFrame(each, frame.width, frame.height) for each, frame in zip(people, frames)]


def _has_scores(person: Person) -> bool:
    groups = (getattr(person, name) for name in GROUPS)
    return any(((group[:, 2] > 0) & (group[:, 2] < 1)).any() for group in groups if group is not None)


def _only(person: Person, sure: dict[str, np.ndarray], i: int) -> Person:
    """The person with the sure points of frame ``i``; a group that is not in this frame's data stays None unless it was filled."""
    groups = {}
    for name in GROUPS:
        group = sure[name][i]
        groups[name] = None if getattr(person, name) is None and not group[:, 2].any() else group
    return Person(**groups)


def _sure(points: np.ndarray, threshold: float) -> np.ndarray:
    """Decide on a group in consecutive frames.

    Args:
        points: ``[frames, n, 3]`` of (x, y, score).
        threshold: above 0.

    Returns:
        ``[frames, n, 3]``, zeros for what is not seen.
    """
    score = np.minimum(points[..., 2], 1.0)
    around = np.concatenate([score[:1], score, score[-1:]])
    mean = (around[:-2] + 2 * score + around[2:]) / 4
    lost = LOST_SHARE * threshold - ROUNDING
    held, reached = mean >= lost, mean >= threshold - ROUNDING
    seen = _spread(reached, held) | _spread(reached[::-1], held[::-1])[::-1]
    shown = seen & (score >= lost)
    out = np.where(shown[..., None], points, 0.0)
    for t, n in np.argwhere(seen & ~shown):
        known = np.flatnonzero(shown[:, n])
        after = np.searchsorted(known, t)
        if 0 < after < len(known) and seen[known[after - 1] : known[after], n].all():
            a, b = known[after - 1], known[after]
            out[t, n, :2] = points[a, n, :2] + (points[b, n, :2] - points[a, n, :2]) * ((t - a) / (b - a))
            out[t, n, 2] = threshold
    return out


def _spread(start: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Spread ``start`` bool ``[frames, n]`` forwards in time for as long as ``held``."""
    seen = start.copy()
    for t in range(1, len(seen)):
        seen[t] |= seen[t - 1] & held[t]
    return seen
