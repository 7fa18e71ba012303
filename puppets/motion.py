"""How a puppet moves: curves of joint angles, and the skeletons they give to a body.

A motion consists of angles only, so every motion can pose every character, and the right answer of each animation is known. The puppet
faces the viewer: its right side is on the picture's left, as in OpenPose's keypoints of a person seen from the front.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 128  # side of a picture in pixels
GROUND = 118.0  # where the feet stand
SIDE = np.array([-1.0, 1.0])  # direction of the right and the left side in the picture

# Range of the mean, range of the amplitude, and cycles per period of each curve. Angles are degrees from hanging straight down, outwards
# positive; an elbow's is added to its upper arm's. `lift` raises a knee (0..1), `lean` turns the torso, `sway` and `hop` move the hips
# (pixels), `turn` and `tilt` move the head. A style also says how right and left go together.
_STILL = {
    "arm": ((8, 25), (0, 4), 1),
    "elbow": ((5, 30), (0, 5), 1),
    "leg": ((4, 10), (0, 0), 1),
    "lift": ((0, 0), (0, 0), 1),
    "lean": ((-3, 3), (0, 3), 1),
    "sway": ((0, 0), (0, 2), 1),
    "hop": ((0, 0), (0, 0), 1),
    "turn": ((-0.3, 0.3), (0.1, 0.5), 1),
    "tilt": ((-5, 5), (0, 8), 1),
}
_ALTERNATE, _TOGETHER, _ONE_SIDE = "alternate", "together", "one side"
STYLES = {
    "walk": (
        _ALTERNATE,
        {
            "arm": ((8, 18), (6, 14), 1),
            "elbow": ((15, 35), (10, 25), 1),
            "lift": ((0.35, 0.45), (0.35, 0.45), 1),
            "sway": ((0, 0), (2, 4), 1),
            "hop": ((1, 2), (1, 2), 2),
            "lean": ((-2, 2), (2, 4), 1),
        },
    ),
    "wave": (_ONE_SIDE, {"arm": ((95, 135), (5, 15), 1), "elbow": ((20, 50), (25, 40), 2), "lean": ((-4, 4), (1, 4), 1)}),
    "jack": (
        _TOGETHER,
        {
            "arm": ((80, 95), (55, 75), 1),
            "elbow": ((5, 15), (0, 10), 1),
            "leg": ((14, 18), (9, 13), 1),
            "hop": ((3, 5), (3, 5), 2),
        },
    ),
    "dance": (
        _ALTERNATE,
        {
            "arm": ((60, 90), (30, 60), 1),
            "elbow": ((20, 50), (20, 50), 1),
            "leg": ((8, 16), (3, 8), 1),
            "lift": ((0.15, 0.3), (0.15, 0.3), 1),
            "sway": ((0, 0), (5, 9), 1),
            "lean": ((0, 0), (6, 12), 1),
        },
    ),
    "disco": (
        _ALTERNATE,
        {
            "arm": ((75, 95), (50, 65), 1),
            "elbow": ((0, 20), (0, 15), 2),
            "leg": ((12, 20), (2, 5), 1),
            "sway": ((0, 0), (4, 7), 1),
            "lean": ((0, 0), (4, 9), 1),
        },
    ),
    "stretch": (_TOGETHER, {"arm": ((140, 155), (8, 18), 1), "elbow": ((5, 25), (5, 15), 1), "lean": ((0, 0), (10, 18), 1)}),
    "march": (
        _ALTERNATE,
        {
            "arm": ((25, 45), (15, 25), 1),
            "elbow": ((50, 80), (20, 35), 1),
            "lift": ((0.45, 0.5), (0.45, 0.5), 1),
            "hop": ((0, 1), (0, 1), 2),
        },
    ),
    "flap": (
        _TOGETHER,
        {
            "arm": ((70, 90), (30, 45), 2),
            "elbow": ((-20, 20), (10, 30), 2),
            "hop": ((1, 2), (1, 2), 2),
            "leg": ((6, 14), (0, 3), 1),
        },
    ),
}
_PAIRED = ("arm", "elbow", "leg", "lift")


@dataclass(frozen=True)
class Proportions:
    """Lengths of a body in pixels of a 128 x 128 picture."""

    head: float
    neck: float
    torso: float
    shoulders: float  # half the distance of the shoulder joints
    hips: float  # half the distance of the hip joints
    upper_arm: float
    forearm: float
    thigh: float
    shin: float


@dataclass(frozen=True)
class Motion:
    """Named curves over time: ``[frames]``, or ``[frames, 2]`` (right, left) for arms and legs."""

    style: str
    curves: dict[str, np.ndarray]
    centre: float  # of the hips without sway, in pixels from the left

    @classmethod
    def from_seed(cls, seed, frames: int, start: float = 0.0) -> "Motion":
        """The motion of a seed.

        Args:
            frames: how many frames of it; the motion does not depend on their number.
            start: its first frame.
        """
        rng = np.random.default_rng([11, *np.atleast_1d(seed)])
        style = str(rng.choice(list(STYLES)))
        order, ranges = STYLES[style]
        period = rng.uniform(20, 36)
        phase, side = rng.uniform(0, 1), rng.integers(2)
        time = (np.arange(frames) + start) / period
        curves = {}
        for name, still in _STILL.items():
            (low, high), (least, most), cycles = ranges.get(name, still)
            middle, swing = rng.uniform(low, high), rng.uniform(least, most)
            own, overtone = rng.uniform(-0.08, 0.08), rng.uniform(0, 0.25)
            own_phase = (
                np.array([0.0, 0.5 if order == _ALTERNATE else own])
                if name in _PAIRED
                else np.array([0.25 if cycles == 1 else 0])
            )
            turns = 2 * np.pi * cycles * (time[:, None] + phase + own_phase)
            curve = middle + swing * (np.sin(turns) + overtone * np.sin(2 * turns + 1)) / (1 + overtone / 2)
            if order == _ONE_SIDE and name in ("arm", "elbow"):
                (low, high), (least, most), _ = still
                curve[:, 1 - side] = rng.uniform(low, high) + rng.uniform(least, most) * np.sin(turns[:, 0] / cycles)
            curves[name] = curve if name in _PAIRED else curve[:, 0]
        return cls(style, curves, centre=SIZE / 2 + rng.uniform(-9, 9))


@dataclass(frozen=True)
class Skeleton:
    """A posed body in each frame: its joints, and what drawing its head needs."""

    joints: np.ndarray  # OpenPose's, in pixels [frames, 18, 2]
    head: np.ndarray  # centre of the head [frames, 2]
    tilt: np.ndarray  # of the head, radians [frames]
    turn: np.ndarray  # of the face, -1..1 [frames]


def _direction(degrees: np.ndarray) -> np.ndarray:
    """Unit vectors ``[..., 2]`` of angles from straight down, towards the picture's right."""
    radians = np.deg2rad(degrees)
    return np.stack([np.sin(radians), np.cos(radians)], axis=-1)


