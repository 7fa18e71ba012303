"""Choose one person of a video and follow them through its frames.

People are followed from frame to frame by the least total distance between their joints (the assignment problem, solved by scipy),
measured in sizes of the person. A person who is lost may return within a distance that grows with the time away. If no frame
shows more than one person, every detection is the same person, also after a cut.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from .choices import PEOPLE, check_choice
from .keypoints import common_canvas
from .skeleton import Person, PoseFrame, PoseTrack, track_of

# How far, in sizes of the person, the joints may move on average from one frame to the next.
REACH = 0.5
# How much the reach grows, as a share of itself, for each frame in which the person is lost.
REACH_GROWTH = 0.25


def choose_person(frames: list[PoseFrame], choice: str = "largest", index: int = 0) -> PoseTrack:
    """Follow the chosen person through the video; frames without them stay empty.

    The choice is made in the first frame that shows anybody; for ``index``, in the first that shows more than ``index`` people.

    Args:
        frames: all people.
        choice: ``largest``, ``leftmost``, or ``index``.
        index: the person, counted from 0, for ``index``.

    Raises:
        ValueError: no frame shows a person, or none shows more than ``index`` people.
    """
    check_choice("choice of person", choice, PEOPLE)
    frames = [_without_unseen(frame) for frame in common_canvas(frames)]
    most = max(len(frame.people) for frame in frames)
    if most == 0:
        raise ValueError("Nobody was found in any frame: check the picture or video, or try another detector.")
    needed = index + 1 if choice == "index" else 1
    if most < needed:
        raise ValueError(
            f"The index of the person is {index}, but no frame shows more than {most}"
            f" {'person' if most == 1 else 'people'}: choose a smaller index (the first person is 0)."
        )
    start = next(t for t, frame in enumerate(frames) if len(frame.people) >= needed)
    people = frames[start].people
    if choice == "largest":
        chosen = int(np.argmax([_area(person) for person in people]))
    elif choice == "leftmost":
        chosen = int(np.argmin([person.body[person.seen, 0].mean() for person in people]))
    else:
        chosen = index
    if most == 1:
        poses = [frame.people[0] if frame.people else None for frame in frames]
    else:
        # Before the frame of the choice the video is followed backwards.
        poses = follow(frames[start::-1], chosen)[:0:-1] + follow(frames[start:], chosen)
    return track_of(poses, frames[0].width, frames[0].height)


def follow(frames: list[PoseFrame], chosen: int) -> list[Person | None]:
    """Follow everybody from the first frame on.

    Args:
        frames: all people.
        chosen: an index into the people of the first frame.

    Returns:
        The chosen person in each frame; None where lost.
    """
    last = list(frames[0].people)
    away = [0] * len(last)
    poses = [last[chosen]]
    for frame in frames[1:]:
        found = dict(_match(last, away, frame.people))
        poses.append(frame.people[found[chosen]] if chosen in found else None)
        for known in range(len(last)):
            if known in found:
                last[known], away[known] = frame.people[found[known]], 0
            else:
                away[known] += 1
        for new in set(range(len(frame.people))) - set(found.values()):
            last.append(frame.people[new])
            away.append(0)
    return poses


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
    reach = REACH * (1 + REACH_GROWTH * np.array(away, dtype=float))[:, None]
    distance = np.array([[_distance(a, b) for b in found] for a in known])
    # Beyond the reach everything costs the same: an impossible pair never pushes a possible one aside.
    knowns, founds = linear_sum_assignment(np.where(distance > reach, 1e6, distance))
    return [(int(r), int(c)) for r, c in zip(knowns, founds) if distance[r, c] <= reach[r, 0]]


def _distance(a: Person, b: Person) -> float:
    """Distance of two people, in sizes of the larger one.

    The mean distance of the joints that both show; if there are none, the distance of the boxes' centres.
    """
    size = max(_size(a), _size(b), 1e-6)
    both = a.seen & b.seen
    if both.any():
        return float(np.linalg.norm(a.body[both, :2] - b.body[both, :2], axis=1).mean() / size)
    centres = [box.reshape(2, 2).mean(axis=0) for box in (a.box(), b.box())]  # corners [2, 2] to [2]
    return float(np.linalg.norm(centres[0] - centres[1]) / size)


def _size(person: Person) -> float:
    left, top, right, bottom = person.box()
    return float(np.hypot(right - left, bottom - top))


def _area(person: Person) -> float:
    left, top, right, bottom = person.box()
    return float((right - left) * (bottom - top))


def _without_unseen(frame: PoseFrame) -> PoseFrame:
    """Leave out people without a seen joint."""
    return PoseFrame([person for person in frame.people if person.seen.any()], frame.width, frame.height)
