"""A picture of a video's windows: frames from left to right, windows from top to bottom."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from .windows import check_windows, lay_windows

_BACK, _LINE, _TEXT = (24, 24, 28), (52, 52, 60), (190, 190, 200)
_ALONE, _SHARED = (70, 130, 190), (240, 170, 60)
_LEFT, _TOP, _MAX_WIDTH, _MAX_HEIGHT = 36, 20, 1600, 1200


def preview(frames: int, length: int, overlap: int, closed_loop: bool) -> torch.Tensor:
    """The windows of a video of ``frames`` frames, as ``[1, height, width, 3]`` in 0..1."""
    check_windows(length, overlap)
    if frames < 1:
        raise ValueError("There are no latents to sample: connect latents with one entry for each frame.")
    return draw_windows(lay_windows(frames, length, overlap, closed_loop), frames)


def draw_windows(windows: Sequence[Sequence[int]], frames: int) -> torch.Tensor:
    """The windows as ``[1, height, width, 3]`` in 0..1.

    A frame is blue if one window makes it, and orange if several are averaged.

    Args:
        windows: each window's frame indices, which may wrap around the end.
        frames: length of the video.
    """
    shared = np.bincount(np.concatenate([np.asarray(window) for window in windows]), minlength=frames) > 1
    column = max(1, min(24, _MAX_WIDTH // frames))
    row = max(2, min(18, _MAX_HEIGHT // len(windows)))
    every = max(1, -(-frames // _MAX_WIDTH))  # frames in a column
    drawn = range(0, len(windows), max(1, -(-len(windows) * row // _MAX_HEIGHT)))
    grid = np.full((len(drawn), -(-frames // every), 3), _BACK, dtype=np.uint8)
    for number, window in enumerate(windows[index] for index in drawn):
        grid[number, np.asarray(window) // every] = np.where(shared[window][:, None], _SHARED, _ALONE)
    cells = grid.repeat(row, axis=0).repeat(column, axis=1)
    if column > 3:
        cells[:, column - 1 :: column] = _LINE
    if row > 3:
        cells[row - 1 :: row] = _LINE
    picture = np.full((_TOP + len(cells) + 8, _LEFT + max(cells.shape[1], 100) + 8, 3), _BACK, dtype=np.uint8)
    picture[_TOP : _TOP + len(cells), _LEFT : _LEFT + cells.shape[1]] = cells
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for place in range(0, grid.shape[1], _spacing(column, 32)):
        pen.text((_LEFT + place * column, 4), str(place * every), fill=_TEXT)
    for place in range(0, len(drawn), _spacing(row, 14)):
        pen.text((6, _TOP + place * row + (row - 12) // 2), str(drawn[place] + 1), fill=_TEXT)
    return torch.from_numpy(np.array(image).astype(np.float32) / 255)[None]


def _spacing(size: int, room: int) -> int:
    """Every how many cells a label fits: 1, 2, 4, 8 and so on."""
    step = 1
    while step * size < room:
        step *= 2
    return step
