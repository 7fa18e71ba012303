"""Which detections of a video are the same person.

People are followed from frame to frame by the least total distance between their joints (the assignment problem, solved by scipy),
measured in sizes of the person. A person who is lost may return within a distance that grows with the time away.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from .skeleton import Person, PoseFrame

# How far, in sizes of the person, the joints may move on average from one frame to the next.
REACH = 0.5
# How much the reach grows, as a share of itself, for each frame in which the person is lost.
REACH_GROWTH = 0.25
# How much larger or smaller the same joints may become from one frame to the next, if enough are seen in both.
ZOOM = 2.5
ZOOM_JOINTS = 4
# Lost people beyond this number are forgotten, those lost longest first.
MOST_KNOWN = 1000
# Pairs of people compared at once.
CHUNK = 1 << 16


def paths(frames: list[PoseFrame]) -> list[list[tuple[int, int]]]:
    """Follow everybody through the video.

    Args:
        frames: all people.

    Returns:
        For each person, in the order of their first frame, the places ``(frame, index of the detection)`` where they are.
    """
    found: list[list[tuple[int, int]]] = []
    known: list[int] = []  # numbers of paths, whose last detections are ``last``
    last: list[Person] = []
    away: list[int] = []
    for t, frame in enumerate(frames):
        pairs = dict(_match(last, away, frame.people))
        taken = set(pairs.values())
        for place, index in pairs.items():
            found[known[place]].append((t, index))
            last[place] = frame.people[index]
        away = [0 if place in pairs else lost + 1 for place, lost in enumerate(away)]
        for index, person in enumerate(frame.people):
            if index not in taken:
                known.append(len(found))
                last.append(person)
                away.append(0)
                found.append([(t, index)])
        if len(known) > MOST_KNOWN:
            kept = np.sort(np.argsort(away, kind="stable")[:MOST_KNOWN])
            known, last, away = ([each[i] for i in kept] for each in (known, last, away))
    return found


def _match(known: list[Person], away: list[int], found: list[Person]) -> list[tuple[int, int]]:
    """Pairs ``(index in known, index in found)`` with the least total distance.

    A pair that is farther apart than its reach is left out.

    Args:
        known: the people followed so far, as last seen.
        away: for how many frames each of them is lost.
        found: the people of the next frame.
    """
    if not known or not found:
        return []
    grown = (1 + REACH_GROWTH * np.array(away, dtype=float))[:, None]
    distance = _distances(known, found, grown)
    # Beyond the reach everything costs the same: an impossible pair never pushes a possible one aside.
    knowns, founds = linear_sum_assignment(np.where(distance > REACH * grown, 1e6, distance))
    return [(int(r), int(c)) for r, c in zip(knowns, founds) if distance[r, c] <= REACH * grown[r, 0]]


def _distances(known: list[Person], found: list[Person], grown: np.ndarray) -> np.ndarray:
    """Distances ``[known, found]`` of people, in sizes of the larger one.

    The mean distance of the joints that both show; if there are none, the distance of the boxes' centres. Infinite for people whose
    boxes are beyond the reach, and for those whose common joints are of another size.

    Args:
        known: people.
        found: people.
        grown: how much the reach of each known one has grown ``[known, 1]``.
    """
    a, b = np.stack([person.body for person in known]), np.stack([person.body for person in found])
    old, new = (np.stack([person.box() for person in people]) for people in (known, found))  # [people, left, top, right, bottom]
    sizes = [np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (old, new)]
    size = np.maximum(np.maximum(sizes[0][:, None], sizes[1]), 1e-6)
    gaps = np.maximum(
        np.maximum(old[:, None, :2] - new[None, :, 2:], new[None, :, :2] - old[:, None, 2:]), 0.0
    )  # [known, found, 2]
    out = np.full(size.shape, np.inf)
    pairs = np.stack(np.nonzero(np.hypot(gaps[..., 0], gaps[..., 1]) <= REACH * grown * size), axis=-1)
    for part in range(0, len(pairs), CHUNK):
        rows, columns = pairs[part : part + CHUNK].T
        both = (a[rows, :, 2] > 0) & (b[columns, :, 2] > 0)  # [pairs, joints]
        apart = np.where(both, np.linalg.norm(a[rows, :, :2] - b[columns, :, :2], axis=-1), 0.0)
        count = both.sum(axis=-1)
        middles = [
            boxes.reshape(-1, 2, 2).mean(axis=1) for boxes in (old[rows], new[columns])
        ]  # corners [pairs, 2, 2] to [pairs, 2]
        mean = np.where(count > 0, apart.sum(axis=-1) / np.maximum(count, 1), np.linalg.norm(middles[0] - middles[1], axis=-1))
        spans = [_spans(points, both) for points in (a[rows, :, :2], b[columns, :, :2])]
        strange = np.maximum(*spans) > ZOOM * grown[rows, 0] * np.maximum(np.minimum(*spans), 1e-6)
        out[rows, columns] = np.where(strange & (count >= ZOOM_JOINTS), np.inf, mean / size[rows, columns])
    return out


def _spans(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Diagonals of the boxes around seen joints: ``[pairs, 18, 2]`` and bool ``[pairs, 18]`` to ``[pairs]``."""
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    return np.where(seen.any(axis=1), np.linalg.norm(np.where(seen.any(axis=1)[:, None], high - low, 0.0), axis=-1), 0.0)
