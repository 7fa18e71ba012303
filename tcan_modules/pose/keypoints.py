"""Read and write POSE_KEYPOINT, a list in the form of OpenPose's JSON.

comfyui_controlnet_aux's nodes and ComfyUI's SDPose nodes pass it between them. One dict per frame: ``people``, each with flat lists of
x, y, confidence triples (``pose_keypoints_2d`` of 18, hands of 21, face of 70, feet of 6), and ``canvas_height``, ``canvas_width``.
controlnet_aux's DWPreprocessor writes pixels of the original picture, its
OpenposePreprocessor fractions in 0..1. Both write confidence 1.0, or (0, 0, 0) for a missing joint, and None for a group that was not
detected; SDPose writes a score for every point. controlnet_aux's reader takes any confidence below 1.0 for missing, and SDPose's
needs a list of the full length for every group. So we write 1.0 or zeros, and every group.
(src/custom_controlnet_aux/dwpose/__init__.py and open_pose/__init__.py, ``encode_poses_as_dict``; comfy_extras/nodes_sdpose.py)
"""

import numpy as np

from ..log import log
from ..values import check_between, shown
from .bounds import MOST_PEOPLE
from .canvas import canvas_sizes
from .choices import LEAST_SCORE
from .layouts import READ, split_layout, whole_face
from .scores import confident
from .skeleton import FACE_POINTS, GROUP_POINTS, GROUPS, JOINTS, Person, PoseFrame
from .units import in_pixels

KEYS = {
    "body": "pose_keypoints_2d",
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
    "face": "face_keypoints_2d",
    "feet": "foot_keypoints_2d",
}
# Written in the order in which comfyui_controlnet_aux writes them; feet only if there are any.
WRITTEN = ("body", "face", "left_hand", "right_hand")

CONNECT = "connect a pose detector, or load a JSON file that one has saved"
CORRECT = "detect the poses again or correct the JSON"


def read_pose_keypoint(data, threshold: float = LEAST_SCORE, size: tuple[int, int] = (0, 0)) -> list[PoseFrame]:
    """Read a POSE_KEYPOINT into frames in pixels, with the points that are seen.

    Args:
        data: a list of frames, or the dict of a single one.
        threshold: points with a lower score are not seen, see ``scores``; 0 takes every score above 0.
        size: width and height in pixels of a canvas that the data does not name; 0 if unknown.

    Raises:
        ValueError: the data is no such list, has no canvas or one that is too large, or has keypoints that cannot be read.
    """
    check_between("score_threshold", threshold, 0, 1)
    frames = [data] if isinstance(data, dict) else data
    if not isinstance(frames, (list, tuple)) or not all(isinstance(frame, (dict, type(None))) for frame in frames):
        raise ValueError(f"This is not POSE_KEYPOINT data ({_describe(data)}), a list with one dict per frame: {CONNECT}.")
    if not frames:
        raise ValueError("The POSE_KEYPOINT list is empty: connect poses of at least one frame.")
    left_out: dict[str, list[int]] = {}
    people = [_read_people(frame, t, left_out) for t, frame in enumerate(frames)]
    sizes = canvas_sizes(frames, size)
    converted = in_pixels(people, sizes)
    for t, pair in enumerate(zip(people, converted)):
        before, after = (sum(np.count_nonzero(person["body"][:, 2]) for person in frame) for frame in pair)
        if after < before:
            left_out.setdefault("joints far beyond the canvas or in another unit", []).append(t)
    for what, where in left_out.items():
        listed = ", ".join(map(str, where[:12])) + (", …" if len(where) > 12 else "")
        log.warning("The poses are read without %s, which %d of %d frames have (%s).", what, len(where), len(frames), listed)
    read = [PoseFrame([Person(**person) for person in frame], *size) for frame, size in zip(converted, sizes)]
    return confident(read, threshold)


def write_pose_keypoint(frames: list[PoseFrame]) -> list[dict]:
    """Write frames as a POSE_KEYPOINT list in pixels.

    Holds plain Python numbers, ready for ``json.dump``.
    """
    return [
        {
            "people": [_written(person) for person in frame.people],
            "canvas_height": int(frame.height),
            "canvas_width": int(frame.width),
        }
        for frame in frames
    ]


def common_canvas(frames: list[PoseFrame]) -> list[PoseFrame]:
    """Scale all frames to the canvas of the first one.

    The frames of a video have one size; those of an edited list may not.
    """
    width, height = frames[0].width, frames[0].height
    return [
        frame
        if (frame.width, frame.height) == (width, height)
        else PoseFrame([p.moved((width / frame.width, height / frame.height)) for p in frame.people], width, height)
        for frame in frames
    ]


