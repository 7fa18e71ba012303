"""Pixels or fractions of the canvas, decided by most of the points.

Decided for each frame, each person and each of their groups. Files mix both: lists joined from two sources, bodies in fractions with
hands in pixels, joints beyond the picture.
"""

import numpy as np

from .bounds import FARTHEST
from .skeleton import GROUPS

# No real person fits within two pixels of a corner, and fractions beyond 1 are points just outside the picture.
LARGEST_FRACTION = 2.0
# With fewer points the neighbours decide.
FEWEST_VOTES = 3
# If more than this share of a group's points disagrees, no decision is safe.
LARGEST_MINORITY = 1 / 3

Groups = dict[str, np.ndarray | None]
Votes = tuple[int, int]  # points that look like fractions, and like pixels


def in_pixels(people: list[list[Groups]], sizes: list[tuple[int, int]]) -> list[list[Groups]]:
    """Convert all groups to pixels; points that are far beyond the canvas become unseen.

    Args:
        people: groups ``[n, 3]`` of each person of each frame, in pixels or fractions.
        sizes: width and height of each frame's canvas.

    Raises:
        ValueError: the points of a group disagree, so that no unit is right.
    """
    counts = [[{group: votes(points) for group, points in person.items()} for person in frame] for frame in people]
    by_frame = [{group: _sum(person[group] for person in frame) for group in GROUPS} for frame in counts]
    by_group = {group: _sum(frame[group] for frame in by_frame) for group in GROUPS}
    whole = _sum(by_group.values())

    def convert(t: int, person: Groups, own: dict[str, Votes]) -> Groups:
        frame = _sum(by_frame[t].values())
        return {
            group: None
            if points is None
            else _convert(
                points,
                sizes[t],
                _are_fractions(group, t, own[group], by_frame[t][group], frame, by_group[group], whole),
                marked=group != "body",
            )
            for group, points in person.items()
        }

    return [
        [convert(t, person, own) for person, own in zip(frame, own_counts)]
        for t, (frame, own_counts) in enumerate(zip(people, counts))
    ]


def votes(points: np.ndarray | None) -> Votes:
    """How many seen points ``[n, 3]`` look like fractions, and how many like pixels.

    Zeros and other marks do not count.
    """
    if points is None:
        return 0, 0
    places = points[points[:, 2] > 0, :2]
    largest = np.abs(places).max(axis=1, initial=0.0)
    largest = largest[(largest > 0) & ~(places == -1).all(axis=1)]
    small = int(np.count_nonzero(largest <= LARGEST_FRACTION))
    return small, len(largest) - small


def _sum(counts) -> Votes:
    small = large = 0
    for one, other in counts:
        small, large = small + one, large + other
    return small, large


def _are_fractions(group: str, t: int, own: Votes, *neighbours: Votes) -> bool:
    """Decide by the first of the counts that has enough points."""
    if sum(own) > FEWEST_VOTES and min(own) > LARGEST_MINORITY * sum(own):
        raise ValueError(
            f"In frame {t}, {own[0]} keypoints of a person's {group.replace('_', ' ')} look like fractions of the canvas and {own[1]}"
            " like pixels: write all of them in one unit."
        )
    for count in (own, *neighbours):
        if sum(count) >= FEWEST_VOTES and count[0] != count[1]:
            return count[0] > count[1]
    last = neighbours[-1]
    return last[0] >= last[1] and sum(last) > 0


def _convert(points: np.ndarray, size: tuple[int, int], fractions: bool, marked: bool) -> np.ndarray:
    """Convert a group ``[n, 3]`` to pixels.

    OpenPose marks a missing point of hands and face by a negative coordinate with confidence 1. Fractions are rounded to thousandths
    of a pixel, so that whole pixels stay whole and are drawn at the same place.
    """
    marks = (points[:, :2] == -1).all(axis=1) | (points[:, :2] == 0).all(axis=1)  # of a missing point, whatever its score
    gone = (points[:, 2:] == 0) | marks[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        if fractions:
            gone |= marked & (points[:, :2] < 0).any(axis=1, keepdims=True)
            points = np.round(points * (*size, 1), 3)
        else:
            # A stray fraction among pixels, which would be drawn in the corner.
            gone |= ((np.abs(points[:, :2]) <= 1) & (points[:, :2] % 1 != 0)).all(axis=1, keepdims=True)
    far = ~(np.abs(points[:, :2]) <= FARTHEST * max(size)).all(axis=1, keepdims=True)
    return np.where(gone | far, 0.0, points)
