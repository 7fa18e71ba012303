"""The puppet world: seeded clips of drawn characters with exact keypoints, 128 x 128.

A clip is a character, a scene and a motion, each from a seed: any motion can pose any character in front of any scene, so the right answer
of every animation is known. Keypoints are OpenPose's 18. numpy and PIL draw a frame in about 3 ms.

`datasets` makes training samples of clips, `evaluate` makes the cases of the evaluation.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .character import Character
from .motion import SIZE, Motion, Skeleton, pose
from .scene import SMOOTH, Brush, draw_scene

SOFTNESS = 0.8  # standard deviation of the blur in pixels: edges are as soft as those of a scaled-down photo


@dataclass(frozen=True)
class Clip:
    """A drawn clip and what is known of it."""

    frames: np.ndarray  # uint8 RGB [frames, 128, 128, 3]
    scene: np.ndarray  # uint8 RGB [128, 128, 3]
    keypoints: np.ndarray  # true [frames, 18, 3]: x, y in pixels, confidence
    foreground: np.ndarray | None  # where the character is visible, bool [frames, 128, 128]


def make_clip(character, scene, motion, frames: int, *, start: float = 0.0, masks: bool = False) -> Clip:
    """Draw a clip from three seeds (ints or sequences of ints).

    Args:
        start: the motion's frame at which the clip starts; clips of consecutive parts of a motion fit together.
        masks: whether to find where the character is visible too (a third more time).
    """
    return draw_clip(Character.from_seed(character), draw_scene(scene), Motion.from_seed(motion, frames, start), masks=masks)


def draw_clip(character: Character, scene: Image.Image, motion: Motion, masks: bool = False) -> Clip:
    """Draw a clip of a character, a scene and a motion."""
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
    """Where the character is visible, even faintly at its soft edge, bool ``[128, 128]``.

    It is drawn on two plain backgrounds; where the pictures differ less than the backgrounds, it is visible.
    """
    drawn = []
    for background in ((1, 2, 3), (254, 253, 252)):
        canvas = Image.new("RGB", (SIZE * SMOOTH, SIZE * SMOOTH), background)
        character.draw(Brush(canvas), skeleton, frame)
        drawn.append(_photo(canvas).astype(np.int16))
    # the backgrounds differ by 251
    return np.abs(drawn[0] - drawn[1]).mean(-1) < 245