def _read_people(frame: dict | None, t: int, left_out: dict[str, list[int]]) -> list[dict[str, np.ndarray | None]]:
    """The groups of each person, as they are in the data; ``left_out`` gets what is not read, with its frames."""
    if frame is None:
        return []
    if "animals" in frame:
        raise ValueError(f"Frame {t} holds animal poses (AP-10K), which have other joints: use a detector for people.")
    people = frame.get("people", 0)
    if people is None:
        return []
    if not isinstance(people, (list, tuple)):
        raise ValueError(f"Frame {t} has no list 'people', so this is not POSE_KEYPOINT data: {CONNECT}.")
    if len(people) > MOST_PEOPLE:
        raise ValueError(f"Frame {t} has {len(people)} people, more than {MOST_PEOPLE}: {CORRECT}.")
    return [_read_person(person, t, left_out) for person in people if person is not None]


def _read_person(person, t: int, left_out: dict[str, list[int]]) -> dict[str, np.ndarray | None]:
    if not isinstance(person, dict):
        raise ValueError(f"A person of frame {t} is {_describe(person)} instead of a dict with '{KEYS['body']}': {CONNECT}.")
    if KEYS["body"] not in person:
        raise ValueError(f"A person of frame {t} has no '{KEYS['body']}', so this is not POSE_KEYPOINT data: {CONNECT}.")
    points = _points(person[KEYS["body"]], KEYS["body"], t)
    groups: dict[str, np.ndarray | None] = dict.fromkeys(GROUPS)
    split = split_layout(np.zeros((len(JOINTS), 3)) if points is None else points)
    if split is None:
        raise ValueError(
            f"A person of frame {t} has {len(points)} body keypoints, but the layouts that are read have {READ}: use DWPose or"
            " OpenPose, or a node that converts to one of them."
        )
    groups |= split
    for group in GROUPS[1:]:
        own = _points(person.get(KEYS[group]), KEYS[group], t)
        if own is None:
            continue
        if group == "face" and len(own) == FACE_POINTS - 2:
            own = whole_face(own, groups["body"])
        if len(own) == GROUP_POINTS[group]:
            groups[group] = own
        elif own[:, 2].any():
            where = left_out.setdefault(f"'{KEYS[group]}' of {len(own)} instead of {GROUP_POINTS[group]} keypoints", [])
            if t not in where[-1:]:
                where.append(t)
    return groups


def _points(flat, key: str, t: int) -> np.ndarray | None:
    """Keypoints ``[n, 3]`` of a flat list of triples, zeros for missing ones.

    Returns:
        None for an absent or empty list.
    """
    if flat is None:
        return None
    if not isinstance(flat, (list, tuple, np.ndarray)):
        raise ValueError(f"'{key}' of frame {t} is {_describe(flat)} instead of a list of numbers: {CORRECT}.")
    if len(flat) == 0:
        return None
    try:
        points = np.asarray(flat, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"'{key}' of frame {t} holds something that is not a number: {CORRECT}.") from None
    except OverflowError:
        raise ValueError(f"'{key}' of frame {t} holds a number that is too large for a coordinate: {CORRECT}.") from None
    if points.size % 3:
        raise ValueError(
            f"'{key}' of frame {t} has {points.size} numbers, which are not triples of x, y and confidence: {CORRECT}."
        )
    points = points.reshape(-1, 3)  # [n, (x, y, confidence)]
    return np.where((np.isfinite(points).all(axis=1) & (points[:, 2] > 0))[:, None], points, 0.0)


def _written(person: Person) -> dict[str, list[float]]:
    """A person's groups as flat lists of the full length, zeros for what was not seen."""
    groups = [group for group in GROUPS if group in WRITTEN or (person.feet is not None and person.feet[:, 2].any())]
    groups.sort(key=lambda group: (*WRITTEN, "feet").index(group))
    return {KEYS[group]: _flat(getattr(person, group), GROUP_POINTS[group]) for group in groups}


def _flat(points: np.ndarray | None, count: int) -> list[float]:
    if points is None:
        return [0.0] * (3 * count)
    return [number for x, y, seen in points for number in ((float(x), float(y), 1.0) if seen > 0 else (0.0, 0.0, 0.0))]


def _describe(data) -> str:
    if isinstance(data, (list, tuple)):
        return f"a list holding {type(data[0]).__name__}" if len(data) else "an empty list"
    return f"a value of type {shown(type(data).__name__)}"
