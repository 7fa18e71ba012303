"""Metrics on clips whose result is known."""

import numpy as np
import pytest

from tcan_modules.training import metrics
from tcan_modules.training.learned_metrics import frechet_distance
from tcan_modules.training.report import contact_sheet, table


@pytest.fixture(scope="module")
def picture():
    coarse = np.random.default_rng(0).random((5, 16, 16, 3)).astype(np.float32)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def test_errors_of_a_constant_shift(picture):
    dark = picture * 0.5
    assert metrics.l1(dark + 0.1, dark) == pytest.approx(0.1, rel=1e-4)
    assert metrics.psnr(dark + 0.1, dark) == pytest.approx(20, rel=1e-3)
    assert metrics.ssim(dark, dark) == pytest.approx(1)


def test_l1_under_a_mask(picture):
    wrong = picture.copy()
    wrong[:, :10] += 0.5
    mask = np.zeros(picture.shape[:3], dtype=bool)
    mask[:, :10] = True
    assert metrics.l1(wrong, picture, mask) == pytest.approx(0.5, rel=1e-4)
    assert metrics.l1(wrong, picture, ~mask) == 0


def test_flicker_counts_only_the_background(picture):
    clip = picture[:1].repeat(3, axis=0)
    foreground = np.zeros(clip.shape[:3], dtype=bool)
    foreground[:, :64] = True
    clip[1, :64] = 0
    assert metrics.flicker(clip, foreground) == 0
    clip[1, 64:] += 0.25
    assert metrics.flicker(clip, foreground) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("shift", [(0, 0), (3, 4), (-5, 2)])
def test_pose_distance_finds_a_shift(shift):
    truth = np.random.default_rng(1).random((2, 128, 128, 3)).astype(np.float32)
    moved = np.roll(truth, shift, axis=(1, 2))
    keypoints = np.random.default_rng(2).uniform(30, 98, (2, 18, 3))
    assert metrics.pose_distance(moved, truth, keypoints) == pytest.approx(np.hypot(*shift))


def test_nearest_character(picture):
    candidates = np.stack([picture, 1 - picture, picture * 0])
    foreground = np.ones(picture.shape[:3], dtype=bool)
    assert metrics.nearest_character(1 - picture + 0.05, candidates, foreground) == 1


def test_interval_contains_the_mean():
    values = np.random.default_rng(0).normal(3, 1, 200)
    low, high = metrics.interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(4 * 1 / np.sqrt(200), rel=0.15)


def test_frechet_distance_of_shifted_features():
    features = np.random.default_rng(0).normal(size=(500, 3))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features + 2, features) == pytest.approx(12, rel=1e-6)


def test_report():
    text = table({"full": {"l1": 0.1, "l1_ci": [0.05, 0.15]}})
    assert "| full | 0.1 (0.05 to 0.15) |" in text
    sheet = contact_sheet(["a", "b"], [[np.zeros((8, 8, 3), np.uint8)] * 2] * 3)
    assert sheet.size == (16, 14 + 24)