def pose(motion: Motion, body: Proportions) -> Skeleton:
    """Forward kinematics: a body in all frames of a motion, its lower foot on the ground."""
    curves = motion.curves
    frames = len(curves["lean"])
    lift = np.clip(curves["lift"], 0, 1)
    leg = curves["leg"] * SIDE
    # a knee that comes towards the viewer shortens thigh and shin in the picture
    thigh = _direction(leg) * (body.thigh * (1 - 0.55 * lift))[..., None]
    shin = _direction(leg - 0.7 * leg) * (body.shin * (1 - 0.2 * lift))[..., None]
    hip_joint = np.stack([body.hips * SIDE, np.zeros(2)], axis=-1)
    foot = hip_joint + thigh + shin
    hip = np.stack([motion.centre + curves["sway"], GROUND - foot[..., 1].max(1) - np.clip(curves["hop"], 0, None)], axis=-1)
    joints = np.zeros((frames, 18, 2))
    for side, (hip_at, knee_at, ankle_at) in enumerate(((8, 9, 10), (11, 12, 13))):
        joints[:, hip_at] = hip + hip_joint[side]
        joints[:, knee_at] = joints[:, hip_at] + thigh[:, side]
        joints[:, ankle_at] = joints[:, knee_at] + shin[:, side]
    lean = curves["lean"]
    up = -_direction(-lean)
    across = np.stack([-up[:, 1], up[:, 0]], axis=-1)
    neck = hip + body.torso * up
    joints[:, 1] = neck
    for side, (shoulder, elbow, wrist) in enumerate(((2, 3, 4), (5, 6, 7))):
        arm = curves["arm"][:, side] * SIDE[side] - lean
        forearm = arm + curves["elbow"][:, side] * SIDE[side]
        joints[:, shoulder] = neck + SIDE[side] * body.shoulders * across
        joints[:, elbow] = joints[:, shoulder] + body.upper_arm * _direction(arm)
        joints[:, wrist] = joints[:, elbow] + body.forearm * _direction(forearm)
    tilt = np.deg2rad(curves["tilt"] + 0.6 * lean)
    turn = np.clip(curves["turn"], -1, 1)
    head_up = np.stack([np.sin(tilt), -np.cos(tilt)], axis=-1)
    head_across = np.stack([np.cos(tilt), np.sin(tilt)], axis=-1)
    head = neck + (body.neck + body.head) * head_up

    def on_head(right: np.ndarray, above: float) -> np.ndarray:
        return head + body.head * (right[:, None] * head_across + above * head_up)

    joints[:, 0] = on_head(0.45 * turn, -0.15)
    for side, (eye, ear) in enumerate(((14, 16), (15, 17))):
        joints[:, eye] = on_head(0.36 * SIDE[side] + 0.4 * turn, 0.12)
        joints[:, ear] = on_head(0.95 * SIDE[side] - 0.1 * turn, 0.0)
    return Skeleton(joints, head, tilt, turn)
