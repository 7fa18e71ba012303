"""Numbered training samples from the puppet world, in the shapes of real videos' samples.

Every sample is a dict of uint8 tensors: ``pixels`` and ``pose [frames, 3, size, size]``, ``reference [3, size, size]``.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from .character import Character
from .clips import Clip, draw_clip
from .motion import SIZE, Motion
from .outliers import add_outliers
from .pose_images import draw_keypoints
from .scene import draw_scene

_CHARACTER, _SCENE, _MOTION, _REFERENCE_MOTION = range(4)  # third number of a seed in training


def channels_first(pictures: np.ndarray) -> torch.Tensor:
    """Convert pictures ``[..., h, w, 3]`` to a tensor ``[..., 3, h, w]``."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3)))


class PuppetCrops(Dataset):
    """The VAE: a random square of a picture, ``{"pixels": [3, side, side]}``."""

    def __init__(self, seed: int, side: int = 64):
        self.seed, self.side = seed, side

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([23, self.seed, number])
        frame = _Setting(self.seed, number).clip(_MOTION, 1, rng.uniform(0, 99)).frames[0]
        left, top = rng.integers(0, SIZE - self.side + 1, 2)
        return {"pixels": channels_first(frame[top : top + self.side, left : left + self.side])}


class PuppetPictures(Dataset):
    """The base model: a picture, its pose image, and its joints in pixels (float32).

    From number ``alone`` on, pictures 2k and 2k + 1 show one character and scene.
    """

    def __init__(self, seed: int, alone: int = 0):
        self.seed, self.alone = seed, alone

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([29, self.seed, number])
        paired = number >= self.alone
        setting = _Setting(self.seed, number // 2 * 2 if paired else number)
        clip = setting.clip(_REFERENCE_MOTION if paired and number % 2 else _MOTION, 1, rng.uniform(0, 99))
        return {
            "pixels": channels_first(clip.frames),
            "pose": channels_first(draw_keypoints(clip.keypoints, SIZE)),
            "joints": torch.from_numpy(clip.keypoints[..., :2]).float(),
            "paired": torch.tensor(paired),
        }


class PuppetPairs(Dataset):
    """Stage 1: frames with their poses; the reference shows the same character and scene.

    The reference is of another motion. Several frames far apart share it, so its tokens are computed once for all of them.
    """

    def __init__(self, seed: int, targets: int = 2):
        self.seed, self.targets = seed, targets

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([31, self.seed, number])
        setting = _Setting(self.seed, number)
        targets = [setting.clip(_MOTION, 1, rng.uniform(0, 99)) for _ in range(self.targets)]
        reference = setting.clip(_REFERENCE_MOTION, 1, rng.uniform(0, 99))
        keypoints = np.concatenate([target.keypoints for target in targets])
        return {
            "pixels": channels_first(np.concatenate([target.frames for target in targets])),
            "pose": channels_first(draw_keypoints(keypoints, SIZE)),
            "reference": channels_first(reference.frames[0]),
        }


class PuppetClips(Dataset):
    """Stage 2: a clip with its poses, some of them wrong; the reference is of another motion.

    Args:
        outliers: maximum share of a clip's poses that are wrong; three of ten clips have none.
        truth: whether samples have the right poses too, as ``true_pose``.
    """

    def __init__(self, seed: int, frames: int = 16, outliers: float = 0.3, truth: bool = False):
        self.seed, self.frames, self.outliers, self.truth = seed, frames, outliers, truth

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([37, self.seed, number])
        setting = _Setting(self.seed, number)
        clip = setting.clip(_MOTION, self.frames, rng.uniform(0, 99))
        reference = setting.clip(_REFERENCE_MOTION, 1, rng.uniform(0, 99))
        share = self.outliers * rng.choice([0.0, 0.5, 1.0], p=(0.3, 0.2, 0.5))
        seen = add_outliers(clip.keypoints, share, rng)[0]
        truth = {"true_pose": channels_first(draw_keypoints(clip.keypoints, SIZE))} if self.truth else {}
        return truth | {
            "pixels": channels_first(clip.frames),
            "pose": channels_first(draw_keypoints(seen, SIZE)),
            "reference": channels_first(reference.frames[0]),
        }


class _Setting:
    """The character and the scene of a sample, made once for all its motions."""

    def __init__(self, seed: int, number: int):
        self._key = (seed, number)
        self._character, self._scene = Character.from_seed((*self._key, _CHARACTER)), draw_scene((*self._key, _SCENE))

    def clip(self, motion: int, frames: int, start: float) -> Clip:
        return draw_clip(self._character, self._scene, Motion.from_seed((*self._key, motion), frames, start))
