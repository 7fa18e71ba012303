"""The authors' own results (tests/reference/retarget.safetensors).

Their code truncates positions to whole pixels at each bone.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tcan_modules.pose import RetargetOptions, retarget_frames, write_pose_keypoint
from tcan_modules.pose.crop import kept_height, kept_share
from tcan_modules.pose.keypoints import read_pose_keypoint
from tcan_modules.pose.retarget import retarget
from tcan_modules.pose.skeleton import Person, PoseTrack, track_of

REFERENCE = load_file(Path(__file__).parents[1] / "reference" / "retarget.safetensors")
CASES = range(6)
TOLERANCE = 4.0


def reference_track(case: int, who: str) -> PoseTrack:
    height, width = REFERENCE[f"{case}.{who}.size_hw"].astype(int)
    points = REFERENCE[f"{case}.{who}.keypoints"].reshape(-1, 18, 2) * (width, height)
    seen = REFERENCE[f"{case}.{who}.valid"].reshape(-1, 18, 1)
    return track_of([Person(body) for body in np.concatenate([points, seen], axis=-1) * seen], int(width), int(height))


def errors(case: int, mode: str, points: np.ndarray) -> np.ndarray:
    """Distances in pixels of the visible points ``[frames, 18]``; 0 for the others."""
    height, width = REFERENCE[f"{case}.character.size_hw"]
    distance = np.linalg.norm(points - REFERENCE[f"{case}.retargeted.{mode}"] * (width, height), axis=-1)
    return distance * REFERENCE[f"{case}.driving.valid"]


@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("case", CASES)
def test_points_are_the_authors(case: int, mode: str) -> None:
    result = retarget(reference_track(case, "character"), reference_track(case, "driving"), mode)
    assert errors(case, mode, result.points).max() <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_points_are_the_authors_through_json(case: int) -> None:
    character = write_pose_keypoint(reference_track(case, "character").frames())
    driving = write_pose_keypoint(reference_track(case, "driving").frames())
    result = retarget_frames(read_pose_keypoint(character), read_pose_keypoint(driving), RetargetOptions())
    assert errors(case, "relative", result.poses.points).max() <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_tolerance_distinguishes_the_modes(case: int) -> None:
    result = retarget(reference_track(case, "character"), reference_track(case, "driving"), "absolute")
    assert errors(case, "relative", result.points).max() > 2 * TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_crop_height(case: int) -> None:
    character = reference_track(case, "character")
    assert kept_height(kept_share(character), character.height) == int(REFERENCE[f"{case}.crop_height"][0])


def test_positions_are_not_truncated_to_whole_pixels() -> None:
    result = retarget(reference_track(0, "character"), reference_track(0, "driving"))
    assert np.abs(result.points - result.points.round()).max() > 0.4
