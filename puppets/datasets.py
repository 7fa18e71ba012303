"""Training samples from the puppet world, by number: the same shapes that the datasets of real videos give.

Every sample is a dict of uint8 tensors: ``pixels [frames, 3, size, size]``, ``pose`` likewise, ``reference [3, size, size]``.
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

_CHARACTER, _SCENE, _MOTION, _REFERENCE_MOTION = range(4)  # third number of the seeds that training uses


def channels_first(pictures: np.ndarray) -> torch.Tensor:
    """``[..., h, w, 3]`` -> ``[..., 3, h, w]``"""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3)))


class PuppetCrops(Dataset):
    """For the VAE: a random square of a picture, ``{"pixels": [3, side, side]}``."""

    def __init__(self, seed: int, side: int = 64):
        self.seed, self.side = seed, side

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([23, self.seed, number])
        frame = _Setting(self.seed, number).clip(_MOTION, 1, rng.uniform(0, 99)).frames[0]
        left, top = rng.integers(0, SIZE - self.side + 1, 2)
        return {"pixels": channels_first(frame[top : top + self.side, left : left + self.side])}


class PuppetPictures(Dataset):
    """For the base model: one picture, its pose, and its joints in pixels (float32).

    From ``alone`` on, numbers 2k and 2k + 1 show one character and scene.
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
    """For stage 1: frames with their poses, and as reference another motion of the same character in front of the same scene.

    Several frames far apart share one reference, whose features are then computed once for all of them.
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
    """For stage 2: a clip with its poses, some of them wrong, and a reference from another motion; on demand the right poses too."""

    def __init__(self, seed: int, frames: int = 16, outliers: float = 0.3, truth: bool = False):
        """Args: outliers: up to this share of a clip's poses is wrong (three of ten clips have none). truth: with ``true_pose``."""
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
    """The character and the scene of a sample, drawn once for all its motions."""

    def __init__(self, seed: int, number: int):
        self._key = (seed, number)
        self._character, self._scene = Character.from_seed((*self._key, _CHARACTER)), draw_scene((*self._key, _SCENE))

    def clip(self, motion: int, frames: int, start: float) -> Clip:
        return draw_clip(self._character, self._scene, Motion.from_seed((*self._key, motion), frames, start))
