"""Whom to follow is decided over the whole video: false finds, pictures on the wall, people who take turns."""

import time

import numpy as np
import pytest

from tcan_modules.pose import Person, PoseFrame, RetargetOptions, draw_frames, retarget_frames, retarget_video
from tcan_modules.pose.keypoints import read_pose_keypoint
from tcan_modules.pose.people import choose_person
from tcan_modules.pose.retarget import retarget
from tcan_modules.pose.skeleton import NECK, NOSE
from tests.pose.figures import body, dance, fixture, track

DANCE = dance(24, pivot=30)
# Head and shoulders in a corner.
GHOST = body(10, neck=(450, 60), missing=tuple(range(3, 14)))


def video(people: list[list[np.ndarray]], size: int = 512) -> list[PoseFrame]:
    return [PoseFrame([Person(each) for each in frame], size, size) for frame in people]


def pivots(people: list[list[np.ndarray]], *choice) -> list[int]:
    """Nose-neck lengths of the person who is followed; 0 where absent."""
    points = choose_person(video(people), *choice).points
    return np.linalg.norm(points[:, NOSE] - points[:, NECK], axis=-1).round().astype(int).tolist()


def trembling(points: np.ndarray, frames: int = 24) -> list[np.ndarray]:
    noise = np.random.default_rng(0).normal(0, 0.5, (frames, 18, 2))
    return [np.concatenate([points[:, :2] + each, points[:, 2:]], axis=-1) for each in noise]


def test_a_ghost_in_the_first_frame_does_not_move_the_character(caplog) -> None:
    driving, character = fixture("g1_false_find_in_frame_0"), fixture("g_character")
    with caplog.at_level("WARNING", logger="TCAN"):
        result = retarget_video(character, driving, RetargetOptions()).pose_keypoint
    clean = retarget_video(character, driving[1:], RetargetOptions()).pose_keypoint
    assert result[1:] == clean and result[0] == clean[0]
    assert "1 person was passed over (one at 436, 71 in frame 0); followed is one at 260, 378 in 7 frames" in caplog.text


@pytest.mark.parametrize(
    ("people", "wanted"),
    [
        ([[x] for x in DANCE[:-1]] + [[GHOST]], [30] * 23 + [0]),
        ([[x] for x in DANCE[:-1]] + [[GHOST, DANCE[-1]]], [30] * 24),
        ([[x] if t != 12 else [GHOST] for t, x in enumerate(DANCE)], [30] * 12 + [0] + [30] * 11),
        ([[body(90, neck=(256, 200), missing=(3, 4, 6, 7))]] + [[x] for x in DANCE], [0] + [30] * 24),
        ([[body(90, neck=(256, 200), missing=(3, 4, 6, 7)), DANCE[0]]] + [[x] for x in DANCE], [30] * 25),
        ([[body(8, neck=(260, 200), missing=tuple(range(3, 8)))]] + [[x] for x in DANCE], [0] + [30] * 24),
    ],
    ids=["last", "beside", "middle", "huge", "huge beside", "over the dancer"],
)
def test_a_ghost_is_left_out_wherever_it_is(people, wanted) -> None:
    assert pivots(people) == wanted


@pytest.mark.parametrize("pivot", [12, 50])
@pytest.mark.parametrize("alone", [0, 3])
@pytest.mark.parametrize("dancer", [DANCE, [body(30, neck=(100 + 12 * t, 130)) for t in range(24)]], ids=["dances", "walks"])
def test_a_poster_is_not_followed_however_large(pivot: int, alone: int, dancer) -> None:
    poster = trembling(body(pivot, neck=(110, 130)), 24 + alone)
    people = [[each] for each in poster[:alone]] + [[a, b] for a, b in zip(poster[alone:], dancer)]
    assert pivots(people) == [0] * alone + [30] * 24
    chosen = choose_person(video(people))
    assert f"1 person was passed over (one at 110, {'138' if pivot == 12 else '243'}" in chosen.passed_over or pivot == 12
    assert chosen.passed_over.endswith(f"in 24 frames from frame {alone} on.")


def test_a_detector_of_one_person_that_finds_the_poster_at_times() -> None:
    people = [[body(12, neck=(440, 60))] if t % 3 == 0 else [x] for t, x in enumerate(DANCE)]
    assert pivots(people) == [0 if t % 3 == 0 else 30 for t in range(24)]


def test_who_is_left_is_asked_of_the_people_and_not_of_ghosts() -> None:
    left, right = ([x + (dx, 0, 0) * (x[:, 2:] > 0) for x in dance(12, pivot)] for dx, pivot in ((-120, 28), (120, 34)))
    ghost = body(10, neck=(30, 60), missing=tuple(range(3, 14)))
    people = [[ghost, right[0], left[0]]] + [[a, b] for a, b in zip(right[1:], left[1:])]
    assert pivots(people, "leftmost") == [28] * 12
    assert pivots(people, "index", 0) == [34] * 12 and pivots(people, "index", 1) == [28] * 12
    assert pivots(people, "index", 2) == [28] * 12  # only with the ghost are there three


def test_two_dancers_are_not_mixed_and_the_other_is_named() -> None:
    other = [x + (200, 5, 0) for x in dance(24, pivot=29)]
    people = [[a, b] if t % 2 else [b, a] for t, (a, b) in enumerate(zip(DANCE, other))]
    assert pivots(people) == [30] * 24
    assert choose_person(video(people)).passed_over.startswith("1 person was passed over (one at 456, ")


def test_after_a_cut_short_and_long_shots_are_the_same_person() -> None:
    assert pivots([[x] for x in DANCE] + [[body(40, neck=(100, 100))]] * 3) == [30] * 24 + [40] * 3
    assert pivots([[x] for x in DANCE] + [[body(80, neck=(256, 300))]] * 12) == [30] * 24 + [80] * 12


def test_the_travel_counts_from_a_typical_first_pose() -> None:
    """A first frame far away, of a person like the dancer, is in the result but does not move the others."""
    bodies = [body(neck=(420, 400)), *dance(8)]
    character = track([body(50, neck=(200, 200))])
    with_jump, without = retarget(character, track(bodies)), retarget(character, track(bodies[1:]))
    np.testing.assert_array_equal(with_jump.points[1:, NECK], without.points[:, NECK])


def test_a_usual_first_pose_is_the_start() -> None:
    character, driving = track([body(50)]).frames(), track(dance(8)).frames()
    np.testing.assert_array_equal(retarget_frames(character, driving).poses.points[0, NECK], body(50)[NECK, :2])


def test_a_negative_index_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="The index of the person is -1: the first person is 0"):
        choose_person(video([[body()]]), "index", -1)


def test_300_people_in_40_frames_take_seconds() -> None:
    crowd = [[body(30, neck=(20 * i + 3 * t, 50 * (i % 30))) for i in range(300)] for t in range(40)]
    start = time.process_time()
    choose_person(video(crowd))
    assert time.process_time() - start < 30
    scores = np.random.default_rng(0).uniform(0, 1, (40, 300, 18))
    people = [
        [{"pose_keypoints_2d": np.concatenate([each[:, :2], s[:, None]], axis=1).ravel().tolist()} for each, s in zip(frame, ss)]
        for frame, ss in zip(crowd, scores)
    ]
    start = time.process_time()
    frames = read_pose_keypoint([{"people": each, "canvas_width": 512, "canvas_height": 512} for each in people])
    assert time.process_time() - start < 60
    assert draw_frames(frames[:1]).any()
