"""Draw skeletons as the OpenPose ControlNet was trained on them.

Limbs are ellipses of half-width 4 at 60 % brightness and joints full discs of radius 4, in OpenPose's 18 colours on black. Hands
are optional: lines 3 pixels wide in the colours of the rainbow, with blue discs. Sizes are pixels of the drawn picture at any
resolution, and positions are truncated to whole pixels; both as in the authors' utils.py, ``draw_bodyhand``. PIL draws, which
every ComfyUI has.
"""

import colorsys

import numpy as np
import torch
from PIL import Image, ImageDraw

from .bounds import check_drawing
from .skeleton import (
    L_ANKLE,
    L_EAR,
    L_ELBOW,
    L_EYE,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_WRIST,
    NECK,
    NOSE,
    R_ANKLE,
    R_EAR,
    R_ELBOW,
    R_EYE,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
    R_WRIST,
    Person,
    PoseFrame,
)

LIMBS = (
    (NECK, R_SHOULDER),
    (NECK, L_SHOULDER),
    (R_SHOULDER, R_ELBOW),
    (R_ELBOW, R_WRIST),
    (L_SHOULDER, L_ELBOW),
    (L_ELBOW, L_WRIST),
    (NECK, R_HIP),
    (R_HIP, R_KNEE),
    (R_KNEE, R_ANKLE),
    (NECK, L_HIP),
    (L_HIP, L_KNEE),
    (L_KNEE, L_ANKLE),
    (NECK, NOSE),
    (NOSE, R_EYE),
    (R_EYE, R_EAR),
    (NOSE, L_EYE),
    (L_EYE, L_EAR),
)
COLORS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
LIMB_HALF_WIDTH = 4
JOINT_RADIUS = 4
HAND_EDGES = tuple((0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4))
HAND_LINE_WIDTH = 3  # cv2's line of thickness 2 covers three pixels
# Coordinates are clipped to this: no limb reaches the picture from beyond, and wild keypoints would cost time.
FAR = 100_000


