"""Reading and writing POSE_KEYPOINT; comfyui_controlnet_aux's code wrote the fixtures."""

import json

import numpy as np
import pytest
from PIL import Image

from tcan_modules.pose import PoseFrame, RetargetOptions, draw_frames, read_pose_keypoint, retarget_frames, write_pose_keypoint
from tcan_modules.pose.keypoints import common_canvas
from tests.pose.figures import FIXTURES, body, dance, fixture, track

LENGTHS = {"face_keypoints_2d": 70, "hand_left_keypoints_2d": 21, "hand_right_keypoints_2d": 21}
BOTH = ["dwpreprocessor", "openposepreprocessor"]
# Their polygon filler differs from ours; a limb more or less would be hundreds of pixels.
FEW_PIXELS = 60


def pose(bodies=None, **canvas) -> list[dict]:
    return write_pose_keypoint(track(bodies or [body()], **canvas).frames())


def broken(**changes) -> list[dict]:
    data = pose()
    data[0].update(changes)
    return data


def broken_person(**changes) -> list[dict]:
    data = pose()
    data[0]["people"][0].update(changes)
    return data


@pytest.mark.parametrize("name", BOTH)
def test_their_json_gives_their_pictures(name: str) -> None:
    frames = read_pose_keypoint(fixture(name))
    assert [len(frame.people) for frame in frames] == [2, 0, 1]
    for t, picture in enumerate(draw_frames(frames)):
        theirs = np.asarray(Image.open(FIXTURES / f"frame{t}.png"))
        assert picture.shape == theirs.shape == (640, 512, 3)
        assert (picture.numpy() != theirs).any(-1).sum() <= FEW_PIXELS


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("t", [0, 2])
def test_their_json_gives_their_pictures_of_hands(name: str, t: int) -> None:
    picture = draw_frames(read_pose_keypoint(fixture(name))[t : t + 1], hands=True)[0]
    theirs = np.asarray(Image.open(FIXTURES / f"frame{t}_hands.png"))
    without = np.asarray(Image.open(FIXTURES / f"frame{t}.png"))
    assert (theirs != without).any(-1).sum() > 3 * FEW_PIXELS
    assert (picture.numpy() != theirs).any(-1).sum() <= FEW_PIXELS


@pytest.mark.parametrize("hands", [False, True])
def test_pixels_and_fractions_give_the_same_pictures(hands: bool) -> None:
    pixels, fractions = (draw_frames(read_pose_keypoint(fixture(name)), hands=hands) for name in BOTH)
    assert pixels.equal(fractions)


@pytest.mark.parametrize("name", BOTH)
def test_drawn_saved_loaded_and_drawn_again_is_the_same_picture(name: str) -> None:
    frames = read_pose_keypoint(fixture(name))
    loaded = read_pose_keypoint(json.loads(json.dumps(write_pose_keypoint(frames))))
    assert draw_frames(frames, hands=True).equal(draw_frames(loaded, hands=True))


def test_whole_pixels_come_back_whole_from_fractions() -> None:
    """OpenPose finds whole pixels, but x / W * W is often a little less than x.

    It would be drawn one pixel off.
    """
    points = body()
    points[:, :2] = points[:, :2].round()
    for width in (511, 512, 910, 1000):
        data = pose([points], width=width, height=width)
        flat = data[0]["people"][0]["pose_keypoints_2d"]
        data[0]["people"][0]["pose_keypoints_2d"] = [
            number if i % 3 == 2 else number / float(width) for i, number in enumerate(flat)
        ]
        assert (read_pose_keypoint(data)[0].people[0].body == points).all()


def test_written_data_has_their_exact_form() -> None:
    """Zeros in place of None, which ComfyUI's SDPose nodes cannot read."""
    theirs = fixture("dwpreprocessor")
    for person in (person for frame in theirs for person in frame["people"]):
        person |= {key: [0.0] * 3 * count for key, count in LENGTHS.items() if person[key] is None}
    assert write_pose_keypoint(read_pose_keypoint(theirs)) == theirs
    assert [list(frame) for frame in theirs] == [list(frame) for frame in write_pose_keypoint(read_pose_keypoint(theirs))]
    numbers = [
        type(n) for person in write_pose_keypoint(read_pose_keypoint(theirs))[0]["people"] for n in person["pose_keypoints_2d"]
    ]
    assert set(numbers) == {float}


def test_retargeted_poses_survive_json() -> None:
    """Also points outside of the picture, which retargeting makes."""
    result = retarget_frames(track([body(90, neck=(40, 60))]).frames(), track(dance()).frames(), RetargetOptions()).poses.frames()
    assert min(person.body[:, 0].min() for frame in result for person in frame.people) < -5
    loaded = read_pose_keypoint(json.loads(json.dumps(write_pose_keypoint(result))))
    assert draw_frames(result).equal(draw_frames(loaded))


