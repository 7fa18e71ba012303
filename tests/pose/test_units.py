"""Pixels and fractions in one file: decided for each frame and part."""

import numpy as np
import pytest

from tcan_modules.pose import draw_frames, read_pose_keypoint
from tcan_modules.pose.skeleton import R_ANKLE, R_WRIST
from tests.pose.figures import body, fixture

SIZE = 512


def frame(points: np.ndarray, hand: np.ndarray | None = None) -> dict:
    person = {"pose_keypoints_2d": points.ravel().tolist()}
    if hand is not None:
        person["hand_right_keypoints_2d"] = hand.ravel().tolist()
    return {"people": [person], "canvas_width": SIZE, "canvas_height": SIZE}


def fractions(points: np.ndarray) -> np.ndarray:
    return points / (SIZE, SIZE, 1)


def hand() -> np.ndarray:
    return np.stack([300 + 2.0 * np.arange(21), 320 + 3.0 * np.arange(21), np.ones(21)], axis=-1)


def whole(data) -> list[np.ndarray]:
    return [person.body for each in read_pose_keypoint(data) for person in each.people]


def test_one_joint_beyond_the_picture_does_not_turn_fractions_into_pixels() -> None:
    first, second = whole(fixture("p4_one_point_beyond_2"))
    same = [joint for joint in range(18) if joint != R_ANKLE]
    np.testing.assert_array_equal(first[same], second[same])
    np.testing.assert_allclose(second[R_ANKLE], (0.4140625 * 512, 2.3 * 768, 1), atol=1e-3)


def test_joints_just_outside_the_picture_are_pixels() -> None:
    points = body()
    points[R_WRIST, :2] = (-5, -5)
    np.testing.assert_array_equal(whole(frame(points))[0], points)


def test_lists_joined_from_two_sources() -> None:
    points = body().round()
    read = whole([frame(points), frame(fractions(points)), frame(points)])
    np.testing.assert_array_equal(read, [points] * 3)


@pytest.mark.parametrize("body_unit", [fractions, np.array])
@pytest.mark.parametrize("hand_unit", [fractions, np.array])
def test_a_body_and_its_hands_each_have_a_unit(body_unit, hand_unit) -> None:
    points = body().round()
    wanted = draw_frames(read_pose_keypoint(frame(points, hand())), hands=True)
    assert draw_frames(read_pose_keypoint(frame(body_unit(points), hand_unit(hand()))), hands=True).equal(wanted)


def test_few_points_have_the_unit_of_the_others() -> None:
    """Two joints at the corner could be fractions; the rest of the video is in pixels."""
    corner = np.zeros((18, 3))
    corner[:2] = [(1, 1, 1), (2, 2, 1)]
    data = [frame(body()), frame(corner)]
    assert whole(data)[1][1].tolist() == [2, 2, 1]


@pytest.mark.parametrize(("unit", "stray"), [(fractions, (200, 345)), (np.array, (0.4, 0.6))])
def test_a_stray_joint_in_the_other_unit_is_left_out_with_a_warning(unit, stray, caplog) -> None:
    points = unit(body())
    points[R_WRIST, :2] = stray
    with caplog.at_level("WARNING", logger="TCAN"):
        (read,) = whole(frame(points))
    np.testing.assert_allclose(read, body(missing=(R_WRIST,)), atol=1e-3)
    assert "joints far beyond the canvas or in another unit, which 1 of 1 frames have (0)" in caplog.text


def test_half_of_each_is_a_sentence() -> None:
    points = body()
    points[::2, :2] /= SIZE
    with pytest.raises(
        ValueError, match="In frame 1, 9 keypoints of a person's body look like fractions of the canvas and 9 like pixels"
    ):
        read_pose_keypoint([frame(body()), frame(points)])


def test_infinities_of_any_size_are_no_joints() -> None:
    for number in (1e308, -1.7e308, 10**30, float("nan")):
        points = np.array([[number, 5, 1.0]] * 18, dtype=object)
        assert not read_pose_keypoint(frame(points))[0].people[0].seen.any()


def test_a_canvas_of_one_pixel_is_no_size() -> None:
    """Fractions are written with a canvas of 1 x 1; the size then comes from the widgets, or is asked for."""
    person = {"pose_keypoints_2d": [0.5, 0.25, 1.0] * 18}
    frame = {"people": [person], "canvas_width": 1, "canvas_height": 1}
    (read,) = read_pose_keypoint([frame], size=(400, 200))
    assert (read.width, read.height) == (400, 200)
    assert read.people[0].body[0].tolist() == [200, 50, 1]
    with pytest.raises(ValueError, match="have no canvas size"):
        read_pose_keypoint([frame])


@pytest.mark.parametrize("mark", [(0, 0), (-1, -1)])
def test_marks_of_missing_points_are_not_seen(mark) -> None:
    """Some files write them with a score above 0; a limb would be drawn to the corner."""
    points = body()
    points[R_WRIST] = (*mark, 1)
    frame = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}], "canvas_width": 512, "canvas_height": 512}
    (read,) = read_pose_keypoint([frame])
    assert not read.people[0].seen[R_WRIST] and read.people[0].seen.sum() == 17


def test_a_canvas_in_numpys_numbers() -> None:
    frame = {
        "people": [{"pose_keypoints_2d": body().ravel().tolist()}],
        "canvas_width": np.int64(512),
        "canvas_height": np.float32(512),
    }
    (read,) = read_pose_keypoint([frame])
    assert (read.width, read.height) == (512, 512)
