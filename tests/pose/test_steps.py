"""Choosing and following a person, gaps, hands and face, smoothing, the crop."""

import numpy as np
import pytest
import torch

from tcan_modules.pose import Person, PoseFrame, RetargetOptions, crop_image, describe_gaps, retarget_frames
from tcan_modules.pose.choices import SMOOTHINGS
from tcan_modules.pose.crop import check_matches, kept_share
from tcan_modules.pose.gaps import fill_gaps
from tcan_modules.pose.people import choose_person
from tcan_modules.pose.retarget import retarget
from tcan_modules.pose.skeleton import L_ELBOW, L_WRIST, NECK, NOSE, R_WRIST
from tcan_modules.pose.smoothing import smooth
from tests.pose.figures import body, bone_lengths, dance, track


def crossing(frames: int = 13) -> list[PoseFrame]:
    """A large person walks to the right and a small one to the left, and they pass.

    The order of the list alternates.
    """
    video = []
    for t in range(frames):
        people = [Person(body(44, neck=(120 + 22 * t, 140))), Person(body(30, neck=(400 - 22 * t, 200)))]
        video.append(PoseFrame(people[::-1] if t % 2 else people, 512, 512))
    return video


def pivots(chosen) -> list[int]:
    """Tell the person by the nose-neck length; 0 if absent."""
    return np.linalg.norm(chosen.points[:, NOSE] - chosen.points[:, NECK], axis=-1).round().astype(int).tolist()


@pytest.mark.parametrize(
    ("choice", "index", "pivot"), [("largest", 0, 44), ("leftmost", 0, 44), ("index", 0, 44), ("index", 1, 30)]
)
def test_the_chosen_person_is_kept_through_the_video(choice: str, index: int, pivot: int) -> None:
    assert pivots(choose_person(crossing(), choice, index)) == [pivot] * 13


def test_leftmost_and_largest_can_differ() -> None:
    frames = [PoseFrame(frame.people, 512, 512) for frame in crossing()[::-1]]
    assert pivots(choose_person(frames, "leftmost")) == [30] * 13
    assert pivots(choose_person(frames, "largest")) == [44] * 13


def test_a_person_who_grows_larger_later_does_not_replace_the_largest() -> None:
    video = [
        PoseFrame([Person(body(40, neck=(130, 150))), Person(body(20 + 5 * t, neck=(380, 150)))], 512, 512) for t in range(9)
    ]
    assert pivots(choose_person(video, "largest")) == [40] * 9


def test_a_lost_person_is_left_out_and_found_again() -> None:
    video = crossing()
    video[2:5] = [PoseFrame([p for p in frame.people if pivots(track([p.body])) == [30]], 512, 512) for frame in video[2:5]]
    assert pivots(choose_person(video, "largest")) == [44] * 2 + [0] * 3 + [44] * 8


def test_no_other_person_replaces_one_who_has_left() -> None:
    video = [frame if t < 4 else PoseFrame([frame.people[1 - t % 2]], 512, 512) for t, frame in enumerate(crossing(7))]
    assert pivots(choose_person(video, "largest")) == [44] * 4 + [0] * 3


def test_a_newcomer_far_away_does_not_replace_them_either() -> None:
    first, second, newcomer = (Person(body(44, neck=(x, 200))) for x in (200, 900, 2600))
    video = [[first, second]] * 3 + [[second]] * 2 + [[second, newcomer]] * 3
    chosen = choose_person([PoseFrame(people, 3000, 512) for people in video], "leftmost")
    assert pivots(chosen) == [44] * 3 + [0] * 5


def test_after_a_cut_a_lone_dancer_is_still_the_same() -> None:
    video = track([body(), body(20, neck=(480, 60))]).frames()
    assert pivots(choose_person(video)) == [40, 20]


def test_a_person_chosen_by_index_is_also_followed_backwards() -> None:
    video = crossing()
    video[0] = PoseFrame(video[0].people[1:], 512, 512)
    assert pivots(choose_person(video, "index", 1)) in ([0] + [44] * 12, [30] * 13)


