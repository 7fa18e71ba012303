"""Drawn characters: bodies of many proportions with hair, faces and patterned clothes."""

from dataclasses import dataclass

import numpy as np

from .motion import SIDE, Proportions, Skeleton
from .scene import Brush, hsv

Color = tuple[int, int, int]
HAIR_STYLES = ("short", "bob", "long", "bun", "spiky", "tails", "cap", "bald")
PATTERNS = ("plain", "stripes", "bars", "dots", "halves", "band", "heart")
BOTTOMS = ("trousers", "shorts", "skirt", "dress")
_SKIN = ((250, 220, 196), (240, 196, 160), (214, 160, 118), (168, 114, 78), (116, 76, 52), (150, 200, 150), (160, 180, 235))
_HAIR = (
    (40, 32, 30),
    (92, 56, 30),
    (160, 100, 44),
    (236, 196, 96),
    (196, 72, 36),
    (230, 90, 160),
    (70, 110, 220),
    (90, 190, 120),
    (240, 240, 240),
    (140, 80, 190),
)


def _shade(color: Color, factor: float) -> Color:
    return tuple(int(min(255, channel * factor)) for channel in color)


@dataclass(frozen=True)
class Character:
    """One identity: the proportions of its body, and how it is drawn."""

    body: Proportions
    limb: float  # half the width of an arm; legs are slightly thicker
    skin: Color
    hair: Color
    hair_style: str
    top: Color
    top_second: Color
    pattern: str
    sleeves: float  # share of the arm that they cover
    bottom: Color
    bottom_kind: str
    shoes: Color
    eyes: Color

    @classmethod
    def from_seed(cls, seed) -> "Character":
        """The character of a seed."""
        rng = np.random.default_rng([17, *np.atleast_1d(seed)])
        scale = rng.uniform(0.92, 1.06)
        body = Proportions(
            *(
                scale * rng.uniform(low, high)
                for low, high in (
                    (10, 13.5),
                    (2.5, 4.5),
                    (25, 32),
                    (9.5, 14),
                    (5, 8),
                    (13, 16),
                    (12.5, 15.5),
                    (15, 19),
                    (15, 18.5),
                )
            )
        )
        hue = rng.random()
        second = hue + rng.choice([0.33, 0.5, 0.67]) + rng.uniform(-0.06, 0.06)
        top = hsv(hue, rng.uniform(0.6, 0.95), rng.uniform(0.55, 1.0))
        top_second = rng.choice([0, 1, 2])
        return cls(
            body=body,
            limb=scale * rng.uniform(3.4, 4.8),
            skin=_SKIN[rng.choice(len(_SKIN), p=(0.21, 0.21, 0.18, 0.15, 0.13, 0.06, 0.06))],
            hair=_HAIR[rng.integers(len(_HAIR))],
            hair_style=str(rng.choice(HAIR_STYLES, p=(0.15, 0.15, 0.15, 0.12, 0.15, 0.12, 0.11, 0.05))),
            top=top,
            top_second=((250, 250, 245), (40, 40, 52), hsv(second, 0.8, 0.95))[top_second],
            pattern=str(rng.choice(PATTERNS)),
            sleeves=float(rng.choice([0.0, 0.45, 1.0], p=(0.2, 0.45, 0.35))),
            bottom=hsv(second + rng.uniform(-0.2, 0.2), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.85)),
            bottom_kind=str(rng.choice(BOTTOMS, p=(0.4, 0.25, 0.2, 0.15))),
            shoes=hsv(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.2, 0.95)),
            eyes=hsv(rng.random(), 0.6, 0.35),
        )

    def draw(self, brush: Brush, skeleton: Skeleton, frame: int) -> None:
        """Draw one frame of a skeleton: back hair, legs, torso, head, then the arms in front."""
        joints = skeleton.joints[frame]
        head = _Head(skeleton, frame, self.body.head)
        self._back_hair(brush, head)
        self._legs(brush, joints)
        self._torso(brush, joints)
        self._face(brush, head, joints[1])
        self._front_hair(brush, head)
        self._arms(brush, joints)

    def _legs(self, brush: Brush, joints: np.ndarray) -> None:
        width = self.limb * 1.15
        for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
            cloth = self.bottom_kind in ("trousers", "shorts")
            _limb(
                brush,
                joints[knee],
                joints[ankle],
                width,
                width * 0.8,
                self.bottom if self.bottom_kind == "trousers" else self.skin,
            )
            _limb(brush, joints[hip], joints[knee], width * 1.2, width, self.bottom if cloth else self.skin)
            brush.disc(
                joints[ankle] + (np.sign(joints[ankle][0] - joints[hip][0]) * 1.5, 2), (width * 1.25, width * 0.8), self.shoes
            )

    def _torso(self, brush: Brush, joints: np.ndarray) -> None:
        quad = joints[[2, 5, 11, 8]].copy()  # right and left shoulder, left and right hip
        across = (quad[1] - quad[0]) / np.linalg.norm(quad[1] - quad[0])
        quad[[0, 3]] -= across * self.limb * 0.7
        quad[[1, 2]] += across * self.limb * 0.7
        quad[2:] += (joints[8] + joints[11] - 2 * joints[1]) * 0.035
        if self.bottom_kind in ("skirt", "dress"):
            color = self.bottom if self.bottom_kind == "skirt" else self.top
            down = (joints[9] + joints[12] - joints[8] - joints[11]) / 2
            brush.polygon([quad[3], quad[2], quad[2] + across * 6 + down * 0.75, quad[3] - across * 6 + down * 0.75], color)
        for shoulder in joints[[2, 5]]:
            brush.disc(shoulder, self.limb * 1.05, self.top)
        self._cloth(brush, quad)
        if self.bottom_kind in ("trousers", "shorts"):
            waist = _cut(quad, 0, 1, 0.88, 1.05)
            brush.polygon(waist, self.bottom)
        brush.polygon(
            [joints[1] - across * 4, joints[1] + across * 4, joints[1] + (joints[[8, 11]].mean(0) - joints[1]) * 0.12], self.skin
        )

    def _cloth(self, brush: Brush, quad: np.ndarray) -> None:
        brush.polygon(quad, self.top)
        second = self.top_second
        if self.pattern == "stripes":
            for start in (0.12, 0.4, 0.68):
                brush.polygon(_cut(quad, 0, 1, start, start + 0.14), second)
        elif self.pattern == "bars":
            for start in (0.12, 0.42, 0.72):
                brush.polygon(_cut(quad, start, start + 0.16, 0, 1), second)
        elif self.pattern == "dots":
            for across, down in ((0.25, 0.22), (0.75, 0.22), (0.5, 0.48), (0.25, 0.75), (0.75, 0.75)):
                brush.disc(_inside(quad, across, down), 2.6, second)
        elif self.pattern == "halves":
            brush.polygon(_cut(quad, 0.5, 1, 0, 1), second)
        elif self.pattern == "band":
            brush.polygon(_cut(quad, 0, 1, 0.35, 0.68), second)
        elif self.pattern == "heart":
            for across in (0.39, 0.61):
                brush.disc(_inside(quad, across, 0.36), 3.2, second)
            brush.polygon([_inside(quad, 0.27, 0.41), _inside(quad, 0.73, 0.41), _inside(quad, 0.5, 0.68)], second)

    def _arms(self, brush: Brush, joints: np.ndarray) -> None:
        for shoulder, elbow, wrist in joints[[[2, 3, 4], [5, 6, 7]]]:
            width = self.limb
            _limb(brush, shoulder, elbow, width * 1.25, width * 1.15, _shade(self.top, 0.62))
            lower = self.top if self.sleeves == 1.0 else self.skin
            _limb(brush, elbow, wrist, width * 0.95, width * 0.8, lower)
            _limb(brush, shoulder, elbow, width, width * 0.95, self.skin if self.sleeves == 0.0 else self.top)
            if self.sleeves == 0.45:
                _limb(brush, shoulder + 0.75 * (elbow - shoulder), elbow, width * 0.95, width * 0.95, self.skin)
            brush.disc(wrist, width * 0.95, self.skin)

    def _face(self, brush: Brush, head: "_Head", neck: np.ndarray) -> None:
        _limb(brush, neck, head.at(0, -0.6), self.limb * 0.9, self.limb * 0.9, _shade(self.skin, 0.9))
        for side in SIDE:
            brush.disc(head.at(0.95 * side - 0.1 * head.turn, 0), head.radius * 0.2, _shade(self.skin, 0.9))
        brush.disc(head.centre, (head.radius * 0.93, head.radius), self.skin)
        for side in SIDE:
            eye = head.at(0.36 * side + 0.4 * head.turn, 0.12)
            brush.disc(eye, (head.radius * 0.2, head.radius * 0.25), (255, 255, 255))
            brush.disc(eye + (head.turn * 0.6, 0.3), head.radius * 0.15, self.eyes)
        brush.disc(head.at(0.45 * head.turn, -0.15), head.radius * 0.11, _shade(self.skin, 0.78))
        brush.disc(head.at(0.4 * head.turn, -0.48), (head.radius * 0.26, head.radius * 0.11), (186, 60, 66))

    def _back_hair(self, brush: Brush, head: "_Head") -> None:
        if self.hair_style == "long":
            brush.polygon(
                [head.at(-1.0, 0.3), head.at(1.0, 0.3), head.at(1.25, -1.9), head.at(-1.25, -1.9)], _shade(self.hair, 0.85)
            )
        elif self.hair_style == "bob":
            brush.polygon(
                [head.at(-1.0, 0.4), head.at(1.0, 0.4), head.at(1.2, -0.85), head.at(-1.2, -0.85)], _shade(self.hair, 0.85)
            )
        elif self.hair_style == "tails":
            for side in SIDE:
                brush.disc(head.at(1.4 * side, 0.1), head.radius * 0.42, self.hair)
                brush.disc(head.at(1.55 * side, -0.5), head.radius * 0.32, self.hair)
        elif self.hair_style == "bun":
            brush.disc(head.at(0, 1.25), head.radius * 0.5, self.hair)
        if self.hair_style not in ("bald", "cap"):
            brush.disc(head.at(0, 0.18), head.radius * 1.08, self.hair)

    def _front_hair(self, brush: Brush, head: "_Head") -> None:
        if self.hair_style == "bald":
            return
        angles = np.linspace(np.deg2rad(18), np.deg2rad(162), 15)
        rim = [head.at(1.06 * np.cos(angle), 0.12 + 0.98 * np.sin(angle)) for angle in angles]
        part = 0.35 * head.turn
        if self.hair_style == "spiky":
            spikes = [
                head.at(x, y)
                for x, y in (
                    (-1.05, 0.45),
                    (-1.2, 1.0),
                    (-0.6, 1.0),
                    (-0.45, 1.5),
                    (0, 1.1),
                    (0.45, 1.5),
                    (0.6, 1.0),
                    (1.2, 1.0),
                    (1.05, 0.45),
                    (0.5 + part, 0.55),
                    (0.2 + part, 0.4),
                    (-0.4 + part, 0.6),
                )
            ]
            brush.polygon(spikes, self.hair)
            return
        brush.polygon([*rim, head.at(-0.55 + part, 0.62), head.at(0.1 + part, 0.48), head.at(0.6 + part, 0.62)], self.hair)
        if self.hair_style == "cap":
            brush.polygon([*rim, head.at(-1.05, 0.4), head.at(1.05, 0.4)], self.top_second)
            brush.polygon(
                [head.at(-0.75 + part, 0.5), head.at(0.75 + part, 0.5), head.at(0.95 + part, 0.3), head.at(-0.95 + part, 0.3)],
                _shade(self.top, 0.8),
            )


