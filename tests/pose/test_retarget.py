"""Retargeting: properties of any skeleton, and sensible poses for missing joints."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tcan_modules.pose.choices import FITS, MODES
from tcan_modules.pose.retarget import character_lengths, person_size, retarget
from tcan_modules.pose.skeleton import (
    L_ELBOW,
    L_HIP,
    L_SHOULDER,
    L_WRIST,
    NECK,
    NOSE,
    PARENT,
    R_ELBOW,
    R_EYE,
    R_SHOULDER,
    R_WRIST,
    PoseTrack,
)
from tests.pose.figures import body, bone_lengths, dance, track

modes, fits = st.sampled_from(MODES), st.sampled_from(FITS)
sizes = st.integers(8, 1000).map(lambda half: 2 * half)


@st.composite
def tracks(draw, frames: int = 1, neck: bool = False) -> PoseTrack:
    """Any points on any canvas, any of them missing.

    Points are quarters of pixels, so that shifts are exact.
    """
    points = draw(arrays(np.int64, (frames, 18, 2), elements=st.integers(-400, 8000))) / 4
    seen = draw(arrays(np.bool_, (frames, 18)))
    if neck:
        seen[:, NECK] = True
    bodies = np.concatenate([points, np.ones((frames, 18, 1))], axis=-1) * seen[..., None]
    return track([*bodies], draw(sizes), draw(sizes))


def shifted(driving: PoseTrack, x: float, y: float) -> PoseTrack:
    moved = np.where(driving.body[..., 2:] > 0, driving.body + np.array([x, y, 0]), 0)
    return driving.replaced(body=moved)


def scaled(driving: PoseTrack, factor: int, canvas: bool) -> PoseTrack:
    by = factor if canvas else 1
    return driving.replaced(body=driving.body * (factor, factor, 1), width=driving.width * by, height=driving.height * by)


def shape(result: PoseTrack) -> np.ndarray:
    """Positions relative to the mean of the visible points of each frame."""
    count = np.maximum(result.seen.sum(axis=1), 1)[:, None]
    middle = result.points.sum(axis=1) / count
    return (result.points - middle[:, None]) * result.seen[..., None]


@given(tracks(neck=True), st.integers(1, 4).flatmap(lambda n: tracks(frames=n)), modes, fits)
@settings(max_examples=300, deadline=None)
def test_any_skeleton_gives_finite_points_and_missing_stays_missing(character, driving, mode, fit) -> None:
    result = retarget(character, driving, mode, fit)
    assert np.isfinite(result.body).all()
    assert (result.seen == driving.seen).all()
    assert (result.body[~driving.seen] == 0).all()
    assert (result.width, result.height) == (character.width, character.height)


@given(tracks(neck=True), tracks(frames=3), modes, fits, st.integers(-300, 300), st.integers(-300, 300))
@settings(max_examples=150, deadline=None)
def test_moving_the_driver_changes_nothing(character, driving, mode, fit, x, y) -> None:
    here = retarget(character, driving, mode, fit)
    there = retarget(character, shifted(driving, x, y), mode, fit)
    size = 1 + np.abs(here.points).max()
    np.testing.assert_allclose(there.points, here.points, atol=1e-7 * size)


@given(tracks(neck=True), tracks(frames=3), modes, fits, st.sampled_from([2, 4]))
@settings(max_examples=150, deadline=None)
def test_the_size_of_the_driving_video_does_not_change_the_shape(character, driving, mode, fit, factor) -> None:
    here = shape(retarget(character, driving, mode, fit))
    there = shape(retarget(character, scaled(driving, factor, canvas=True), mode, fit))
    np.testing.assert_allclose(there, here, atol=1e-7 * (1 + np.abs(here).max()))


@given(tracks(frames=3), modes, st.sampled_from(["to_scale", "keep_character"]))
@settings(max_examples=150, deadline=None)
def test_the_size_of_the_driver_in_the_video_changes_nothing(driving, mode, fit) -> None:
    assume(person_size(driving.points, driving.seen).any())  # single joints have no size
    character = track([body(60)])
    here = retarget(character, driving, mode, fit).points
    there = retarget(character, scaled(driving, 2, canvas=False), mode, fit).points
    np.testing.assert_allclose(there, here, atol=1e-7 * (1 + np.abs(here).max()))


@pytest.mark.parametrize("factor", [0.7, 1.3, 2.9])
@pytest.mark.parametrize("mode", MODES)
def test_the_size_of_a_natural_driver_changes_nothing_but_tiny_bones(mode: str, factor: float) -> None:
    """The authors leave bones below a tenth of the character's pivot in the driver's pixels.

    Here only eyes and ears can be that short.
    """
    character, bodies = track([body(60)]), np.array(dance())
    grown = bodies.copy()
    grown[..., :2] = (bodies[..., :2] - 256) * factor + 256
    small, large = (retarget(character, track([*each]), mode).points for each in (bodies, grown))
    limbs = slice(2, 14)
    middle = [NECK]
    np.testing.assert_allclose(large[:, limbs] - large[:, middle], small[:, limbs] - small[:, middle], atol=1e-6)


def test_absolute_gives_every_bone_the_length_of_the_character() -> None:
    character = track([body(55, stretch={3: 0.5, 6: 0.7, 0: 1.4, 8: 0.6, 11: 0.6})])
    result = retarget(character, track(dance()), "absolute")
    expected = np.nan_to_num(character_lengths(character))
    np.testing.assert_allclose(bone_lengths(result.points), np.broadcast_to(expected, (8, 18)), rtol=1e-9)
    assert expected[R_ELBOW] == expected[L_ELBOW] == pytest.approx(55 * 1.2 * 0.7)


def test_relative_keeps_foreshortening_and_stops_at_a_tenth_more() -> None:
    driving = track([body(), body(stretch={R_WRIST: 0.3}), body(stretch={R_WRIST: 3.0})])
    lengths = bone_lengths(retarget(track([body(55)]), driving).points)[:, R_WRIST]
    np.testing.assert_allclose(lengths, 55 * 1.1 * np.array([1, 0.3, 1.1]), rtol=1e-9)


def test_relative_keeps_the_necks_movement_and_absolute_does_not() -> None:
    driving = track([body(neck=(200, 200)), body(neck=(230, 190))])
    character = track([body(80, neck=(300, 220))])
    np.testing.assert_allclose(retarget(character, driving).points[:, NECK], [(300, 220), (360, 200)])
    np.testing.assert_allclose(retarget(character, driving, "absolute").points[:, NECK], [(300, 220)] * 2)


def test_fit_to_scale_is_right_for_other_sizes_and_proportions() -> None:
    """The same video at 1920 x 1080 and at 480 x 270 moves the neck equally far."""
    character = track([body(30)], 400, 600)
    small = np.array([body(10, neck=(100, 60)), body(10, neck=(120, 65))])
    for factor in (1, 4):
        driving = track([*(small * (factor, factor, 1))], 480 * factor, 270 * factor)
        neck = retarget(character, driving, fit="to_scale").points[:, NECK]
        np.testing.assert_allclose(neck[1] - neck[0], (60, 15))


def test_fit_keep_character_keeps_place_and_size() -> None:
    """The driver walks to the side and away from the camera.

    The character does neither, but still bends its arm.
    """
    driving = [body(40), body(20, neck=(400, 200), turn={L_WRIST: 30})]
    character = track([body(50, neck=(300, 200))])
    kept = retarget(character, track(driving), fit="keep_character").points
    left = retarget(character, track(driving)).points
    np.testing.assert_allclose(kept[:, NECK], [(300, 200)] * 2)
    np.testing.assert_allclose(bone_lengths(kept)[1], bone_lengths(kept)[0], rtol=1e-9)
    assert bone_lengths(left)[1, L_HIP] == pytest.approx(bone_lengths(left)[0, L_HIP] / 2)
    assert np.linalg.norm(kept[1, L_WRIST] - kept[0, L_WRIST]) > 10


def test_a_bone_that_the_character_lacks_has_the_drivers_proportion() -> None:
    character = track([body(80, missing=(9, 10, 12, 13))])
    lengths = bone_lengths(retarget(character, track([body(40)])).points)[0]
    np.testing.assert_allclose(lengths[[9, 10, 12, 13]], 80 * np.array([1.8, 1.7, 1.8, 1.7]))


def test_a_bone_unseen_in_the_first_frame_is_measured_from_its_first() -> None:
    driving = track([body(missing=(R_WRIST,)), body(), body(stretch={R_WRIST: 0.5})])
    lengths = bone_lengths(retarget(track([body(55)]), driving).points)[1:, R_WRIST]
    np.testing.assert_allclose(lengths, 55 * 1.1 * np.array([1, 0.5]))


def test_a_joint_after_a_missing_one_hangs_on_the_one_before() -> None:
    driving = track([body(missing=(R_ELBOW, R_EYE))])
    result = retarget(track([body(80)]), driving)
    wrist = result.points[0, R_WRIST] - result.points[0, R_SHOULDER]
    np.testing.assert_allclose(wrist, 2 * (body()[R_WRIST, :2] - body()[R_SHOULDER, :2]), rtol=1e-9)


def test_a_missing_neck_is_taken_from_the_shoulders_or_from_frames_that_show_it() -> None:
    whole = retarget(track([body(80)]), track([body()] * 3)).points
    shoulders = retarget(track([body(80)]), track([body(), body(missing=(NECK,)), body()]))
    # A profile: DWPose gives no neck unless it sees both shoulders.
    profile = retarget(track([body(80)]), track([body(), body(missing=(NECK, L_SHOULDER)), body()]))
    assert not shoulders.seen[1, NECK] and not profile.seen[1, NECK]
    np.testing.assert_allclose(shoulders.points[1, [NOSE, R_WRIST]], whole[1, [NOSE, R_WRIST]], atol=2.5)
    np.testing.assert_allclose(profile.points[1, [NOSE, R_WRIST]], whole[1, [NOSE, R_WRIST]], atol=1e-9)


def test_a_neck_that_is_never_seen_leaves_the_body_in_place() -> None:
    never = retarget(track([body(80)]), track([body(missing=(NECK, L_SHOULDER))] * 2), "relative")
    whole = retarget(track([body(80)]), track([body()] * 2))
    assert np.linalg.norm(never.points - whole.points, axis=-1)[never.seen].max() < 40


@pytest.mark.parametrize("mode", MODES)
def test_a_zero_pivot_takes_the_neighbours_scale(mode: str) -> None:
    bowing = body()
    bowing[[NOSE, 14, 15, 16, 17]] = bowing[NECK]
    result = retarget(track([body(80)]), track([body(), bowing, body()]), mode)
    whole = retarget(track([body(80)]), track([body()] * 3), mode)
    np.testing.assert_allclose(result.points[1, 2:14], whole.points[1, 2:14])


def test_a_video_without_any_pivot_is_scaled_by_the_other_bones() -> None:
    driving = track([body(missing=(NOSE, 14, 15, 16, 17))])
    character = track([body(80, missing=(9, 12))])
    lengths = bone_lengths(retarget(character, driving).points)[0]
    assert lengths[9] == pytest.approx(80 * 1.8)


def test_a_profile_view_has_no_wild_bones() -> None:
    """Shoulders and hips nearly on the neck's line, one arm hidden, the face from the side."""
    profile = body(stretch={2: 0.05, 5: 0.05, 8: 0.98, 11: 0.98, 14: 0.6}, missing=(5, 6, 7, 15, 17))
    character = track([body(60)])
    for mode in MODES:
        for frames in ([body(), profile], [profile, body()], [profile, profile]):
            lengths = bone_lengths(retarget(character, track(frames), mode).points)
            seen = track(frames).seen & np.array([p is not None and track(frames).seen[:, p].all() for p in PARENT])
            assert (lengths[seen] <= 1.1 * 60 * 2.2 + 1e-6).all()


def test_a_character_without_a_neck_is_an_error() -> None:
    with pytest.raises(ValueError, match="neck was not found"):
        retarget(track([body(missing=(NECK,))]), track([body()]))