def test_an_index_beyond_the_last_person_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="index of the person is 2, but no frame shows more than 2 people: choose a smaller index"
    ):
        choose_person(crossing(), "index", 2)


@pytest.mark.parametrize("way", ["interpolate", "hold"])
def test_gaps_are_filled_and_described(way: str) -> None:
    first, last = body(neck=(100, 200)), body(neck=(160, 200))
    filled = fill_gaps(track([None, first, None, None, last, None]), way)
    between = [120, 140] if way == "interpolate" else [100, 100]
    np.testing.assert_allclose(filled.points[:, NECK, 0], [100, 100, *between, 160, 160])
    assert filled.filled == [0, 2, 3, 5]
    done = "interpolated" if way == "interpolate" else "held"
    assert describe_gaps(filled, way) == (
        f"The driver was not found in 4 of 6 frames (0, 2, 3, 5); these poses are {done} from the neighbouring frames."
    )


def test_without_gaps_there_is_no_description_and_a_missing_joint_stays_missing() -> None:
    video = track([body(), body(missing=(R_WRIST,)), body()])
    assert fill_gaps(video) is video and describe_gaps(video, "hold") is None
    across = fill_gaps(track([body(missing=(R_WRIST,)), None, body()]))
    assert not across.seen[1, R_WRIST] and across.seen[1].sum() == 17


def test_frames_without_people_go_through_the_whole_pipeline() -> None:
    bodies = dance()
    bodies[0] = bodies[4] = None
    result = retarget_frames(track([body(60)]).frames(), track(bodies).frames())
    assert result.poses.seen.all() and result.poses.filled == [0, 4]


def hand_at(wrist: np.ndarray) -> np.ndarray:
    points = wrist + np.stack([np.arange(21), np.arange(21) % 4], axis=-1)
    return np.concatenate([points, np.ones((21, 1))], axis=-1)


@pytest.mark.parametrize("mode", ["relative", "absolute"])
def test_hands_follow_their_wrists_in_the_scale_of_the_forearm(mode: str) -> None:
    bodies = [body(), body(turn={L_ELBOW: 30, L_WRIST: 50})]
    people = [Person(each, left_hand=hand_at(each[L_WRIST, :2])) for each in bodies]
    video = [PoseFrame([person], 512, 512) for person in people]
    character = body(60, stretch={L_WRIST: 0.8, R_WRIST: 0.8})
    result = retarget_frames(track([character]).frames(), video, RetargetOptions(mode=mode)).poses
    scale = 60 * 0.8 / 40
    np.testing.assert_allclose(result.left_hand[:, 0, :2], result.points[:, L_WRIST], atol=1e-9)
    np.testing.assert_allclose(
        result.left_hand[:, :, :2] - result.points[:, [L_WRIST]],
        scale * np.stack([p.left_hand[:, :2] - p.body[L_WRIST, :2] for p in people]),
    )
    assert not result.right_hand.any()


def test_a_forearm_towards_the_camera_does_not_blow_up_the_hand() -> None:
    bodies = [body(stretch={L_WRIST: length}) for length in (1, 1, 0.15)]
    video = [PoseFrame([Person(each, left_hand=hand_at(each[L_WRIST, :2]))], 512, 512) for each in bodies]
    result = retarget_frames(track([body(40)]).frames(), video, RetargetOptions(mode="absolute")).poses
    spread = np.linalg.norm(result.left_hand[:, 20, :2] - result.left_hand[:, 0, :2], axis=-1)
    assert spread[2] <= 2 * spread[0] + 1e-6


def test_a_hand_without_its_wrist_is_left_out() -> None:
    person = Person(body(missing=(L_WRIST,)), left_hand=hand_at(np.array([300.0, 300.0])))
    assert not retarget_frames(track([body()]).frames(), [PoseFrame([person], 512, 512)]).poses.left_hand.any()


