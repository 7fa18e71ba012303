"""Windows along time cover every frame and equal the authors' windows."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tcan_modules.maths.windows import check_windows, closed_windows, open_windows, shuffled_repeats


def test_the_authors_windows():
    """As the authors' ``context.py``: 16 frames in windows of 8 that share 2 wrap around the end."""
    assert closed_windows(16, 8, 2) == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [6, 7, 8, 9, 10, 11, 12, 13],
        [12, 13, 14, 15, 0, 1, 2, 3],
    ]


def test_the_last_window_is_moved_back():
    assert open_windows(18, 8, 2) == [list(range(0, 8)), list(range(6, 14)), list(range(10, 18))]
    assert open_windows(14, 8, 2) == [list(range(0, 8)), list(range(6, 14))]


@given(st.integers(1, 200), st.integers(1, 24), st.data())
def test_every_frame_is_covered(frames, length, data):
    overlap = data.draw(st.integers(0, length - 1))
    for lay in (open_windows, closed_windows):
        windows = lay(frames, length, overlap)
        assert {frame for window in windows for frame in window} == set(range(frames))
        assert all(len(window) == min(length, frames) == len(set(window)) for window in windows)
        assert len({tuple(window) for window in windows}) == len(windows)
    if frames > length:
        shared = [set(a) & set(b) for a, b in itertools.pairwise(windows)]
        assert all(len(both) >= overlap for both in shared)


def test_impossible_windows():
    check_windows(16, 15)
    with pytest.raises(ValueError, match="must be smaller"):
        check_windows(16, 16)
    for length, overlap in ((0, 0), (16, -3), (-4, -9)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            check_windows(length, overlap)
    check_windows(24, 4, max_frames=24)
    with pytest.raises(ValueError, match="at most 24 frames"):
        check_windows(25, 4, max_frames=24)


@pytest.mark.parametrize("frames, length, stride", [(40, 16, 12), (33, 16, 16), (16, 16, 4), (9, 4, 1)])
def test_shuffled_repeats(frames, length, stride):
    """FreeNoise: each window of the stride holds each noise of the first window once."""
    order = shuffled_repeats(frames, length, stride, torch.Generator().manual_seed(0))
    assert len(order) == frames
    assert order[:length] == list(range(length))
    for start in range(0, frames - length + 1, stride):
        assert sorted(order[start : start + length]) == list(range(length))
    again = shuffled_repeats(frames, length, stride, torch.Generator().manual_seed(0))
    assert order == again
