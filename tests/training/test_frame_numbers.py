"""Frames are read by their number, whatever a file says about time, order and place."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from tcan_modules.training.frames import VideoFile

from .clips import copy_packets, number_of, numbered_frame, patch_box, set_matrix, write_clip

COUNT = 120
PHONE = np.cumsum(np.random.default_rng(0).choice([17, 33, 33, 50, 70], COUNT)).tolist()
CLIPS = {
    "even": ("a.mp4", range(COUNT), Fraction(1, 30), {}),
    "NTSC": ("a.mp4", [1001 * n for n in range(COUNT)], Fraction(1, 30000), {"bf": "2"}),
    "milliseconds": ("a.mkv", [round(n * 1000 / 30) for n in range(COUNT)], Fraction(1, 1000), {"bf": "0"}),
    "phone": ("a.mp4", PHONE, Fraction(1, 1000), {"bf": "2"}),
    "a pause": ("a.mp4", [n + 3000 * (n > 50) for n in range(COUNT)], Fraction(1, 30), {}),
    "late start": ("a.mp4", [5000 + 33 * n for n in range(COUNT)], Fraction(1, 1000), {"bf": "3"}),
    "open groups": ("a.mp4", range(COUNT), Fraction(1, 30), {"bf": "3", "x264-params": "open-gop=1:keyint=12:scenecut=0"}),
    "intra refresh": ("a.mp4", range(COUNT), Fraction(1, 30), {"x264-params": "intra-refresh=1:keyint=12"}),
    "one keyframe": ("a.mp4", range(COUNT), Fraction(1, 30), {"g": "1000"}),
    "stream": ("a.ts", [3000 * n for n in range(COUNT)], Fraction(1, 90000), {"bf": "2"}),
    "avi": ("a.avi", range(COUNT), Fraction(1, 30), {"codec": "mpeg4", "bf": "2", "qscale": "1"}),
    "webm": ("a.webm", [33 * n for n in range(COUNT)], Fraction(1, 1000), {"codec": "libvpx", "auto-alt-ref": "1", "b": "4M"}),
}


def numbers(video: VideoFile, wanted) -> list[int]:
    return [number_of(picture) for picture in video.read(list(wanted))]


def check(video: VideoFile, shown: list[int]) -> None:
    """That each frame, a few in any order, and all in a row are the right ones."""
    assert video.count == len(shown)
    assert [number_of(picture) for picture in video] == shown
    assert [numbers(video, [number])[0] for number in range(video.count)] == shown
    rng = np.random.default_rng(1)
    for _ in range(10):
        wanted = rng.integers(video.count, size=5)
        assert numbers(video, wanted) == [shown[number] for number in wanted]


@pytest.mark.parametrize("kind", CLIPS)
def test_every_frame_by_its_number(kind, tmp_path):
    name, times, base, settings = CLIPS[kind]
    check(VideoFile(write_clip(tmp_path / name, times, base, **settings)), list(range(COUNT)))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_at_the_same_time(suffix, tmp_path):
    write_clip(tmp_path / "even.mkv", [40 * n for n in range(COUNT)], bf="0")
    path = tmp_path / f"twice.{suffix}"
    copy_packets(tmp_path / "even.mkv", path, lambda _: True, lambda index, time: time + 40 * (index % 5 == 3))
    check(VideoFile(path), list(range(COUNT)))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("bframes", ["0", "2"])
def test_a_cut_without_its_first_keyframe(suffix, bframes, tmp_path):
    write_clip(tmp_path / "whole.mkv", range(COUNT), Fraction(1, 30), bf=bframes, sc_threshold="0")
    cut = copy_packets(tmp_path / "whole.mkv", tmp_path / f"cut.{suffix}", lambda index: index >= 5)
    check(VideoFile(cut), list(range(12, COUNT)))


def test_an_edit_list_hides_the_first_frames(tmp_path):
    path = write_clip(tmp_path / "a.mp4", range(COUNT), Fraction(1, 30), bf="0", g="50")
    import av

    with av.open(str(path)) as container:
        tick = 1 / 30 / container.streams.video[0].time_base
    patch_box(path, b"elst", 12, int(7 * tick).to_bytes(4, "big"))
    check(VideoFile(path), list(range(7, COUNT)))


@pytest.mark.parametrize(
    "turn", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
)
def test_turned_phones(turn, tmp_path):
    """The matrix maps a pixel (x, y) to (a x + c y, b x + d y)."""
    write_clip(tmp_path / "flat.mp4", range(3), Fraction(1, 30))
    flat = np.asarray(VideoFile(tmp_path / "flat.mp4").read([2])[0]).astype(int)
    path = set_matrix(write_clip(tmp_path / "turned.mp4", range(3), Fraction(1, 30)), turn)
    a, b, c, d = turn
    height, width = flat.shape[:2]
    y, x = np.mgrid[:height, :width]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    expected = np.zeros((down.max() + 1, across.max() + 1, 3), int)
    expected[down, across] = flat
    video = VideoFile(path)
    shown = np.asarray(video.read([2])[0]).astype(int)
    assert video.size == shown.shape[1::-1] == expected.shape[1::-1]
    assert np.abs(shown - expected).max() <= 1


def test_animated_pictures(tmp_path):
    """A GIF whose frames last 20 to 90 milliseconds."""
    frames = [Image.fromarray(numbered_frame(number)) for number in range(60)]
    durations = [20 + 10 * (number % 8) for number in range(60)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    check(VideoFile(tmp_path / "a.gif"), list(range(60)))
