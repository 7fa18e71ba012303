"""Poses of other detectors and editors: what they leave out, name otherwise or add, and who reads what we write."""

import copy

import numpy as np
import pytest
import torch

from tcan_modules.pose import RetargetOptions, draw_frames, read_pose_keypoint, retarget_video, write_pose_keypoint
from tcan_modules.pose.layouts import COCO, MEDIAPIPE
from tcan_modules.pose.skeleton import L_ANKLE, NECK, R_ANKLE, Person, PoseFrame
from tests.pose.figures import body, dance, fixture, track

CHARACTER = fixture("g_character")
LENGTHS = {
    "pose_keypoints_2d": 18,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
    "foot_keypoints_2d": 6,
}


def frame(points: np.ndarray, **more) -> dict:
    person = {"pose_keypoints_2d": points.ravel().tolist()} | more
    return {"people": [person], "canvas_width": 512, "canvas_height": 512}


def only(data) -> Person:
    (person,) = read_pose_keypoint(data)[0].people
    return person


def numbered(count: int) -> np.ndarray:
    """Points ``[count, 3]``, each at a place of its own."""
    return np.stack([100.0 + 2 * np.arange(count), 300.0 - np.arange(count), np.ones(count)], axis=-1)


def test_coco_17_has_a_neck_between_the_shoulders() -> None:
    points = numbered(17)
    read = only(frame(points)).body
    for joint, place in COCO.items():
        np.testing.assert_array_equal(read[joint], points[place])
    np.testing.assert_array_equal(read[NECK], points[[5, 6]].mean(axis=0))
    points[5, 2] = 0
    assert not only(frame(points)).seen[NECK]


def test_coco_wholebody_brings_hands_face_and_feet() -> None:
    points = numbered(133)
    person = only(frame(points))
    np.testing.assert_array_equal(person.body[list(COCO)], points[list(COCO.values())])
    for group, where in (("feet", slice(17, 23)), ("left_hand", slice(91, 112)), ("right_hand", slice(112, 133))):
        np.testing.assert_array_equal(getattr(person, group), points[where])
    assert person.face.shape == (70, 3)


def test_body_25_has_a_middle_of_the_hips_and_feet() -> None:
    (person,) = read_pose_keypoint(fixture("p8_openpose_body25_000000000000_keypoints"), size=(512, 768))[0].people
    (wanted,) = read_pose_keypoint(CHARACTER)[0].people
    np.testing.assert_array_equal(person.body, wanted.body)
    points = numbered(25)
    np.testing.assert_array_equal(only(frame(points)).feet, points[19:])
    np.testing.assert_array_equal(only(frame(points)).body[8:], points[9:19])


def test_mediapipes_33_landmarks() -> None:
    points = numbered(33)
    np.testing.assert_array_equal(only(frame(points)).body[list(MEDIAPIPE)], points[list(MEDIAPIPE.values())])


def test_people_frames_and_hands_that_are_null() -> None:
    frames = read_pose_keypoint(fixture("p1_null_people"))
    assert [len(each.people) for each in frames] == [1, 1, 0]
    data = [None, frame(body(), hand_left_keypoints_2d=None, face_keypoints_2d=[]), {"people": None}]
    assert [len(each.people) for each in read_pose_keypoint(data)] == [0, 1, 0]


@pytest.mark.parametrize("hands", [False, True])
def test_a_hand_of_20_points_is_left_out_with_a_warning(hands: bool, caplog) -> None:
    data = fixture("p7_hand_of_20_points")
    with caplog.at_level("WARNING", logger="TCAN"):
        pictures = draw_frames(read_pose_keypoint(data), hands=hands)
    assert "without 'hand_left_keypoints_2d' of 20 instead of 21 keypoints" in caplog.text
    assert pictures.equal(draw_frames(read_pose_keypoint(CHARACTER), hands=hands))
    assert retarget_video(CHARACTER, data, RetargetOptions(), hands).pose_images.any()


@pytest.mark.parametrize("changes", [{"width": 640, "height": 480}, {"canvas_width": "640", "canvas_height": "480"}])
def test_the_canvas_by_other_names_and_as_text(changes: dict) -> None:
    data = {"people": [], **changes}
    assert (read_pose_keypoint(data)[0].width, read_pose_keypoint(data)[0].height) == (640, 480)