class _Head:
    """Points on a tilted head, given in head radii to the right and up."""

    def __init__(self, skeleton: Skeleton, frame: int, radius: float):
        self.centre, self.radius, self.turn = skeleton.head[frame], radius, skeleton.turn[frame]
        sine, cosine = np.sin(skeleton.tilt[frame]), np.cos(skeleton.tilt[frame])
        self._axes = radius * np.array([[cosine, sine], [sine, -cosine]])

    def at(self, right: float, up: float) -> np.ndarray:
        return self.centre + np.array([right, up]) @ self._axes


def _limb(brush: Brush, start: np.ndarray, end: np.ndarray, half_start: float, half_end: float, color: Color) -> None:
    """A tapered capsule."""
    along = end - start
    normal = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-6)
    brush.polygon(
        [start + normal * half_start, end + normal * half_end, end - normal * half_end, start - normal * half_start], color
    )
    brush.disc(start, half_start, color)
    brush.disc(end, half_end, color)


def _inside(quad: np.ndarray, across: float, down: float) -> np.ndarray:
    """The point of a quad ``[4, 2]`` (clockwise from the top left) at shares of its width and height."""
    top = quad[0] + across * (quad[1] - quad[0])
    bottom = quad[3] + across * (quad[2] - quad[3])
    return top + down * (bottom - top)


def _cut(quad: np.ndarray, left: float, right: float, top: float, bottom: float) -> list[np.ndarray]:
    """The part of a quad ``[4, 2]`` between shares of its width and height."""
    return [_inside(quad, left, top), _inside(quad, right, top), _inside(quad, right, bottom), _inside(quad, left, bottom)]