def _palette() -> np.ndarray:
    """All colours of a drawing, uint8 ``[57, 3]``.

    Black, 17 limbs at 60 %, 18 joints, 20 lines of a hand, the blue of its joints.
    """
    limbs = [[channel * 6 // 10 for channel in color] for color in COLORS[: len(LIMBS)]]
    rainbow = [
        [int(255 * channel) for channel in colorsys.hsv_to_rgb(i / len(HAND_EDGES), 1.0, 1.0)] for i in range(len(HAND_EDGES))
    ]
    return np.array([(0, 0, 0), *limbs, *COLORS, *rainbow, (0, 0, 255)], dtype=np.uint8)


PALETTE = _palette()
FIRST_LIMB = 1
FIRST_JOINT = FIRST_LIMB + len(LIMBS)
FIRST_HAND_EDGE = FIRST_JOINT + len(COLORS)
HAND_JOINT = FIRST_HAND_EDGE + len(HAND_EDGES)

_ANGLES = np.deg2rad(np.arange(360))
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)
_LIMB_ENDS = np.array(LIMBS)
_OFFSETS = np.arange(-JOINT_RADIUS, JOINT_RADIUS + 1)
_DISC = Image.fromarray(np.where(_OFFSETS[:, None] ** 2 + _OFFSETS**2 <= JOINT_RADIUS**2, 255, 0).astype(np.uint8))


def draw_frames(frames: list[PoseFrame], width: int = 0, height: int = 0, hands: bool = False, on_frame=None) -> torch.Tensor:
    """Draw each frame into a picture.

    Skeletons keep their proportions and are centred in a picture of other proportions.

    Args:
        frames: the poses.
        width: the pictures' width; 0 is that of the first frame's canvas, or follows from ``height`` by the canvas' proportions.
        height: the pictures' height; 0 likewise.
        hands: draws hands too.
        on_frame: called without arguments after each frame; may raise to stop.

    Returns:
        uint8 ``[frames, height, width, 3]``; ``as_image`` converts it to ComfyUI's IMAGE.

    Raises:
        ValueError: there is no frame, or the pictures would be too large.
    """
    width, height = drawn_size(frames, width, height)
    check_drawing(len(frames), width, height)
    pictures = torch.zeros((len(frames), height, width, 3), dtype=torch.uint8)
    for picture, frame in zip(pictures.numpy(), frames):
        # Only the skeleton's pixels are written: most of the black stays untouched, which halves the time.
        colors = draw_people(fit_people(frame, width, height), width, height, hands)
        drawn = colors.nonzero()
        picture[drawn] = PALETTE[colors[drawn]]
        if on_frame is not None:
            on_frame()
    return pictures


def as_image(pictures: torch.Tensor) -> torch.Tensor:
    """Convert uint8 pictures ``[frames, height, width, 3]`` to IMAGE, float32 in 0..1.

    Needs four times the memory.
    """
    return pictures.to(torch.float32).div_(255)


def drawn_size(frames: list[PoseFrame], width: int = 0, height: int = 0) -> tuple[int, int]:
    """Width and height in pixels at which ``draw_frames`` draws."""
    if not frames:
        raise ValueError("There is no frame to draw: connect poses of at least one frame.")
    canvas = frames[0]
    if width <= 0 and height <= 0:
        return canvas.width, canvas.height
    if width <= 0:
        width = max(1, round(canvas.width * height / canvas.height))
    if height <= 0:
        height = max(1, round(canvas.height * width / canvas.width))
    return width, height


def fit_people(frame: PoseFrame, width: int, height: int) -> list[Person]:
    """Move a frame's people into a picture of ``width`` x ``height``, centred, at one scale."""
    if (frame.width, frame.height) == (width, height):
        return frame.people
    scale = min(width / frame.width, height / frame.height)
    offset = ((width - frame.width * scale) / 2, (height - frame.height * scale) / 2)
    return [person.moved(scale, offset) for person in frame.people]


def draw_people(people: list[Person], width: int, height: int, hands: bool = False) -> np.ndarray:
    """Draw people, given in pixels of the picture, as indices into ``PALETTE``.

    Returns:
        uint8 ``[height, width]``; 0 is the background.
    """
    picture = Image.new("L", (width, height))
    brush = ImageDraw.Draw(picture)
    for person in people:
        _draw_body(brush, person)
        if hands:
            _draw_hand(brush, person.left_hand)
            _draw_hand(brush, person.right_hand)
    return np.asarray(picture)


def _draw_body(brush: ImageDraw.ImageDraw, person: Person) -> None:
    points, seen = np.clip(person.body[:, :2], -FAR, FAR), person.seen
    drawn = np.flatnonzero(seen[_LIMB_ENDS].all(axis=1)).tolist()
    for limb, outline in zip(drawn, _limb_outlines(points[_LIMB_ENDS[drawn]])):
        brush.polygon(outline.ravel().tolist(), fill=FIRST_LIMB + limb)
    for joint in np.flatnonzero(seen).tolist():
        _disc(brush, points[joint], FIRST_JOINT + joint)


def _draw_hand(brush: ImageDraw.ImageDraw, hand: np.ndarray | None) -> None:
    if hand is None:
        return
    points, seen = np.clip(hand[:, :2], -FAR, FAR), hand[:, 2] > 0
    for edge, (a, b) in enumerate(HAND_EDGES):
        if seen[a] and seen[b]:
            brush.line(
                [int(number) for end in (a, b) for number in points[end]],
                fill=FIRST_HAND_EDGE + edge,
                width=HAND_LINE_WIDTH,
            )
    for joint in np.flatnonzero(seen):
        _disc(brush, points[joint], HAND_JOINT)


def _disc(brush: ImageDraw.ImageDraw, point: np.ndarray, fill: int) -> None:
    brush.bitmap((int(point[0]) - JOINT_RADIUS, int(point[1]) - JOINT_RADIUS), _DISC, fill=fill)


def _limb_outlines(ends: np.ndarray) -> np.ndarray:
    """Ellipses along limbs.

    Lengths, centres and angles are truncated to whole pixels and degrees, as in the authors' drawing.

    Args:
        ends: ``[limbs, 2 ends, 2]``.

    Returns:
        Outlines in whole pixels ``[limbs, angles, 2]``.
    """
    along = ends[:, 0] - ends[:, 1]
    centre = ends.mean(axis=1).astype(int)
    half_length = (np.linalg.norm(along, axis=1) / 2).astype(int)
    angle = np.deg2rad(np.degrees(np.arctan2(along[:, 1], along[:, 0])).astype(int))
    x = half_length[:, None] * _CIRCLE[:, 0]
    y = LIMB_HALF_WIDTH * _CIRCLE[:, 1]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.rint(centre[:, None] + np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)).astype(int)
