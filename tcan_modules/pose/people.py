"""Choose one person of a video and follow them through its frames.

Whom to follow is decided over the whole video: a false find that one frame shows, or a picture on the wall, does not become the driver.
If no two people are in the video at the same time, all detections are the same person, also after a cut.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..values import check_choice
from .choices import PEOPLE
from .keypoints import common_canvas
from .skeleton import NECK, Person, PoseFrame, PoseTrack, track_of
from .tracking import paths

# A path of fewer frames than this share of the longest may be a false find.
SHORT = 0.25
# A false find has less than this share of the joints of the longest path, or another size, by this factor.
FEW_JOINTS = 0.6
OTHER_SIZE = 2.0
# Whom the first frame suggests is followed unless another weighs more than this many times as much.
HEAVIER = 2.0
# A picture on the wall moves less than this share of its size while somebody else moves more, by this factor, and weighs this much.
STILL = 0.01
MOVING = 3.0
STILL_WEIGHT = 0.02
# leftmost: among the people who are there within this share of the video.
EARLY = 0.1
MOST_NAMED = 3
# A person who is found in turns with another one, and in this many frames, is somebody else.
TURNS = 3
# People whose movement is compared, the heaviest first.
MOST_COMPARED = 20


@dataclass(frozen=True, eq=False)
class _Path:
    """One person through the video.

    Attributes:
        times: the frames that show them.
        indices: the detection's place in each of these frames.
        people: the detections.
        frames: how many frames the video has.
    """

    times: list[int]
    indices: list[int]
    people: list[Person]
    frames: int

    @cached_property
    def track(self) -> PoseTrack:
        return track_of([Person(person.body) for person in self.people], 1, 1)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Boxes ``[frames, 2 corners, 2]``."""
        return np.stack([person.box().reshape(2, 2) for person in self.people])

    @cached_property
    def area(self) -> float:
        return float(np.median(np.prod(self.boxes[:, 1] - self.boxes[:, 0], axis=1)))

    @cached_property
    def size(self) -> float:
        return float(np.median(np.linalg.norm(self.boxes[:, 1] - self.boxes[:, 0], axis=1)))

    @cached_property
    def joints(self) -> float:
        return float(self.track.seen.sum(axis=1).mean() / self.track.seen.shape[1])

    @cached_property
    def weight(self) -> float:
        """Size, joints, and above all in how many of the frames."""
        return self.area * self.joints * (len(self.times) / self.frames) ** 2

    @cached_property
    def movement(self) -> tuple[float, float]:
        """How much the pose changes, and how far the person travels, in their sizes."""
        seen, size = self.track.seen, max(self.size, 1e-6)
        count = np.maximum(seen.sum(axis=1), 1)[:, None]
        middle = np.where(seen[..., None], self.track.points, 0.0).sum(axis=1) / count
        middle = np.where(seen[:, [NECK]], self.track.points[:, NECK], middle)
        sizes = np.maximum(np.linalg.norm(self.boxes[:, 1] - self.boxes[:, 0], axis=1), 1e-6)[:, None, None]
        pose = np.where(seen[..., None], (self.track.points - middle[:, None]) / sizes, np.nan)
        shown = seen.sum(axis=0) > 1
        change = float(np.linalg.norm(np.nanstd(pose[:, shown], axis=0), axis=-1).mean()) if shown.any() else 0.0
        return change, float(np.linalg.norm(middle.std(axis=0)) / size)

    def named(self) -> str:
        x, y = self.boxes[0].mean(axis=0)
        where = f"frame {self.times[0]}" if len(self.times) == 1 else f"{len(self.times)} frames from frame {self.times[0]} on"
        return f"one at {x:.0f}, {y:.0f} in {where}"


def choose_person(frames: list[PoseFrame], choice: str = "largest", index: int = 0) -> PoseTrack:
    """Follow the chosen person through the video; frames without them stay empty.

    False finds are left out. For ``index`` the choice is made in the first frame that shows more than ``index`` people.

    Args:
        frames: all people.
        choice: ``largest``: by size, joints and the number of frames; ``leftmost``: of those who are there at the start; ``index``.
        index: the person, counted from 0, for ``index``.

    Returns:
        The person, with a sentence on the people who are not followed.

    Raises:
        ValueError: no frame shows a person, or none shows more than ``index`` people.
    """
    check_choice("person", choice, PEOPLE)
    frames = [_without_unseen(frame) for frame in common_canvas(frames)]
    most = max(len(frame.people) for frame in frames)
    if most == 0:
        raise ValueError("Nobody was found in any frame: check the picture or video, or try another detector.")
    needed = index + 1 if choice == "index" else 1
    if most < needed or needed < 1:
        raise ValueError(
            f"The index of the person is {index}, but no frame shows more than {most}"
            f" {'person' if most == 1 else 'people'}: choose a smaller index (the first person is 0)."
            if needed > 0
            else f"The index of the person is {index}: the first person is 0."
        )
    found = [_Path(*map(list, zip(*path)), [frames[t].people[i] for t, i in path], len(frames)) for path in paths(frames)]
    longest = max(found, key=lambda path: (len(path.times), path.weight))
    false = [path for path in found if path is not longest and _is_false(path, longest)]
    people = [path for path in found if path not in set(false)]
    if _most_at_once(people) < needed:
        people, false = found, []
    followed = _followed(people, choice, index)
    rest = [path for path in found if path not in set(followed)] if choice == "largest" else false
    poses: list[Person | None] = [None] * len(frames)
    for path in followed:
        for t, person in zip(path.times, path.people):
            poses[t] = person
    return track_of(poses, frames[0].width, frames[0].height).replaced(passed_over=_describe(followed, rest))


