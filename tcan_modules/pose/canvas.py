"""The canvas of poses: which keys name it, what serves if none does, its bounds."""

import math
import numbers

from ..values import shown
from .bounds import LONGEST_SIDE

SMALLEST = 8  # pixels; a smaller canvas is a placeholder
# The second pair is what other detectors and editors write.
KEYS = (("canvas_width", "canvas_height"), ("width", "height"))
TYPE_IN = (
    "type it in (width and height of Pose Draw, canvas_width and canvas_height of Pose Retarget) or add canvas_width and"
    " canvas_height to the JSON"
)


def canvas_sizes(frames: list[dict | None], size: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
    """Width and height in pixels of each frame's canvas.

    A frame that names none has that of the nearest frame before it, or else of the first one after it.

    Args:
        frames: POSE_KEYPOINT.
        size: serves if no frame names a canvas; 0 if unknown.

    Raises:
        ValueError: a canvas is no number, too small or too large, or there is none.
    """
    named = [_named(frame or {}, t) for t, frame in enumerate(frames)]
    last = next((each for each in named if each is not None), None)
    if last is None:
        width, height = size
        if width <= 0 or height <= 0:
            raise ValueError(f"The poses have no canvas size, so the pictures' size is unknown: {TYPE_IN}.")
        last = (_side("width", width, 0), _side("height", height, 0))
    sizes = []
    for each in named:
        last = last if each is None else each
        sizes.append(last)
    return sizes


def _named(frame: dict, t: int) -> tuple[int, int] | None:
    for keys in KEYS:
        values = [frame.get(key) for key in keys]
        if values != [None, None]:
            size = _side(keys[0], values[0], t), _side(keys[1], values[1], t)
            return size if max(size) >= SMALLEST else None  # 1 x 1 stands for fractions of an unknown canvas
    return None


def _side(key: str, value, t: int) -> int:
    """One side of a canvas in whole pixels."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, (numbers.Real, str)):
        try:
            number = float(value[:64] if isinstance(value, str) else value)
        except (ValueError, OverflowError):
            number = math.nan
    if not number >= 1:
        raise ValueError(
            f"Frame {t} has {key} {shown(value)}: the canvas must be at least 1 pixel wide and high, so detect the poses again or"
            " correct the JSON."
        )
    if number > LONGEST_SIDE:
        raise ValueError(
            f"Frame {t} has {key} {shown(value)}, but a canvas has at most {LONGEST_SIDE} pixels on a side: correct the JSON."
        )
    return int(number)
