"""A picture file or a decoded frame as an upright picture, RGB with eight bits."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .faults import DataError, named

_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values for pictures that lie


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an upright picture, by its header.

    Raises:
        DataError: it is no picture.
    """
    if not path.is_file():  # a link to nowhere, a folder with a picture's name, or a pipe, which would wait for a writer
        raise DataError(f"'{path}' is not a picture file: remove it, or replace it by the frame that belongs there.")
    with named(path), Image.open(path) as picture:
        return picture.size[::-1] if _orientation(picture) in _ON_ITS_SIDE else picture.size


def open_picture(path: Path, on_black: bool = False) -> Image.Image:
    """A picture, RGB.

    Args:
        path: the file.
        on_black: whether transparent pixels become black, as pose images need; otherwise alpha is dropped.

    Raises:
        DataError: it cannot be decoded.
    """
    with named(path), Image.open(path) as picture:
        turned = ImageOps.exif_transpose(picture) if _orientation(picture) != 1 else picture
        if turned.mode.startswith("I"):  # PIL cuts 16 bits off at 255
            turned = Image.fromarray((np.asarray(turned).astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8))
        if on_black and turned.has_transparency_data:
            turned = turned.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", turned.size, "black"), turned).convert("RGB")
        return turned.convert("RGB")


def _orientation(picture: Image.Image) -> int:
    # getexif() would decode a whole PNG to look for the tag behind the pixels
    if "exif" not in picture.info:
        return 1
    exif = Image.Exif()
    exif.load(picture.info["exif"])
    return exif.get(_ORIENTATION, 1)


def frame_size(frame) -> tuple[int, int]:
    """Width and height of a decoded ``av.VideoFrame`` that is turned upright."""
    return (frame.height, frame.width) if _lies(_display_matrix(frame)) else (frame.width, frame.height)


def upright(frame) -> Image.Image:
    """A decoded ``av.VideoFrame`` as its display matrix shows it, RGB.

    Phones record lying, and write how the picture is to be turned.
    """
    picture, matrix = frame.to_image(), _display_matrix(frame)
    if _lies(matrix):
        picture = picture.transpose(Image.Transpose.TRANSPOSE)
        across, down = matrix[1, 0], matrix[0, 1]
    else:
        across, down = matrix[0, 0], matrix[1, 1]
    if across < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if down < 0 else picture


def _display_matrix(frame) -> np.ndarray:
    """The part ``[2, 2]`` that turns and mirrors: a pixel (x, y) is shown at (x, y) @ matrix (libavutil's ``display.h``)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return np.eye(2) if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]


def _lies(matrix: np.ndarray) -> bool:
    return abs(matrix[0, 1]) > abs(matrix[0, 0])


def same_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes may be those of one picture.

    Detectors round sides to multiples of 64, which changes proportions by up to a tenth.
    """
    low, high = sorted((size[0] * other[1], size[1] * other[0]))
    return low > 0.88 * high
