"""Detectors that write a score for every point: what is seen, and that it does not blink."""

import numpy as np
import pytest

from tcan_modules.pose import RetargetOptions, draw_frames, read_pose_keypoint, retarget_video
from tcan_modules.pose.skeleton import L_ANKLE, L_HIP, L_KNEE, R_ANKLE, R_HIP, R_KNEE, R_WRIST
from tests.pose.figures import body, dance, fixture

LEGS = [R_HIP, R_KNEE, R_ANKLE, L_HIP, L_KNEE, L_ANKLE]
CHARACTER = fixture("g_character")


def frame(points: np.ndarray, *others: np.ndarray) -> dict:
    people = [{"pose_keypoints_2d": each.ravel().tolist()} for each in (points, *others)]
    return {"people": people, "canvas_width": 512, "canvas_height": 512}


def scored(scores, joint: int = R_WRIST) -> list[dict]:
    """A dancer whose joint has these scores over time, the others 0.9."""
    video = np.array(dance(len(scores)))
    video[..., 2] = 0.9
    video[:, joint, 2] = scores
    return [frame(points) for points in video]


def seen(data, joint: int = R_WRIST, **options) -> list[int]:
    return [int(each.people[0].seen[joint]) for each in read_pose_keypoint(data, **options)]


def test_random_legs_are_not_drawn() -> None:
    points = body()
    points[:, 2] = 0.8
    points[LEGS, 2] = 0.04
    without = draw_frames(read_pose_keypoint(frame(body(missing=tuple(LEGS)))))
    assert draw_frames(read_pose_keypoint(frame(points))).equal(without)
    assert draw_frames(read_pose_keypoint(frame(points), 0.0)).equal(draw_frames(read_pose_keypoint(frame(body()))))
    result = retarget_video(CHARACTER, frame(points), RetargetOptions()).pose_keypoint
    assert not np.array(result[0]["people"][0]["pose_keypoints_2d"]).reshape(18, 3)[LEGS].any()


def test_scores_of_0_and_1_change_nothing() -> None:
    video = np.array(dance(6))
    video[::2, R_WRIST] = 0
    read = read_pose_keypoint([frame(points) for points in video])
    np.testing.assert_array_equal([each.people[0].body for each in read], video)


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([0.04, 0.31] * 4, [0] * 8),
        ([0.31, 0.04] * 4, [0] * 8),
        ([0.29, 0.31] * 4, [1] * 8),
        ([0.9, 0.28, 0.25, 0.2, 0.28, 0.9], [1] * 6),
        ([0.9, 0.9, 0.04, 0.9, 0.9], [1] * 5),
        ([0.9, 0.9, 0.9, 0.04, 0.04, 0.04, 0.04, 0.04], [1] * 3 + [0] * 5),
        ([0.04, 0.04, 0.04, 0.9, 0.9, 0.9], [0] * 3 + [1] * 3),
        ([0.1] * 5, [0] * 5),
        ([0.31], [1]),
        ([0.29], [0]),
        ([0.3] * 4, [1] * 4),
    ],
)
def test_joints_do_not_blink(scores, wanted) -> None:
    assert seen(scored(scores)) == wanted


def test_a_joint_lost_for_a_frame_is_between_its_neighbours() -> None:
    data = scored([0.9, 0.9, 0.04, 0.9, 0.9])
    data[2]["people"][0]["pose_keypoints_2d"][3 * R_WRIST : 3 * R_WRIST + 2] = [7.0, 9.0]
    places = [each.people[0].body[R_WRIST, :2] for each in read_pose_keypoint(data)]
    np.testing.assert_allclose(places[2], (places[1] + places[3]) / 2)


def test_several_people_are_decided_each_by_their_own_scores() -> None:
    """Their order in the list changes."""
    sure, unsure = np.array(dance(6)), np.array([body(30, neck=(400, 100))] * 6)
    sure[..., 2], unsure[..., 2] = 0.9, 0.9
    unsure[:, R_WRIST, 2] = [0.04, 0.31] * 3
    data = [frame(a, b) if t % 2 else frame(b, a) for t, (a, b) in enumerate(zip(sure, unsure))]
    wrists = [[bool(person.seen[R_WRIST]) for person in each.people] for each in read_pose_keypoint(data)]
    assert wrists == [[False, True], [True, False]] * 3


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1e39, "high", None, True])
def test_a_threshold_that_is_no_share_is_a_sentence(threshold) -> None:
    with pytest.raises(ValueError, match=r"^score_threshold cannot be .*: give a number from 0 to 1\.$"):
        read_pose_keypoint(frame(body()), threshold)


def test_the_widget_reaches_the_engine(host) -> None:
    points = body()
    points[:, 2] = 0.5
    data = [frame(points)]
    draw, retarget = host.node("TCANPoseDraw"), host.node("TCANPoseRetarget")
    assert draw(pose_keypoint=data)[0].any() and not draw(pose_keypoint=data, score_threshold=0.6)[0].any()
    assert retarget(character=CHARACTER, driving=data)[1].any()
    with pytest.raises(Exception, match="driving video: Nobody was found"):
        retarget(character=CHARACTER, driving=data, score_threshold=0.6)


def test_new_widgets_come_last_so_that_old_workflows_fit(host) -> None:
    """A workflow file lists the widgets' values without their names."""
    import nodes

    def names(node: str) -> list[str]:
        return list(nodes.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["optional"])

    assert names("TCANPoseDraw") == ["hands", "score_threshold"]
    assert names("TCANPoseRetarget")[-4:] == ["driving_images", "score_threshold", "canvas_width", "canvas_height"]
