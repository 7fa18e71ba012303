"""Numbered training samples from videos, drawn as by the authors (``dataset.py``).

Every sample is a dict of uint8 tensors: ``pixels`` and ``pose [frames, 3, size, size]``, ``reference [3, size, size]``. A sample depends
only on the seed and its number, so a resumed run sees the same samples as an uninterrupted one.
"""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from .faults import named
from .poses import DrawnPoses
from .videos import Video

MARGIN = 30  # minimum distance in frames between a frame and its reference, if the video is long enough
CROP_SCALE, CROP_RATIO = (0.9, 1.0), (0.9, 1.0)  # share of the area; width over height

Box = tuple[float, float, float, float]


def random_crop(width: int, height: int, rng: np.random.Generator) -> Box:
    """A random crop, as shares of the picture's sides: left, top, right, bottom.

    Like torchvision's ``RandomResizedCrop``.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*CROP_SCALE)
        ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
        across, down = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
            return left / width, top / height, (left + across) / width, (top + down) / height
    # the picture is too wide or too tall for such a crop: take its middle
    across, down = min(width, height * CROP_RATIO[1]), min(height, width / CROP_RATIO[0])
    left, top = (width - across) / 2, (height - down) / 2
    return left / width, top / height, (left + across) / width, (top + down) / height


def crop_and_resize(pictures: list[Image.Image], box: Box, size: int) -> torch.Tensor:
    """Crop and resize pictures of any size to uint8 ``[n, 3, size, size]``."""
    out = []
    for picture in pictures:
        pixels = tuple(share * side for share, side in zip(box, (*picture.size, *picture.size)))
        out.append(np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=pixels)))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).contiguous()


class FramePairs(Dataset):
    """Stage 1: a frame with its pose, and another frame of the same video as reference."""

    def __init__(self, videos: list[Video], size: int, seed: int):
        self.videos, self.size, self.seed = videos, size, seed
        self.poses = [DrawnPoses(video) for video in videos]

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([41, self.seed, number])
        which = int(rng.integers(len(self.videos)))
        count = self.videos[which].frames.count
        margin = MARGIN if count >= 2 * MARGIN else 1
        reference = int(rng.integers(count))
        target = (reference + int(rng.integers(margin, count - margin + 1))) % count if count > 1 else reference
        return _sample(self.videos[which], self.poses[which], reference, [target], self.size, rng)


class VideoClips(Dataset):
    """Stage 2: consecutive frames with their poses, and the video's first frame as reference."""

    def __init__(self, videos: list[Video], size: int, frames: int, seed: int):
        self.videos, self.size, self.frames, self.seed = videos, size, frames, seed
        self.poses = [DrawnPoses(video) for video in videos]

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([43, self.seed, number])
        which = int(rng.integers(len(self.videos)))
        start = int(rng.integers(self.videos[which].frames.count - self.frames + 1))
        return _sample(self.videos[which], self.poses[which], 0, list(range(start, start + self.frames)), self.size, rng)


def _sample(video: Video, poses: DrawnPoses, reference: int, targets: list[int], size: int, rng) -> dict[str, torch.Tensor]:
    """Frames, poses and reference, all with the same crop."""
    with named(video.frames.path):
        frames = video.frames.read([reference, *targets])
        box = random_crop(*frames[0].size, rng)
        pictures = crop_and_resize(frames, box, size)
        return {"pixels": pictures[1:], "pose": crop_and_resize(poses.read(targets), box, size), "reference": pictures[0]}
