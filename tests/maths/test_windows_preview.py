"""The picture of the windows."""

import pytest
import torch

from tcan_modules.maths.windows import lay_windows
from tcan_modules.maths.windows_preview import _ALONE, _LEFT, _SHARED, _TOP, draw_windows


def cells(windows, frames: int, column: int, row: int) -> list[str]:
    """Each window's line: ``.`` nothing, ``a`` a frame of only this window, ``s`` a shared one."""
    picture = (draw_windows(windows, frames)[0] * 255).round().int()
    signs = {_ALONE: "a", _SHARED: "s"}
    return [
        "".join(signs.get(tuple(picture[_TOP + number * row, _LEFT + frame * column].tolist()), ".") for frame in range(frames))
        for number in range(len(windows))
    ]


def test_it_shows_which_frames_are_averaged():
    assert cells(lay_windows(10, 6, 2, False), 10, 24, 18) == ["aaaass....", "....ssaaaa"]


def test_a_closed_loop_wraps_around():
    assert cells(lay_windows(8, 4, 1, True), 8, 24, 18) == ["ssas....", "...saas.", "ss....sa"]


def test_one_window():
    assert cells(lay_windows(5, 16, 4, True), 5, 24, 18) == ["aaaaa"]


@pytest.mark.parametrize("frames", (1, 48, 4096, 200_000))
def test_it_stays_a_picture_that_fits_a_node(frames):
    picture = draw_windows(lay_windows(frames, 16, 4, True), frames)
    assert picture.dtype == torch.float32 and picture.ndim == 4 and picture.shape[-1] == 3
    assert picture.min() >= 0 and picture.max() <= 1
    assert picture.shape[1] <= 1300 and picture.shape[2] <= 1700
