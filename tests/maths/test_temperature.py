"""The temperature map by hand, at any size, and its preview."""

import numpy as np
import pytest
import torch

from tcan_modules.maths.temperature import TemperatureMaps, build_maps, resize_to_grid, temperature_map
from tcan_modules.maths.temperature_preview import preview


def test_distances_by_hand():
    """One skeleton pixel in the corner of a 3 x 4 picture, whose half diagonal is 2.5."""
    skeleton = np.zeros((3, 4), dtype=bool)
    skeleton[0, 0] = True
    rows, columns = np.mgrid[:3, :4]
    expected = 2 * np.hypot(rows, columns) / 2.5 + 1
    assert np.allclose(temperature_map(skeleton, 2.0), expected, rtol=1e-6)


def test_a_window_without_skeleton_has_temperature_1():
    assert (temperature_map(np.zeros((4, 5), dtype=bool), 3.0) == 1).all()


def test_resize_takes_the_floor():
    """`nearest`, not `nearest-exact`: pixel 0 of a grid of 4 is pixel 0 of 9."""
    image = torch.arange(81.0).reshape(9, 9)
    assert resize_to_grid(image, 4, 3).tolist() == image[[0, 2, 4, 6]][:, [0, 3, 6]].tolist()


def dots(frames: int, size: int = 32) -> torch.Tensor:
    """A dot that moves from left to right."""
    images = torch.zeros(frames, size, size, 3)
    for frame in range(frames):
        images[frame, size // 2, frame * size // frames, frame % 3] = 1
    return images


def test_maps_follow_the_window():
    maps = build_maps(dots(8), tau=3.0)
    first, last = maps.image([0, 1]), maps.image([6, 7])
    assert first[:, :8].mean() < first[:, 24:].mean()
    assert last[:, :8].mean() > last[:, 24:].mean()
    union = dots(8)[[0, 1]].amax(0)[None]
    assert np.array_equal(first, build_maps(union, 3.0).image([0]))
    assert torch.equal(maps.grid([0, 1], 8, 8), resize_to_grid(torch.from_numpy(first), 8, 8))
    assert torch.equal(maps.grid([6, 7], 4, 4), resize_to_grid(torch.from_numpy(last), 4, 4))


def test_one_pose_serves_every_frame():
    maps = build_maps(dots(1), tau=3.0)
    maps.check_frames(12)
    assert np.array_equal(maps.image(range(4, 12)), maps.image([0]))


def test_min_resolution():
    maps = build_maps(dots(2), tau=3.0, min_resolution=8)
    assert maps.grid([0], 8, 8) is not None
    assert maps.grid([0], 16, 7) is None


def test_mask_is_more_foreground():
    mask = torch.zeros(1, 16, 16)
    mask[:, :, 12:] = 1
    plain, masked = build_maps(dots(2), 3.0), build_maps(dots(2), 3.0, mask)
    assert (masked.image([0]) <= plain.image([0])).all()
    assert (masked.image([0])[:, 24:] == 1).all()


def test_memory_of_a_long_video():
    """Skeletons are stored as bits, so 1,024 frames of 512 x 512 take 32 MiB."""
    maps = TemperatureMaps(np.zeros((1024, 64, 64), dtype=bool), 3.0)
    assert maps._bits.nbytes == 1024 * 64 * 64 // 8


def test_preview_shows_poses_on_a_heat_map():
    poses = dots(20)
    shown = preview(build_maps(poses, 3.0), poses)
    assert shown.shape == poses.shape
    assert shown.min() >= 0 and shown.max() <= 1
    assert torch.equal(shown[poses.any(-1)], poses[poses.any(-1)])
    assert torch.equal(shown[0][~poses[0].any(-1) & ~poses[1].any(-1)], shown[1][~poses[0].any(-1) & ~poses[1].any(-1)])
    assert shown[0].mean() != shown[19].mean()  # another window


@pytest.mark.parametrize("tau", [0.0, 1.0, 10.0])
def test_tau_scales_the_rise(tau):
    skeleton = np.zeros((16, 16), dtype=bool)
    skeleton[3, 4] = True
    assert np.allclose(temperature_map(skeleton, tau) - 1, tau * (temperature_map(skeleton, 1.0) - 1), atol=1e-6)