def test_a_bare_dict_is_one_frame() -> None:
    assert draw_frames(read_pose_keypoint(fixture("dwpreprocessor")[0])).equal(
        draw_frames(read_pose_keypoint(fixture("dwpreprocessor")[:1]))
    )


def test_nobody_in_the_first_frame_of_a_fractions_video_does_not_matter() -> None:
    data = fixture("openposepreprocessor")
    assert draw_frames(read_pose_keypoint([data[1], data[0]]))[1].equal(draw_frames(read_pose_keypoint(data))[0])


def test_openposes_mark_for_missing_hand_points() -> None:
    """x = -1 / width with confidence 1 (open_pose/__init__.py, ``detect_hands``)."""
    hands = [person.left_hand for person in read_pose_keypoint(fixture("openposepreprocessor"))[0].people]
    assert [bool(point) for point in hands[0][:7, 2]] == [True] * 5 + [False, True]


def test_frames_of_another_canvas_are_scaled_to_the_first() -> None:
    small, large = track([body(20, neck=(128, 65))], 256, 256).frames(), track([body(40, neck=(256, 130))]).frames()
    frames = common_canvas([*small, *large])
    assert all((frame.width, frame.height) == (256, 256) for frame in frames)
    np.testing.assert_allclose(frames[0].people[0].body, frames[1].people[0].body)


COCO = [float(n) for i in range(17) for n in (10 + i, 20, 1)]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"version": 0.4, "nodes": []}, "Frame 0 has no list 'people'"),
        ({"annotations": [{"keypoints": COCO}]}, "Frame 0 has no list 'people'"),
        ([[1, 2, 3]], "not POSE_KEYPOINT data \\(a list holding list\\)"),
        ("pose.json", "not POSE_KEYPOINT data \\(a value of type str\\)"),
        (None, "not POSE_KEYPOINT data"),
        ([], "list is empty"),
        (
            broken_person(pose_keypoints_2d=COCO[:-3]),
            "16 body keypoints, but the layouts that are read have 18 \\(OpenPose\\), 17",
        ),
        (broken_person(pose_keypoints_2d=[1.0] * 53), "53 numbers, which are not triples"),
        (broken_person(pose_keypoints_2d=["x"] * 54), "not a number"),
        (broken_person(pose_keypoints_2d=5), "is a value of type int instead of a list of numbers"),
        (broken_person(pose_keypoints_2d="1" * 54), "is a value of type str instead of a list of numbers"),
        (broken_person(pose_keypoints_2d=[10**400] * 54), "a number that is too large"),
        (broken_person(hand_left_keypoints_2d={"x": 1}), "'hand_left_keypoints_2d' of frame 0 is a value of type dict"),
        (broken(people=[{"pose_keypoints_2d": None}] * 1001), "Frame 0 has 1001 people, more than 1000"),
        (broken(canvas_width=30000), "canvas_width 30000, but a canvas has at most 16384 pixels on a side"),
        (broken(canvas_width=10**9), "at most 16384"),
        (broken(canvas_width=10**5000), "canvas_width a very large number"),
        (broken(canvas_width="x" * 10**6), "canvas_width x{80}…"),
        (broken(canvas_width=[1] * 1000), "canvas_width a list of 1000"),
        (broken(people=[{"keypoints": COCO}]), "no 'pose_keypoints_2d'"),
        (broken(people=[[1, 2]]), "instead of a dict"),
        (broken(canvas_width=0), "canvas_width 0: the canvas must be at least 1 pixel"),
        (broken(canvas_height=None), "canvas_height None"),
        (broken(canvas_height=float("nan")), "canvas_height nan"),
        ([{"version": "ap10k", "animals": [], "canvas_height": 5, "canvas_width": 5}], "animal poses"),
    ],
)
def test_bad_data_gives_one_sentence(data, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        read_pose_keypoint(data)
    assert str(error.value).count("\n") == 0 and len(str(error.value)) < 400


@pytest.mark.parametrize("who", ["character", "driving video"])
def test_empty_people_everywhere(who: str) -> None:
    nobody = [PoseFrame([], 512, 512)] * 3
    one_person = track([body()]).frames()
    pair = (nobody, one_person) if who == "character" else (one_person, nobody)
    with pytest.raises(ValueError, match=f"In the poses of the {who}: Nobody was found in any frame"):
        retarget_frames(*pair)


def test_people_without_a_point_do_not_count() -> None:
    """DWPreprocessor writes them with ``detect_body`` disabled."""
    data = broken_person(pose_keypoints_2d=[0.0] * 54)
    assert not draw_frames(read_pose_keypoint(data)).any()
    with pytest.raises(ValueError, match="Nobody was found"):
        retarget_frames(read_pose_keypoint(data), read_pose_keypoint(data))
