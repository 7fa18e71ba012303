"""Still backgrounds of the puppet world: hills, streets, rooms and seasides."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

from .motion import GROUND, SIZE

SMOOTH = 2  # everything is drawn larger by this factor and averaged down
# Light comes from the left. So, as in most pictures, the look of a place depends on where it is; a denoiser learns that and can find the
# same place in a reference.
_LIGHT = np.linspace(1.12, 0.84, SIZE * SMOOTH, dtype=np.float32)[None, :, None]


def hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """An 8-bit colour; the hue may lie outside 0..1."""
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))


class Brush:
    """Draws shapes, given in pixels of the picture, on a canvas that is `SMOOTH` times larger."""

    def __init__(self, image: Image.Image):
        self.image, self.draw = image, ImageDraw.Draw(image)

    def polygon(self, points, color) -> None:
        """Fill a polygon with corners ``points [n, 2]``."""
        self.draw.polygon((np.asarray(points, dtype=float) * SMOOTH).ravel().tolist(), fill=color)

    def disc(self, centre, radius, color) -> None:
        """Fill a disc, or an ellipse if ``radius`` is a pair (x, y)."""
        (x, y), (across, down) = np.asarray(centre) * SMOOTH, np.broadcast_to(radius, 2) * SMOOTH
        self.draw.ellipse([x - across, y - down, x + across, y + down], fill=color)

    def box(self, left, top, right, bottom, color) -> None:
        """Fill a rectangle."""
        self.draw.rectangle([left * SMOOTH, top * SMOOTH, right * SMOOTH, bottom * SMOOTH], fill=color)


def _gradient(top, bottom, height: int) -> Image.Image:
    share = np.linspace(0, 1, height * SMOOTH)[:, None, None]
    colors = np.array(top) * (1 - share) + np.array(bottom) * share
    return Image.fromarray(np.broadcast_to(colors, (height * SMOOTH, SIZE * SMOOTH, 3)).astype(np.uint8))


def _tree(brush: Brush, rng, x: float, foot: float, size: float, hue: float) -> None:
    brush.box(x - size * 0.09, foot - size * 0.6, x + size * 0.09, foot, hsv(0.07, 0.45, 0.42))
    if rng.random() < 0.5:
        for step in range(3):
            top, half = foot - size * (1.1 - 0.27 * step), size * (0.2 + 0.09 * step)
            brush.polygon(
                [(x, top), (x - half, top + size * 0.42), (x + half, top + size * 0.42)], hsv(hue, 0.45, 0.5 + 0.06 * step)
            )
    else:
        for dx, dy, radius in ((-0.2, 0.72, 0.24), (0.2, 0.7, 0.24), (0, 0.92, 0.28)):
            brush.disc((x + dx * size, foot - dy * size), radius * size, hsv(hue, 0.42, 0.55 + 0.1 * dy))


def _hills(brush: Brush, rng) -> None:
    hue = rng.uniform(0.22, 0.42)
    if rng.random() < 0.7:
        brush.disc((rng.uniform(12, 116), rng.uniform(10, 34)), rng.uniform(6, 11), hsv(rng.uniform(0.08, 0.15), 0.35, 1.0))
    for _ in range(rng.integers(1, 4)):
        x, y, size = rng.uniform(5, 120), rng.uniform(8, 40), rng.uniform(5, 9)
        for dx, radius in ((-1.1, 0.7), (0, 1.0), (1.1, 0.75)):
            brush.disc((x + dx * size, y), (radius * size, radius * size * 0.6), (250, 250, 250))
    across = np.linspace(0, SIZE, 33)
    for depth in range(3):
        level = 60 + 16 * depth
        ridge = level - rng.uniform(5, 13) * np.sin(across / rng.uniform(14, 26) + rng.uniform(0, 6))
        brush.polygon(
            [*zip(across, ridge), (SIZE, SIZE), (0, SIZE)], hsv(hue + 0.03 * depth, 0.28 + 0.08 * depth, 0.78 - 0.07 * depth)
        )
    for _ in range(rng.integers(2, 5)):
        _tree(brush, rng, rng.uniform(4, 124), rng.uniform(88, 104), rng.uniform(20, 34), hue)


def _street(brush: Brush, rng) -> None:
    x = -rng.uniform(0, 12)
    while x < SIZE:
        width, top = rng.uniform(24, 38), rng.uniform(22, 58)
        hue, light = rng.random(), rng.uniform(0.6, 0.88)
        brush.box(x, top, x + width, 100, hsv(hue, 0.28, light))
        brush.box(x, top, x + width, top + 3, hsv(hue, 0.35, light * 0.7))
        columns, glass = rng.integers(2, 4), hsv(rng.uniform(0.1, 0.6), 0.25, rng.choice([0.35, 0.97]))
        for row in np.arange(top + 8, 84, 15):
            for column in range(columns):
                left = x + width * (column + 0.5) / columns
                brush.box(left - 3.2, row, left + 3.2, row + 8, glass)
        x += width + rng.choice([0, 0, 5])
    brush.box(0, 99, SIZE, SIZE, hsv(rng.random(), 0.06, 0.58))
    brush.box(0, 99, SIZE, 103, hsv(0, 0, 0.76))
    for left in range(int(rng.integers(-16, 0)), SIZE, 28):
        brush.box(left, 113, left + 14, 115, hsv(0.14, 0.2, 0.92))


def _room(brush: Brush, rng) -> None:
    wall, floor = rng.random(), rng.uniform(0.02, 0.12)
    light = rng.uniform(0.72, 0.9)
    brush.box(0, 0, SIZE, 100, hsv(wall, 0.22, light))
    kind = rng.integers(3)
    if kind == 0:
        for left in range(int(rng.integers(0, 12)), SIZE, 18):
            brush.box(left, 0, left + 8, 96, hsv(wall, 0.3, light * 0.9))
    elif kind == 1:
        for row in range(7):
            for column in range(-1, 6):
                left = column * 24 + 12 * (row % 2)
                brush.box(
                    left, row * 14, left + 22, row * 14 + 12, hsv(wall, 0.32, light * (0.86 + 0.05 * ((row * 5 + column) % 3)))
                )
    else:
        brush.box(0, 66, SIZE, 96, hsv(wall + 0.5, 0.18, light * 0.85))
    brush.box(0, 96, SIZE, 100, hsv(wall, 0.12, 0.96))
    for plank in range(4):
        brush.box(0, 100 + 7 * plank, SIZE, 107 + 7 * plank, hsv(floor, 0.42, 0.5 + 0.07 * (plank % 2)))
    for x in (rng.uniform(4, 24), rng.uniform(86, 102)):
        top, width, height, hue = rng.uniform(12, 34), rng.uniform(18, 26), rng.uniform(20, 32), rng.random()
        brush.box(x - 2, top - 2, x + width + 2, top + height + 2, hsv(0.09, 0.5, 0.4))
        brush.box(x, top, x + width, top + height, hsv(hue, 0.35, 0.92))
        brush.polygon(
            [(x, top + height), (x + width * 0.45, top + height * 0.4), (x + width, top + height)], hsv(hue + 0.3, 0.45, 0.62)
        )
    if rng.random() < 0.7:
        x = rng.choice([rng.uniform(6, 22), rng.uniform(106, 122)])
        brush.polygon([(x - 7, 92), (x + 7, 92), (x + 5, 108), (x - 5, 108)], hsv(rng.random(), 0.5, 0.62))
        for bend in (-11, -4, 4, 11):
            brush.polygon([(x - 2, 93), (x + 2, 93), (x + bend, rng.uniform(62, 74))], hsv(0.33, 0.5, 0.52))


def _seaside(brush: Brush, rng) -> None:
    hue = rng.uniform(0.5, 0.6)
    for band in range(4):
        brush.box(0, 62 + 9 * band, SIZE, 72 + 9 * band, hsv(hue, 0.6 - 0.1 * band, 0.66 + 0.07 * band))
    across = np.linspace(0, SIZE, 33)
    shore = 94 + rng.uniform(2, 4) * np.sin(across / rng.uniform(10, 18) + rng.uniform(0, 6))
    brush.polygon([*zip(across, shore - 2), (SIZE, SIZE), (0, SIZE)], (245, 245, 245))
    brush.polygon([*zip(across, shore), (SIZE, SIZE), (0, SIZE)], hsv(0.11, 0.32, 0.9))
    for x in (rng.uniform(10, 40), rng.uniform(90, 118)):
        size, sail = rng.uniform(9, 16), rng.random()
        brush.polygon(
            [(x - size * 0.7, 64), (x + size * 0.7, 64), (x + size * 0.4, 69), (x - size * 0.4, 69)], hsv(sail + 0.5, 0.5, 0.5)
        )
        brush.polygon([(x, 62), (x, 62 - size * 1.6), (x + size * 0.7, 62)], hsv(sail, 0.3, 0.97))
    for _ in range(rng.integers(1, 3)):
        x, hue = rng.choice([rng.uniform(2, 22), rng.uniform(106, 126)]), rng.random()
        brush.box(x - 1, 74, x + 1, 110, (120, 90, 60))
        for wedge in range(4):
            left = x - 20 + 10 * wedge
            brush.polygon([(left, 82), (left + 10, 82), (x, 68)], hsv(hue, 0.6 if wedge % 2 else 0.05, 0.94))


_SCENES = (_hills, _street, _room, _seaside)


def draw_scene(seed) -> Image.Image:
    """The background of a seed, RGB, `SMOOTH` times the size of the picture."""
    rng = np.random.default_rng([13, *np.atleast_1d(seed)])
    hue = rng.choice([rng.uniform(0.5, 0.62), rng.uniform(0.92, 1.1)])
    image = _gradient(hsv(hue, rng.uniform(0.25, 0.5), 0.92), hsv(hue + 0.06, 0.12, 0.98), SIZE)
    brush = Brush(image)
    _SCENES[rng.integers(len(_SCENES))](brush, rng)
    # a darker floor at the character's feet
    brush.box(0, GROUND + 8, SIZE, SIZE, tuple(int(channel * 0.92) for channel in image.getpixel((5, SIZE * SMOOTH - 1))))
    return Image.fromarray((np.asarray(image) * _LIGHT).clip(0, 255).astype(np.uint8))
