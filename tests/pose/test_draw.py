"""Drawing compared with controlnet_aux's own, and its speed."""

import time

import numpy as np
import pytest
import torch

from tcan_modules.pose import Person, PoseFrame, as_image, draw_frames, retarget_frames, side_by_side
from tcan_modules.pose.draw import COLORS, LIMBS
from tcan_modules.pose.skeleton import NECK, NOSE
from tests.pose.bench_draw import controlnet_aux_pictures, dancing
from tests.pose.figures import body, dance, track


def picture(points: np.ndarray, canvas=(512, 512), size=(0, 0)) -> np.ndarray:
    return draw_frames(track([points], *canvas).frames(), *size)[0].numpy()


@pytest.mark.parametrize(("hands", "share"), [(False, 0.01), (True, 0.04)])
def test_pictures_match_controlnet_aux_except_for_pixels_on_edges(hands: bool, share: float) -> None:
    frames = dancing(20)
    ours = draw_frames(frames, hands=hands).numpy()
    theirs = controlnet_aux_pictures(frames, hands)
    differing = (ours != theirs).any(-1).sum(axis=(1, 2))
    assert (differing <= share * theirs.any(-1).sum(axis=(1, 2))).all()


def test_joints_are_discs_of_radius_4_and_limbs_have_60_percent() -> None:
    drawn = picture(body())
    x, y = body()[10, :2].astype(int)
    assert (drawn[y - 4 : y + 5, x] == COLORS[10]).all() and (drawn[y, x - 4 : x + 5] == COLORS[10]).all()
    assert not drawn[y + 5, x].any() and not drawn[y, x + 5].any()
    middle = body()[[NECK, NOSE], :2].mean(axis=0).astype(int)
    limb = LIMBS.index((NECK, NOSE))
    assert tuple(drawn[middle[1], middle[0]]) == tuple(int(0.6 * channel) for channel in COLORS[limb])
    row = drawn[middle[1]].any(-1)
    assert row[middle[0] - 4 : middle[0] + 5].all() and not row[middle[0] + 5] and not row[middle[0] - 5]


def test_whole_batches_and_several_people() -> None:
    two = PoseFrame([Person(body(neck=(150, 150))), Person(body(neck=(350, 150)))], 512, 512)
    batch = draw_frames([two, PoseFrame([], 512, 512), *track([body()]).frames()])
    assert batch.shape == (3, 512, 512, 3) and batch.dtype == torch.uint8
    assert batch[0, :, :250].any() and batch[0, :, 260:].any() and not batch[1].any()


def test_an_image_has_the_same_pictures() -> None:
    pictures = draw_frames(track([body()]).frames())
    assert as_image(pictures).dtype == torch.float32 and (as_image(pictures) * 255).round().equal(pictures.float())


def test_a_missing_joint_takes_its_limbs_with_it() -> None:
    whole, without = picture(body()), picture(body(missing=(3,)))
    elbow, wrist = body()[3, :2].astype(int), body()[4, :2].astype(int)
    assert whole[elbow[1], elbow[0]].any() and not without[elbow[1], elbow[0]].any()
    assert without[wrist[1], wrist[0]].any()


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((0, 0), (400, 600)),
        ((200, 0), (200, 300)),
        ((0, 300), (200, 300)),
        ((512, 512), (512, 512)),
        ((800, 300), (800, 300)),
    ],
)
def test_the_size_asked_for_with_the_proportions_kept(asked, drawn) -> None:
    points = body(neck=(200, 130))
    image = picture(points, (400, 600), asked)
    assert image.shape == (drawn[1], drawn[0], 3)
    scale = min(drawn[0] / 400, drawn[1] / 600)
    middle = np.array(drawn) / 2 + (points[NECK, :2] - (200, 300)) * scale
    found = np.argwhere((image == COLORS[NECK]).all(-1)).mean(axis=0)[::-1]
    np.testing.assert_allclose(found, middle, atol=1.0)


def test_points_outside_of_the_picture_do_no_harm() -> None:
    points = body()
    points[4, :2], points[10, :2], points[13, :2] = (-1e9, 40), (300, 1e12), (-30, -30)
    assert picture(points).any()


def test_the_preview_shows_three_panels_for_some_of_the_frames() -> None:
    bodies = dance(100)
    bodies[0] = None
    retargeted = retarget_frames(track([body(60)], 300, 600).frames(), track(bodies, 640, 480).frames())
    preview = side_by_side(retargeted.character, retargeted.driving, retargeted.poses)
    assert preview.shape == (48, 384, 192 + 512 + 192, 3)
    for panel in (slice(0, 192), slice(192, 704), slice(704, None)):
        assert preview[:, 20:, panel].amax(dim=(1, 2, 3)).min() > 0.5
    # The first frame's label says that nobody was found in it.
    assert (preview[0, :18, 192:704] > 0).sum() > (preview[1, :18, 192:704] > 0).sum()


def test_a_thousand_frames_take_less_than_ten_seconds() -> None:
    """Measures this process's time, so that others do not count; prints the clock's too."""
    character = track([body(60)]).frames()
    frames = dancing(1000)
    controlnet_aux_pictures(frames[:1], hands=False)  # its import
    clock, start = time.perf_counter(), time.process_time()
    pictures = draw_frames(retarget_frames(character, frames).poses.frames())
    ours, clock = time.process_time() - start, time.perf_counter() - clock
    assert pictures.shape == (1000, 512, 512, 3)
    start = time.process_time()
    controlnet_aux_pictures(frames, hands=False)
    theirs = time.process_time() - start
    print(
        f"\n1,000 frames of 512 x 512: retargeted and drawn in {ours:.2f} s ({clock:.2f} s by the clock); "
        f"controlnet_aux's draw_poses alone {theirs:.2f} s"
    )
    assert ours < 10
