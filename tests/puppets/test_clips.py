"""The puppet world: its seeds, keypoints, outliers and samples."""

import numpy as np
import pytest

from puppets.character import Character
from puppets.clips import make_clip
from puppets.datasets import PuppetClips, PuppetPairs, PuppetPictures
from puppets.motion import SIZE, STYLES, Motion, pose
from puppets.outliers import add_outliers


def clip(number: int, frames: int = 6, **options):
    return make_clip((7, number, 0), (7, number, 1), (7, number, 2), frames, **options)


def test_same_seeds_same_clip():
    assert np.array_equal(clip(1).frames, clip(1).frames)
    assert not np.array_equal(clip(1).frames, clip(2).frames)


def test_parts_of_a_motion_fit_together():
    assert np.array_equal(clip(3, frames=8).frames[5:], clip(3, frames=3, start=5).frames)


def test_every_motion_keeps_the_lengths_of_the_limbs():
    body = Character.from_seed((7, 1)).body
    for number in range(10):
        joints = pose(Motion.from_seed((7, number), 12), body).joints
        for start, end, length in ((2, 3, body.upper_arm), (5, 6, body.upper_arm), (3, 4, body.forearm), (1, 2, body.shoulders)):
            assert np.linalg.norm(joints[:, start] - joints[:, end], axis=-1) == pytest.approx(length)


def test_every_style_stays_in_the_picture():
    seen, outside = set(), 0
    for number in range(80):
        motion = Motion.from_seed((7, number), 32)
        seen.add(motion.style)
        joints = pose(motion, Character.from_seed((7, number)).body).joints
        outside += ((joints < 0) | (joints >= SIZE)).any(-1).mean()
    assert seen == set(STYLES)
    assert outside / 80 < 0.02


def test_hands_are_at_their_keypoints():
    hits = []
    for number in range(20):
        character = Character.from_seed((7, number, 0))
        made = clip(number, frames=4)
        for frame, joints in zip(made.frames, np.rint(made.keypoints[..., :2]).astype(int), strict=True):
            # the left arm is drawn last, so nothing covers its hand
            x, y = joints[7]
            if 1 <= x < SIZE - 1 and 1 <= y < SIZE - 1:
                hits.append(np.abs(frame[y, x].astype(int) - character.skin).max() <= 3)
    assert len(hits) > 60
    assert np.mean(hits) == 1.0


def test_the_scene_is_still_behind_the_character():
    for number in range(5):
        made = clip(number, masks=True)
        changed = (made.frames != made.scene).any(-1)
        inside = made.foreground
        grown = inside.copy()
        for axis in (1, 2):
            for step in (-1, 1):
                grown |= np.roll(inside, step, axis)
        # a rest of the soft edge
        assert (changed & ~grown).mean() < 0.003
        assert 0.05 < inside.mean() < 0.5


def test_the_share_of_outliers():
    keypoints = clip(4, frames=40).keypoints
    spoiled, hit = add_outliers(keypoints, 0.2, np.random.default_rng(0))
    assert hit.sum() == 8
    assert np.array_equal(spoiled[~hit], keypoints[~hit])
    assert all(not np.array_equal(spoiled[frame], keypoints[frame]) for frame in np.flatnonzero(hit))
    assert np.array_equal(add_outliers(keypoints, 0.0, np.random.default_rng(0))[0], keypoints)


def test_a_sample_depends_only_on_its_number():
    for dataset in (PuppetPairs(0), PuppetClips(0, frames=4)):
        first, again, other = dataset[5], dataset[5], dataset[6]
        assert all((first[name] == again[name]).all() for name in first)
        assert (first["pixels"] != other["pixels"]).any()
        assert first["pixels"].shape[1:] == first["pose"].shape[1:] == (3, SIZE, SIZE)
        assert first["reference"].shape == (3, SIZE, SIZE)
        assert (first["reference"] != first["pixels"][0]).any()


def test_single_pictures_come_first_and_then_pairs():
    """A pair shows one character and scene in two poses, so most of the scene is the same."""

    def unchanged(one: dict, other: dict) -> float:
        difference = (one["pixels"].float() - other["pixels"].float()).abs().mean(1)
        return (difference < 2).float().mean().item()

    pictures = [PuppetPictures(3, alone=4)[number] for number in range(8)]
    assert [bool(picture["paired"]) for picture in pictures] == [False] * 4 + [True] * 4
    for number in range(0, 8, 2):
        share = unchanged(pictures[number], pictures[number + 1])
        assert (0.5 < share < 0.99) if number >= 4 else share < 0.2
