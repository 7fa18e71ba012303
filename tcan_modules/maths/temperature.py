"""The pose-driven temperature map, PTM (paper section 3.4; authors' ``get_taumap``).

Far from the skeleton the temporal attention is flattened, so that the background stays still: a pixel's scores are divided by
``T = tau * D + 1``, where D is its distance to the nearest skeleton pixel of any frame in the window, over half of the image's diagonal
(authors' ``magicanimate/utils/util.py``).
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from ..log import log
from ..values import HIGHEST_TAU, check_between
from .pictures import ROUNDING, center_crop, check_size, masks_of, rgb_on_black


def skeleton_mask(pose_images: torch.Tensor) -> np.ndarray:
    """Pixels of a drawn pose.

    Args:
        pose_images: ``[frames, height, width, channels]``.

    Returns:
        bool ``[frames, height, width]``.
    """
    return (pose_images != 0).any(dim=-1).cpu().numpy()


def temperature_map(skeleton: np.ndarray, tau: float) -> np.ndarray:
    """Temperatures of the image's pixels, ``T = tau * D + 1``.

    Args:
        skeleton: union of a window's skeletons, bool ``[height, width]``. Without any skeleton every temperature is 1.

    Returns:
        float32 ``[height, width]``.
    """
    from scipy.ndimage import distance_transform_edt

    if not skeleton.any():
        return np.ones(skeleton.shape, dtype=np.float32)
    half_diagonal = np.hypot(*skeleton.shape) / 2
    return (tau * distance_transform_edt(~skeleton) / half_diagonal + 1).astype(np.float32)


def resize_to_grid(temperature: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Nearest-neighbour (floor) resize of a map ``[height, width]`` to a layer's grid."""
    return torch.nn.functional.interpolate(temperature[None, None], (height, width), mode="nearest")[0, 0]


class TemperatureMaps:
    """The value of a ``TCAN_PTM`` socket: temperatures of any window of a video.

    It keeps the skeletons as bits, and maps of the layers' small grids only, so that a long video takes little memory.
    """

    KEPT_GRIDS = 4096

    def __init__(self, skeletons: np.ndarray, tau: float, min_resolution: int = 0):
        """Args: skeletons bool ``[frames, height, width]``; min_resolution: smallest grid side that gets a temperature."""
        self.frames, self.height, self.width = skeletons.shape
        self.tau, self.min_resolution = tau, min_resolution
        self._bits = np.packbits(skeletons.reshape(self.frames, -1), axis=1)
        self._grids: OrderedDict[tuple, torch.Tensor] = OrderedDict()
        self._latest: tuple[tuple, torch.Tensor] | None = None  # the image-sized map from which all grids of a window are resized

    def image(self, indices: Sequence[int], crop: tuple[int, int] = (0, 0)) -> np.ndarray:
        """Temperatures ``[height, width]`` of a window, at the size of the pose images.

        One pose serves every frame.

        Args:
            crop: pixels cut at the top and bottom, and at the left and right (`pictures.center_crop`).
        """
        chosen = sorted(set(indices)) if self.frames > 1 else [0]
        bits = np.bitwise_or.reduce(self._bits[chosen], axis=0)
        skeleton = np.unpackbits(bits, count=self.height * self.width).astype(bool)
        (top, left), skeleton = crop, skeleton.reshape(self.height, self.width)
        return temperature_map(skeleton[top : self.height - top, left : self.width - left], self.tau)

    def grid(self, indices: Sequence[int], height: int, width: int, crop: tuple[int, int] = (0, 0)) -> torch.Tensor | None:
        """Temperatures ``[height, width]`` of a layer's grid; None below ``min_resolution``."""
        if min(height, width) < self.min_resolution:
            return None
        window = (*indices, crop)
        key = (window, height, width)
        if key not in self._grids:
            latest = self._latest  # a host on several GPUs asks from several threads
            if latest is None or latest[0] != window:
                latest = self._latest = window, torch.from_numpy(self.image(indices, crop))
            grid = self._grids[key] = resize_to_grid(latest[1], height, width)
            if len(self._grids) > self.KEPT_GRIDS:
                self._grids.popitem(last=False)
            return grid
        return self._grids[key]

    def grids(
        self, indices: Sequence[int], height: int, width: int, levels: int, device: torch.device
    ) -> dict[tuple[int, int], torch.Tensor]:
        """Temperatures of a window for all grids of a UNet, on a device.

        Pose images of other proportions than the latents are cropped to their centre, as the ControlNet crops them.

        Args:
            height, width: of the latents, the largest grid; each level halves them, rounding up.
            levels: number of the UNet's levels.

        Returns:
            ``[height, width]`` by height and width.
        """
        grids, crop = {}, center_crop(self.height, self.width, height, width)
        for _ in range(levels):
            found = self.grid(indices, height, width, crop)
            if found is not None:
                grids[height, width] = found.to(device)
            height, width = -(-height // 2), -(-width // 2)
        return grids

    def check_frames(self, frames: int) -> None:
        """Raise if the sampled video has another length than the poses; one pose serves every frame."""
        if self.frames not in (1, frames):
            raise ValueError(
                f"The PTM was built from {self.frames} pose images, but {frames} latents are sampled: give PTM Builder one pose image"
                " for each latent."
            )


def build_maps(
    pose_images: torch.Tensor, tau: float, mask: torch.Tensor | None = None, min_resolution: int = 0
) -> TemperatureMaps:
    """Temperatures for a video from its drawn poses.

    Args:
        pose_images: IMAGE on black, ``[frames, height, width, channels]`` in 0..1.
        mask: MASK of more foreground, one or one for each frame, in 0..1 (foreground above one half), of any size.

    Raises:
        ValueError: no skeleton in any frame, an empty mask, or a mask for another number of frames.
    """
    check_between("tau", tau, 0, HIGHEST_TAU)
    check_size(pose_images)
    skeletons = skeleton_mask(rgb_on_black(pose_images))
    if not skeletons.any():
        raise ValueError(
            "No frame of pose_images shows a skeleton (all are black): check the pose detector, and that the pose images are connected."
        )
    if skeletons.mean() > 0.5:
        log.warning(
            "more than half of the pose images is not black, so PTM will hardly still the background; pose images from a compressed"
            " video have noise in the black"
        )
    if mask is not None:
        skeletons |= _foreground(mask, *skeletons.shape)
    return TemperatureMaps(skeletons, tau, min_resolution)


def _foreground(mask: torch.Tensor, frames: int, height: int, width: int) -> np.ndarray:
    mask = masks_of(mask)
    if mask.shape[0] not in (1, frames):
        raise ValueError(
            f"The mask has {mask.shape[0]} frames and there are {frames} pose images: give one mask, or one for each frame."
        )
    if abs(mask.shape[2] * height / (mask.shape[1] * width) - 1) > ROUNDING:
        log.warning(
            "PTM Builder: the mask is %d x %d and the pose images are %d x %d, which has other proportions: the mask is stretched over"
            " them",
            *(mask.shape[2], mask.shape[1], width, height),
        )
    foreground = torch.nn.functional.interpolate(mask[None].float(), (height, width), mode="nearest")[0] > 0.5
    if not foreground.any():
        raise ValueError("The mask is empty (no pixel above one half): draw the foreground into it, or leave it unconnected.")
    return foreground.cpu().numpy()