def test_the_face_follows_the_head() -> None:
    face = np.concatenate([body()[[NOSE, 14, 15, 16, 17]]] * 14)
    video = [PoseFrame([Person(body(), face=face)], 512, 512)]
    result = retarget_frames(track([body(80, neck=(300, 300))]).frames(), video, RetargetOptions(mode="absolute")).poses
    np.testing.assert_allclose(result.face[0, :5, :2], result.points[0, [NOSE, 14, 15, 16, 17]], atol=1e-6)


def trembling(frames: int = 60) -> list[np.ndarray]:
    noise = np.random.default_rng(0).normal(0, 2, (frames, 18, 3)) * (1, 1, 0)
    return [body(neck=(150 + 3 * t, 150)) + noise[t] for t in range(frames)]


@pytest.mark.parametrize("method", SMOOTHINGS[1:])
def test_smoothing_reduces_jitter_and_follows_the_path(method: str) -> None:
    video = track(trembling())
    still = track([body(neck=(150 + 3 * t, 150)) for t in range(60)])
    weak, strong = smooth(video, method, 0.2), smooth(video, method, 0.9)

    def jitter(each):
        return np.abs(np.diff(each.points, n=2, axis=0)).mean()

    assert jitter(strong) < jitter(weak) < 0.8 * jitter(video)
    assert np.abs(smooth(video, method, 0.5).points - still.points)[10:].mean() < np.abs(video.points - still.points).mean() * 2


@pytest.mark.parametrize("method", SMOOTHINGS)
def test_smoothing_neither_adds_nor_removes_points(method: str) -> None:
    video = track([body(missing=(t % 18,)) for t in range(12)])
    result = smooth(video, method, 0.7)
    assert (result.seen == video.seen).all() and np.isfinite(result.body).all() and not result.body[~video.seen].any()
    short = smooth(track([body()]), method, 1.0)
    np.testing.assert_allclose(short.points, track([body()]).points)


def test_smoothing_is_off_by_default_and_does_not_depend_on_size() -> None:
    video = track(trembling())
    assert smooth(video) is video
    double = video.replaced(body=video.body * (2, 2, 1))
    np.testing.assert_allclose(smooth(double, "one_euro").points, 2 * smooth(video, "one_euro").points, rtol=1e-9)


def test_the_crop_cuts_picture_and_poses_alike() -> None:
    character = track([body(40, missing=(8, 9, 10, 11, 12, 13))])
    share = kept_share(character)
    assert share == pytest.approx(character.points[0, [R_WRIST, L_WRIST], 1].max() / 512 + 0.1)
    result = retarget_frames(character.frames(), track(dance()).frames(), RetargetOptions(crop=True))
    plain = retarget_frames(character.frames(), track(dance()).frames())
    assert result.poses.height == int(share * 512) and result.poses.width == 512
    np.testing.assert_array_equal(result.poses.body, plain.poses.body)
    assert crop_image(torch.zeros(1, 1024, 1024, 3), result.share).shape[1] == int(share * 1024)


def test_without_wrists_and_hips_nothing_is_cut() -> None:
    assert kept_share(track([body(missing=(4, 7, 8, 11))])) == 1.0
    assert kept_share(track([body(neck=(256, 500))])) == 1.0


def test_a_picture_of_other_proportions_is_refused() -> None:
    frame = track([body()], 512, 768).frames()[0]
    check_matches(torch.zeros(1, 1536, 1024, 3), frame)
    with pytest.raises(ValueError, match="768 x 512, but the character's poses are 512 x 768"):
        check_matches(torch.zeros(1, 512, 768, 3), frame)


def test_a_pose_retargeted_to_itself_stays_the_same() -> None:
    """A pose retargeted to itself stays the same; left and right are equally long."""
    me = track([body(50, neck=(200, 180))])
    for mode in ("relative", "absolute"):
        np.testing.assert_allclose(retarget(me, me, mode).points, me.points, atol=1e-9)
        np.testing.assert_allclose(bone_lengths(retarget(me, me, mode).points), bone_lengths(me.points), atol=1e-9)
