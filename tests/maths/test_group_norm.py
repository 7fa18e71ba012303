"""GroupNorm over all frames of a video against torch's GroupNorm of the 5-D volume."""

import pytest
import torch

from tcan_modules.maths.group_norm import group_norm_over_frames
from tests.helpers.reference_set import error


def volume_norm(x: torch.Tensor, frames: int, norm: torch.nn.GroupNorm) -> torch.Tensor:
    volume = x.unflatten(0, (-1, frames)).transpose(1, 2)
    return norm(volume).transpose(1, 2).flatten(0, 1)


def norm_of(channels: int) -> torch.nn.GroupNorm:
    norm = torch.nn.GroupNorm(32, channels, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


@pytest.mark.parametrize("frames", [1, 3, 6])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_equal_to_the_norm_of_the_volume(frames, size):
    norm = norm_of(64)
    x = 3 * torch.randn(6, 64, *size) + torch.randn(6, 64, 1, 1)
    ours = group_norm_over_frames(x, frames, 32, norm.weight, norm.bias, norm.eps)
    assert error(ours, volume_norm(x, frames, norm)) <= 2e-6
    assert ours.shape == x.shape


def test_channels_last_stays_so():
    norm = norm_of(64)
    x = torch.randn(6, 64, 5, 7).contiguous(memory_format=torch.channels_last)
    ours = group_norm_over_frames(x, 3, 32, norm.weight, norm.bias, norm.eps)
    assert error(ours, volume_norm(x, 3, norm)) <= 2e-6
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_frames_without_contrast():
    """A constant frame has variance 0: its eps must not count twice."""
    norm = norm_of(32)
    x = torch.randn(4, 32, 8, 8)
    x[1] = 2.0
    x[2] = 0.0
    ours = group_norm_over_frames(x, 4, 32, norm.weight, norm.bias, norm.eps)
    assert error(ours, volume_norm(x, 4, norm)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """No less exact than torch's in the same precision, also for activations as large as SD's."""
    norm = norm_of(64)
    x = (200 * torch.randn(8, 64, 16, 16) + 50).to(dtype)
    exact = volume_norm(x.float(), 4, norm)
    theirs = error(volume_norm(x, 4, norm.to(dtype)), exact)
    ours = error(group_norm_over_frames(x, 4, 32, norm.weight, norm.bias, norm.eps), exact)
    assert ours <= 2 * theirs