def _is_false(path: _Path, longest: _Path) -> bool:
    """Whether a path is no person: short and alone in one frame, or with other joints or another size, or a picture of another size."""
    other = not _alike(path, longest)
    short = len(path.times) < SHORT * len(longest.times)
    return (short and (len(path.times) == 1 or other)) or (other and path.size < longest.size and _is_still(path, [longest]))


def _is_still(path: _Path, people: list[_Path]) -> bool:
    """Whether a path does not move while one of the others does: a picture on the wall."""
    change, travel = path.movement
    pairs = (
        (change, max(other.movement[0] for other in people)),
        (change + travel, max(sum(other.movement) for other in people)),
    )
    return any(mine < STILL and theirs > MOVING * max(mine, STILL) for mine, theirs in pairs)


def _chosen(people: list[_Path], choice: str, index: int) -> _Path:
    """The path of the chosen person."""
    frames = people[0].frames
    if choice == "index":
        here: list[list[tuple[int, _Path]]] = [[] for _ in range(frames)]
        for path in people:
            for t, place in zip(path.times, path.indices):
                here[t].append((place, path))
        first = next(each for each in here if len(each) > index)
        return sorted(first, key=lambda each: each[0])[index][1]
    start = min(path.times[0] for path in people)
    if choice == "leftmost":
        early = [path for path in people if path.times[0] <= start + EARLY * frames]
        return min(early, key=lambda path: path.people[0].body[path.people[0].seen, 0].mean())
    first = max(
        (path for path in people if path.times[0] == start), key=lambda path: np.prod(path.boxes[0, 1] - path.boxes[0, 0])
    )
    heaviest = sorted(people, key=lambda path: -path.weight)[:MOST_COMPARED]
    longest = max(len(path.times) for path in people)
    movers = [path for path in heaviest if len(path.times) >= SHORT * longest] or heaviest
    weights = {path: path.weight * (STILL_WEIGHT if _is_still(path, movers) else 1.0) for path in (*heaviest, first)}
    best = max(heaviest, key=lambda path: weights[path])
    return best if weights[best] > HEAVIER * weights[first] else first


def _most_at_once(people: list[_Path]) -> int:
    counts = np.bincount([t for path in people for t in path.times])
    return int(counts.max())


def _followed(people: list[_Path], choice: str, index: int) -> list[_Path]:
    """The paths of the chosen person: several, if nobody else is there at the same time.

    Then short paths are the same person who moved fast, and longer ones who came before or after a cut; somebody who is found in turns
    with the person is somebody else.
    """
    main = _chosen(people, choice, index)
    if _most_at_once(people) > 1:
        return [main]
    return [
        path for path in people if path is main or not _in_turns(path, main) or (_alike(path, main) and len(path.times) < TURNS)
    ]


def _in_turns(path: _Path, main: _Path) -> bool:
    """Whether the path begins before the end of the main one, and ends after its beginning."""
    return path.times[0] < main.times[-1] and path.times[-1] > main.times[0]


def _alike(path: _Path, main: _Path) -> bool:
    """Whether a path is of a similar size and has a similar number of joints."""
    size = max(path.size, 1e-6) / max(main.size, 1e-6)
    return path.joints >= FEW_JOINTS * main.joints and 1 / OTHER_SIZE <= size <= OTHER_SIZE


def _describe(followed: list[_Path], rest: list[_Path]) -> str:
    """One sentence on the people who are passed over; empty if there are none."""
    if not rest:
        return ""
    rest = sorted(rest, key=lambda path: -path.weight)
    named = ", ".join(path.named() for path in rest[:MOST_NAMED]) + (", …" if len(rest) > MOST_NAMED else "")
    main = max(followed, key=lambda path: len(path.times))
    return f"{len(rest)} {'person was' if len(rest) == 1 else 'people were'} passed over ({named}); followed is {main.named()}."


def _without_unseen(frame: PoseFrame) -> PoseFrame:
    """Leave out people without a seen joint."""
    return PoseFrame([person for person in frame.people if person.seen.any()], frame.width, frame.height)
