"""A picture of the temperatures for the person who tunes them."""

import numpy as np
import torch

from .pictures import rgb_on_black
from .temperature import TemperatureMaps

WINDOW = 16  # frames for each map of the preview: the authors' window
_STOPS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float32) / 255


def heat_colors(values: np.ndarray) -> np.ndarray:
    """Values in 0..1 to dark-to-bright colours, ``[…, 3]``."""
    position = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(values, position, _STOPS[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def preview(maps: TemperatureMaps, pose_images: torch.Tensor) -> torch.Tensor:
    """Heat map of each frame's window with its skeleton on top, ``[frames, height, width, 3]``.

    Black is temperature 1, the brightest colour the highest that ``tau`` allows.
    """
    frames = []
    for start in range(0, maps.frames, WINDOW):
        window = range(start, min(start + WINDOW, maps.frames))
        heat = torch.from_numpy(heat_colors((maps.image(window) - 1) / max(maps.tau, 1e-6)))
        for frame in window:
            pose = rgb_on_black(pose_images[frame : frame + 1])[0].cpu().float()
            frames.append(torch.where((pose != 0).any(dim=-1, keepdim=True), pose, heat))
    return torch.stack(frames)
