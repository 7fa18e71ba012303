"""The puppet world: endless, seeded clips of drawn characters with exact OpenPose-18 key points, 128 x 128.

A clip is a character, a scene and a motion, each from a seed of its own: the same character can be posed by any motion in front of any
scene, so the right answer of every animation is known. Drawn with numpy and PIL alone, about 3 ms a frame.

`datasets` makes endless training samples of them, `evaluate` the cases to measure on.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .character import Character
from .motion import SIZE, Motion, Skeleton, pose
from .scene import SMOOTH, Brush, draw_scene

SOFTNESS = 0.8  # standard deviation in pixels: edges are as soft as those of a scaled-down photo


@dataclass(frozen=True)
class Clip:
    """``frames`` and ``scene`` are uint8 RGB, ``[frames, 128, 128, 3]`` and ``[128, 128, 3]``."""

    frames: np.ndarray
    scene: np.ndarray
    keypoints: np.ndarray  # true [frames, 18, 3]: x, y in pixels, confidence
    foreground: np.ndarray | None  # where the character shows, bool [frames, 128, 128]


def make_clip(character, scene, motion, frames: int, *, start: float = 0.0, masks: bool = False) -> Clip:
    """Draw a clip from three seeds (ints or sequences of ints).

    Args:
        start: frame of the motion to begin at; parts of one clip fit together.
        masks: also draw where the character shows (a third more time).
    """
    return draw_clip(Character.from_seed(character), draw_scene(scene), Motion.from_seed(motion, frames, start), masks=masks)


def draw_clip(character: Character, scene: Image.Image, motion: Motion, masks: bool = False) -> Clip:
    """`make_clip` from the things themselves."""
    skeleton = pose(motion, character.body)
    frames = len(skeleton.joints)
    pictures = np.empty((frames, SIZE, SIZE, 3), dtype=np.uint8)
    foreground = np.empty((frames, SIZE, SIZE), dtype=bool) if masks else None
    for frame in range(frames):
        canvas = scene.copy()
        character.draw(Brush(canvas), skeleton, frame)
        pictures[frame] = _photo(canvas)
        if masks:
            foreground[frame] = _silhouette(character, skeleton, frame)
    keypoints = np.concatenate([skeleton.joints, np.ones((frames, 18, 1))], axis=-1)
    return Clip(pictures, _photo(scene), keypoints, foreground)


def _photo(canvas: Image.Image) -> np.ndarray:
    return np.asarray(canvas.reduce(SMOOTH).filter(ImageFilter.GaussianBlur(SOFTNESS)))


def _silhouette(character: Character, skeleton: Skeleton, frame: int) -> np.ndarray:
    """Where the character shows, be it faintly at its soft edge, bool: drawn on two plain canvases, it looks the same there on both."""
    drawn = []
    for background in ((1, 2, 3), (254, 253, 252)):
        canvas = Image.new("RGB", (SIZE * SMOOTH, SIZE * SMOOTH), background)
        character.draw(Brush(canvas), skeleton, frame)
        drawn.append(_photo(canvas).astype(np.int16))
    # the bare canvases differ by 251
    return np.abs(drawn[0] - drawn[1]).mean(-1) < 245
