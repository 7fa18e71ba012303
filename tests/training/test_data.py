"""Videos, folders of frames and the TikTok layout as training data."""

import json

import numpy as np
import pytest
from PIL import Image

from tcan_modules.training.datasets import FramePairs, VideoClips, random_crop
from tcan_modules.training.poses import find_poses
from tcan_modules.training.sampling import write_video
from tcan_modules.training.videos import VideoFile, find_videos

COUNT, SIDE = 70, 64


def numbered(count: int = COUNT) -> np.ndarray:
    """Frames whose brightness tells their number."""
    return np.broadcast_to((3 * np.arange(count, dtype=np.uint8) + 10)[:, None, None, None], (count, SIDE, SIDE, 3)).copy()


def brightness(picture: Image.Image) -> float:
    return float(np.asarray(picture).mean())


def save_pictures(folder, frames) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:04d}.png")


@pytest.fixture
def tiktok(tmp_path):
    """One clip as pictures, one as videos, in ``train/``."""
    save_pictures(tmp_path / "train" / "a" / "images", numbered())
    save_pictures(tmp_path / "train" / "a" / "dwpose", numbered()[::-1])
    write_video(tmp_path / "train" / "b" / "images.mp4", numbered())
    write_video(tmp_path / "train" / "b" / "dwpose.mp4", numbered()[::-1])
    return tmp_path


def test_random_access_to_a_video(tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "x.mp4", numbered())
    video = VideoFile(tmp_path / "x.mp4")
    assert video.count == COUNT
    for wanted in ([0], [69], [40, 3, 41], [35, 36, 37, 38], [69, 0, 33]):
        assert [brightness(picture) for picture in video.read(wanted)] == pytest.approx([3 * n + 10 for n in wanted], abs=3)


def test_tiktok_layout(tiktok):
    pytest.importorskip("av")
    videos = find_videos(tiktok, 16)
    assert [(video.name, video.frames.count) for video in videos] == [("a", COUNT), ("b", COUNT)]
    for number in range(6):
        sample = VideoClips(videos, 64, 4, seed=0)[number]
        shown = [round((frame.float().mean().item() - 10) / 3) for frame in sample["pixels"]]
        posed = [round((frame.float().mean().item() - 10) / 3) for frame in sample["pose"]]
        assert shown == list(range(shown[0], shown[0] + 4))
        assert posed == [COUNT - 1 - number for number in shown], "the poses of other frames"
        assert sample["reference"].float().mean().item() == pytest.approx(10, abs=3)


def test_pairs_are_far_apart(tiktok):
    pytest.importorskip("av")
    pairs = FramePairs(find_videos(tiktok, 2), 64, seed=0)
    for number in range(20):
        sample = pairs[number]
        first, second = (round((sample[name].float().mean().item() - 10) / 3) for name in ("pixels", "reference"))
        assert 29 <= abs(first - second) <= COUNT - 29, "the frames are too close"
        again = pairs[number]
        assert all((sample[name] == again[name]).all() for name in sample)


def test_stored_keypoints_are_drawn(tmp_path):
    save_pictures(tmp_path / "clip", numbered(4))
    body = [value for joint in range(18) for value in (8 + 2.5 * joint, 8 + 2.5 * joint, 1.0)]
    frame = {
        "people": [
            {
                "pose_keypoints_2d": body,
                "hand_left_keypoints_2d": None,
                "hand_right_keypoints_2d": None,
                "face_keypoints_2d": None,
            }
        ],
        "canvas_width": SIDE,
        "canvas_height": SIDE,
    }
    (tmp_path / "clip.poses.json").write_text(json.dumps([frame] * 4))
    videos = find_videos(tmp_path, 2)
    find_poses(videos, "dwpose", 64, [], "cpu")
    sample = VideoClips(videos, 64, 2, seed=0)[0]
    assert sample["pose"].max() > 200
    assert (sample["pose"].sum(1) == 0).float().mean() > 0.3


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        find_videos(tmp_path / "nowhere", 2)
    with pytest.raises(ValueError, match="holds no video"):
        find_videos(tmp_path, 2)
    save_pictures(tmp_path / "a" / "images", numbered(3))
    save_pictures(tmp_path / "a" / "dwpose", numbered(2))
    with pytest.raises(ValueError, match="3 frames and 2 poses"):
        find_videos(tmp_path, 2)


@pytest.mark.parametrize("width, height", [(64, 64), (640, 360), (360, 640), (100, 1000)])
def test_crops_lie_in_the_picture(width, height):
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = random_crop(width, height, rng)
        assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
        ratio = (right - left) * width / ((bottom - top) * height)
        assert 0.9 - 1e-6 <= ratio <= 1 + 1e-6