def test_no_canvas_at_all() -> None:
    """It is typed in, or comes from the pictures or from the frames beside it."""
    bare = {"people": frame(body())["people"]}
    with pytest.raises(ValueError, match="no canvas size.*type it in"):
        read_pose_keypoint(bare)
    assert draw_frames(read_pose_keypoint(bare, size=(512, 512))).equal(draw_frames(read_pose_keypoint(frame(body()))))
    assert [each.width for each in read_pose_keypoint([bare, frame(body()) | {"canvas_width": 300}, bare])] == [300] * 3
    options = RetargetOptions(canvas_width=512, canvas_height=512)
    wanted = retarget_video(CHARACTER, frame(body()), RetargetOptions()).pose_keypoint
    assert retarget_video(CHARACTER, bare, options).pose_keypoint == wanted
    pictures = torch.zeros(1, 512, 512, 3)
    assert retarget_video(CHARACTER, bare, RetargetOptions(), driving_images=pictures).pose_keypoint == wanted


def test_numbers_as_text_and_missing_coordinates() -> None:
    texts = frame(body())
    flat = texts["people"][0]["pose_keypoints_2d"]
    texts["people"][0]["pose_keypoints_2d"] = [None, None, None, *map(str, flat[3:])]
    np.testing.assert_array_equal(only(texts).body, body(missing=(0,)))


def test_what_is_written_has_full_lists_of_zeros_and_ones() -> None:
    """ComfyUI's SDPose nodes reshape each list to its full length; controlnet_aux takes a confidence below 1 for missing."""
    feet = np.stack([[250, 255, 245, 290, 295, 285], [500] * 6, [1] * 6], axis=-1).astype(float)
    person = Person(body(missing=(4,)), feet=feet)
    for written in (write_pose_keypoint([PoseFrame([person], 512, 512)]), write_pose_keypoint(track([body()]).frames())):
        (people,) = (each["people"] for each in written)
        for key, flat in people[0].items():
            points = np.array(flat, dtype=np.float32).reshape(LENGTHS[key], 3)
            assert set(points[:, 2]) <= {0.0, 1.0} and not points[points[:, 2] == 0].any()
        assert set(LENGTHS) - set(people[0]) <= {"foot_keypoints_2d"}


def test_comfyuis_own_drawer_reads_what_we_write(host) -> None:
    sdpose = pytest.importorskip("comfy_extras.nodes_sdpose", reason="this ComfyUI has no SDPose nodes")
    written = retarget_video(CHARACTER, write_pose_keypoint(track(dance()).frames()), RetargetOptions()).pose_keypoint
    (pictures,) = sdpose.SDPoseDrawKeypoints.execute(written, True, True, True, True, 4, 3, 0.3, True).result
    assert pictures.shape == (8, 768, 512, 3) and pictures.amax(dim=(1, 2, 3)).min() > 0.5
    sdpose.SDPoseFaceBBoxes.execute(written, 1.5, True)


def test_feet_are_kept_and_follow_the_ankles() -> None:
    bodies = dance()
    feet = [np.concatenate([each[[L_ANKLE] * 3], each[[R_ANKLE] * 3]]) + [8, 4, 0] for each in bodies]
    data = [frame(points, foot_keypoints_2d=foot.ravel().tolist()) for points, foot in zip(bodies, feet)]
    assert write_pose_keypoint(read_pose_keypoint(data))[3]["people"][0]["foot_keypoints_2d"] == feet[3].ravel().tolist()
    (written,) = {
        len(each["people"][0]["foot_keypoints_2d"]) for each in retarget_video(CHARACTER, data, RetargetOptions()).pose_keypoint
    }
    assert written == 18
    read = read_pose_keypoint(retarget_video(CHARACTER, data, RetargetOptions()).pose_keypoint)
    for person in (each.people[0] for each in read):
        offset = person.feet[:, :2] - person.body[[L_ANKLE] * 3 + [R_ANKLE] * 3, :2]
        assert (offset > 0).all() and (offset[:, 0] / offset[:, 1]).round(6).tolist() == [2.0] * 6
    unchanged = copy.deepcopy(data)
    for each in unchanged:
        del each["people"][0]["foot_keypoints_2d"]
    assert "foot_keypoints_2d" not in write_pose_keypoint(read_pose_keypoint(unchanged))[0]["people"][0]
