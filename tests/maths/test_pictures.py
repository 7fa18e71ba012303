"""Every form in which nodes pass on pictures and masks ends as one form."""

import pytest
import torch

from tcan_modules.maths.pictures import center_crop, describe_crop, masks_of, rgb, rgb_on_black

COLOURS = torch.rand(2, 4, 5, 3)


def test_colours_of_any_channels():
    opaque = torch.cat([COLOURS, torch.ones(2, 4, 5, 1)], -1)
    assert torch.equal(rgb(COLOURS), COLOURS)
    assert torch.equal(rgb(opaque), COLOURS)
    assert torch.equal(rgb(COLOURS[..., :1]), COLOURS[..., :1].repeat(1, 1, 1, 3))
    assert torch.equal(rgb(COLOURS[..., :2]), COLOURS[..., :1].repeat(1, 1, 1, 3))  # grey and alpha


@pytest.mark.parametrize("image", [(COLOURS * 255).to(torch.uint8), COLOURS * float("nan"), COLOURS.log() * float("inf")])
def test_pictures_of_other_numbers(image):
    with pytest.raises(ValueError, match=r"must hold finite numbers in 0\.\.1"):
        rgb(image)


def test_alpha_over_black():
    half = torch.cat([COLOURS, torch.full((2, 4, 5, 1), 0.5)], -1)
    assert torch.equal(rgb_on_black(half), COLOURS * 0.5)
    assert torch.equal(rgb(half), COLOURS)
    assert torch.equal(rgb_on_black(COLOURS), COLOURS)
    assert not rgb_on_black(torch.cat([COLOURS, torch.zeros(2, 4, 5, 1)], -1)).any()


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (0, 4, 5, 3), (4, 5, 3), (1, 2, 4, 5, 3), (2, 0, 5, 3)])
def test_no_picture(shape):
    with pytest.raises(ValueError, match="cannot be used: connect at least one picture"):
        rgb(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (1, 1, 4, 5), (1, 4, 5, 1)])
def test_masks_of_any_form(shape):
    mask = torch.rand(4, 5)
    assert torch.equal(masks_of(mask.reshape(shape)), mask[None])


@pytest.mark.parametrize("shape", [(4,), (1, 3, 4, 5), (1, 4, 5, 3), (0, 4, 5), (1, 1, 1, 4, 5)])
def test_no_mask(shape):
    with pytest.raises(ValueError, match="cannot be used: connect at least one mask"):
        masks_of(torch.zeros(shape))


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64), (60, 96), (65, 63), (8, 400)])
@pytest.mark.parametrize("new", [(64, 64), (32, 48), (48, 32), (40, 40), (24, 72)])
def test_the_hosts_crop(host, size, new):
    """Pixels that hold their own numbers show which of them `common_upscale` uses."""
    import comfy.utils

    numbers = torch.arange(size[0] * size[1]).reshape(1, 1, *size).float()
    top, left = center_crop(*size, *new)
    cropped = numbers[..., top : size[0] - top, left : size[1] - left]
    theirs = comfy.utils.common_upscale(numbers, new[1], new[0], "nearest-exact", "center")
    ours = comfy.utils.common_upscale(cropped, new[1], new[0], "nearest-exact", "disabled")
    assert torch.equal(theirs, ours)


def test_what_is_said_of_a_crop():
    assert describe_crop(512, 512, 512, 512) is None
    assert describe_crop(512, 768, 64, 96) is None
    assert describe_crop(500, 500, 504, 496) is None  # rounded to whole latents
    assert "64 pixels on the left and on the right" in describe_crop(512, 640, 512, 512)
    assert "64 pixels at the top and at the bottom" in describe_crop(640, 512, 512, 512)
