"""Read and write POSE_KEYPOINT, the OpenPose JSON list of comfyui_controlnet_aux's nodes.

One dict per frame: ``people``, each with flat lists of x, y, confidence triples (``pose_keypoints_2d`` of 18, hands of 21, face of
70; None if not detected), and ``canvas_height``, ``canvas_width``. Its DWPreprocessor writes pixels of the original picture, its
OpenposePreprocessor fractions in 0..1. Both write confidence 1.0, or (0, 0, 0) for a missing joint. Its reader takes any confidence
below 1.0 for missing, so we write the same.
(src/custom_controlnet_aux/dwpose/__init__.py and open_pose/__init__.py, ``encode_poses_as_dict``)
"""

import numpy as np

from .skeleton import GROUPS, HAND_POINTS, JOINTS, Person, PoseFrame

KEYS = {
    "body": "pose_keypoints_2d",
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
    "face": "face_keypoints_2d",
}
# Written in the order in which comfyui_controlnet_aux writes them.
WRITTEN = ("body", "face", "left_hand", "right_hand")
# No real person fits within two pixels of a corner, and fractions beyond 1 are points just outside the picture.
LARGEST_FRACTION = 2.0

CONNECT = "connect a pose detector, or load a JSON file that one has saved"
CORRECT = "detect the poses again or correct the JSON"


def read_pose_keypoint(data) -> list[PoseFrame]:
    """Read a POSE_KEYPOINT into frames in pixels.

    Whether the numbers are pixels or fractions is decided once for the whole list.

    Args:
        data: a list of frames, or the dict of a single one.

    Raises:
        ValueError: the data is no such list, has no canvas, or has another number of keypoints.
    """
    frames = [data] if isinstance(data, dict) else data
    if not isinstance(frames, (list, tuple)) or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"This is not POSE_KEYPOINT data ({_describe(data)}), a list with one dict per frame: {CONNECT}.")
    if not frames:
        raise ValueError("The POSE_KEYPOINT list is empty: connect poses of at least one frame.")
    parsed = [_read_frame(frame, t) for t, frame in enumerate(frames)]
    if _are_fractions(parsed):
        parsed = [
            PoseFrame([_from_fractions(person, frame) for person in frame.people], frame.width, frame.height) for frame in parsed
        ]
    return parsed


def write_pose_keypoint(frames: list[PoseFrame]) -> list[dict]:
    """Write frames as a POSE_KEYPOINT list in pixels.

    Holds plain Python numbers, ready for ``json.dump``.
    """
    return [
        {
            "people": [{KEYS[group]: _flat(getattr(person, group)) for group in WRITTEN} for person in frame.people],
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


def _read_frame(frame: dict, t: int) -> PoseFrame:
    if "animals" in frame:
        raise ValueError(f"Frame {t} holds animal poses (AP-10K), which have other joints: use a detector for people.")
    if not isinstance(frame.get("people"), (list, tuple)):
        raise ValueError(f"Frame {t} has no list 'people', so this is not POSE_KEYPOINT data: {CONNECT}.")
    size = []
    for key in ("canvas_width", "canvas_height"):
        value = frame.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value) or value < 1:
            raise ValueError(f"Frame {t} has {key} {value!r}: the canvas must be at least 1 pixel wide and high, so {CORRECT}.")
        size.append(int(value))
    return PoseFrame([person for person in (_read_person(p, t) for p in frame["people"]) if person is not None], *size)


def _read_person(person, t: int) -> Person | None:
    if not isinstance(person, dict):
        raise ValueError(f"A person of frame {t} is {_describe(person)} instead of a dict with '{KEYS['body']}': {CONNECT}.")
    if KEYS["body"] not in person:
        raise ValueError(f"A person of frame {t} has no '{KEYS['body']}', so this is not POSE_KEYPOINT data: {CONNECT}.")
    body = _points(person[KEYS["body"]], KEYS["body"], t)
    hands_and_face = [_points(person.get(KEYS[group]), KEYS[group], t) for group in GROUPS[1:]]
    if body is None:
        body = np.zeros((len(JOINTS), 3))
    if len(body) != len(JOINTS):
        raise ValueError(
            f"A person of frame {t} has {len(body)} body keypoints{_known_layout(len(body))}, but OpenPose's layout has"
            f" {len(JOINTS)}: use DWPose or OpenPose, or a node that converts to it."
        )
    for group, points in zip(GROUPS[1:3], hands_and_face):
        if points is not None and len(points) != HAND_POINTS:
            raise ValueError(
                f"A hand of frame {t} has {len(points)} keypoints in '{KEYS[group]}' instead of {HAND_POINTS}: {CORRECT}."
            )
    return Person(body, *hands_and_face)


def _points(flat, key: str, t: int) -> np.ndarray | None:
    """Keypoints ``[n, 3]`` of a flat list of triples, zeros for missing ones.

    Returns:
        None for an absent or empty list.
    """
    if flat is None or len(flat) == 0:
        return None
    try:
        points = np.asarray(flat, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"'{key}' of frame {t} holds something that is not a number: {CORRECT}.") from None
    if points.size % 3:
        raise ValueError(
            f"'{key}' of frame {t} has {points.size} numbers, which are not triples of x, y and confidence: {CORRECT}."
        )
    points = points.reshape(-1, 3)  # [n, (x, y, confidence)]
    return np.where((np.isfinite(points).all(axis=1) & (points[:, 2] > 0))[:, None], points, 0.0)


def _are_fractions(frames: list[PoseFrame]) -> bool:
    bodies = [person.body[person.seen, :2] for frame in frames for person in frame.people]
    numbers = np.concatenate(bodies) if bodies else np.zeros((0, 2))
    return len(numbers) > 0 and np.abs(numbers).max() <= LARGEST_FRACTION


def _from_fractions(person: Person, frame: PoseFrame) -> Person:
    """Convert fractions of the canvas to pixels.

    OpenPose marks a missing point of hands and face by a negative coordinate with confidence 1. The result is rounded to thousandths of
    a pixel, so that whole pixels stay whole and are drawn at the same place.
    """

    def pixels(points, marked):
        if points is None:
            return None
        gone = (points[:, 2:] == 0) | (marked & (points[:, :2] < 0).any(axis=1, keepdims=True))
        return np.where(gone, 0.0, np.round(points * (frame.width, frame.height, 1), 3))

    return Person(*(pixels(getattr(person, group), marked=group != "body") for group in GROUPS))


def _flat(points: np.ndarray | None) -> list[float] | None:
    if points is None:
        return None
    return [number for x, y, seen in points for number in ((float(x), float(y), 1.0) if seen > 0 else (0.0, 0.0, 0.0))]


def _known_layout(count: int) -> str:
    return {
        17: " (the COCO layout)",
        25: " (OpenPose's BODY_25 layout)",
        33: " (MediaPipe's layout)",
        133: " (COCO-WholeBody)",
    }.get(count, "")


def _describe(data) -> str:
    if isinstance(data, (list, tuple)):
        return f"a list holding {type(data[0]).__name__}" if len(data) else "an empty list"
    return f"a value of type {type(data).__name__}"
