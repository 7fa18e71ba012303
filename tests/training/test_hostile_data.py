"""Damaged, foreign and mismatched training data: left out, or refused in one sentence that names the file."""

import json
import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from tcan_modules.training.datasets import VideoClips
from tcan_modules.training.faults import DataError, Guarded, collate, raised
from tcan_modules.training.frames import PictureFolder
from tcan_modules.training.pictures import open_picture
from tcan_modules.training.poses import find_poses
from tcan_modules.training.videos import find_videos

from .clips import HEIGHT, WIDTH, number_of, numbered_frame, write_clip

PERSON = {"pose_keypoints_2d": [value for joint in range(18) for value in (8 + joint, 8 + joint, 1.0)]}


def pictures(folder, names, size=(WIDTH, HEIGHT)):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(numbered_frame(number)).resize(size).save(folder / name)
    return folder


def poses(count, width=WIDTH, height=HEIGHT):
    return [{"people": [PERSON], "canvas_width": width, "canvas_height": height}] * count


def sentence(call, *names) -> str:
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text and len(text) < 500
    assert all(name in text for name in names), text
    return text


@pytest.mark.parametrize("name", ["{}.png", "frame_{}.jpg", "take2-{}.webp", "f{:02}.png"])
def test_frames_are_in_the_order_of_their_numbers(name, tmp_path):
    pictures(tmp_path / "a", [name.format(number) for number in range(1, 121)])
    (video,) = find_videos(tmp_path, 2)
    assert [number_of(picture) for picture in video.frames] == list(range(120))


def test_what_systems_leave_is_not_data(tmp_path):
    pictures(tmp_path / "a", ["1.png", "2.png"])
    write_clip(tmp_path / "b.mp4", range(8))
    for name in ("._b.mp4", "a/._1.png", ".DS_Store", "Thumbs.db", "a/Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    for folder in (".cache", "__MACOSX", ".ipynb_checkpoints"):
        pictures(tmp_path / folder, ["1.png", "2.png"])
    assert [(video.name, video.frames.count) for video in find_videos(tmp_path, 2)] == [("a", 2), ("b", 8)]


def test_the_log_names_what_is_not_read(tmp_path, caplog):
    caplog.set_level("INFO")
    pictures(tmp_path / "a", ["1.png", "2.png"])
    pictures(tmp_path / "short", ["1.png"])
    (tmp_path / "x.mp4").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    find_videos(tmp_path, 2)
    assert "no videos or folders of frames: notes.txt, x.mp4" in caplog.text
    assert "shorter than 2 frames: short" in caplog.text


def _sound(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _cut_off(path):
    write_clip(path, range(60))
    path.write_bytes(path.read_bytes()[:2000])


def _cut_off_matroska(path):
    write_clip(path.with_suffix(".mkv"), range(60), bf="0")
    whole = path.with_suffix(".mkv").read_bytes()
    path.with_suffix(".mkv").unlink()
    path.write_bytes(whole[:3] + whole[3:100])


def _damaged(path):
    write_clip(path, range(60), g="60", bf="0")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 1500
    data[middle : middle + 20] = bytes([255]) * 20
    path.write_bytes(data)


def _nowhere(path):
    path.symlink_to("nowhere.mp4")


def _circle(path):
    path.symlink_to(path.name)


BROKEN_VIDEOS = {
    "sound alone": _sound,
    "cut off": _cut_off,
    "cut off matroska": _cut_off_matroska,
    "damaged": _damaged,
    "text": lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "a link to nowhere": _nowhere,
    "a link to itself": _circle,
    "a pipe": os.mkfifo if hasattr(os, "mkfifo") else _nowhere,
}


@pytest.mark.parametrize("kind", BROKEN_VIDEOS)
def test_broken_videos_are_named(kind, tmp_path):
    pictures(tmp_path / "good", ["1.png", "2.png"])
    BROKEN_VIDEOS[kind](tmp_path / "bad.mp4")
    sentence(lambda: find_videos(tmp_path, 2), "bad.mp4")


def test_all_broken_videos_are_named_at_once(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(b"")
    text = sentence(lambda: find_videos(tmp_path, 2), "a.mp4", "b.mp4", "c.mp4")
    assert text.endswith("Mend or remove b.mp4, c.mp4 too.")


BROKEN_PICTURES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("x"),
    "a folder": lambda path: path.mkdir(),
    "a link to nowhere": _nowhere,
    "a pipe": os.mkfifo if hasattr(os, "mkfifo") else _nowhere,
    "another size": lambda path: Image.new("RGB", (WIDTH, HEIGHT + 2)).save(path),
    "twice": lambda path: Image.new("RGB", (WIDTH, HEIGHT)).save(path.with_name("2.jpg")),
}


@pytest.mark.parametrize("kind", BROKEN_PICTURES)
def test_broken_pictures_are_named(kind, tmp_path):
    folder = pictures(tmp_path / "a", ["1.png", "2.png", "4.png"])
    BROKEN_PICTURES[kind](folder / "3.png")
    sentence(lambda: find_videos(tmp_path, 2), "2.jpg" if kind == "twice" else "3.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_in_a_worker_is_one_sentence(workers, tmp_path):
    from torch.utils.data import DataLoader

    folder = pictures(tmp_path / "a", ["1.png", "2.png"])
    (tmp_path / "a.poses.json").write_text(json.dumps(poses(2)))
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:90])
    dataset = Guarded(VideoClips(find_videos(tmp_path, 2), 64, 2, seed=0))
    batches = iter(DataLoader(dataset, batch_sampler=[[0, 1]], num_workers=workers, collate_fn=collate))
    sentence(lambda: raised(batches), "2.png")


def test_a_worker_that_is_killed_is_one_sentence(tmp_path):
    from torch.utils.data import DataLoader

    batches = iter(DataLoader(_Ending(), batch_sampler=[[0]], num_workers=1, collate_fn=collate))
    sentence(lambda: raised(batches), "--workers")


class _Ending:
    def __getitem__(self, number):
        os._exit(9)


def test_pictures_of_every_mode(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    grey = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
    files = {
        name: tmp_path / name for name in ("16.png", "palette.png", "alpha.png", "one.png", "la.png", "cmyk.jpg", "lossless.webp")
    }
    Image.fromarray(ramp).save(files["16.png"])
    Image.fromarray(grey).convert("P").save(files["palette.png"], transparency=255)
    Image.merge("RGBA", [Image.fromarray(channel) for channel in (grey, grey, grey, 255 - grey)]).save(files["alpha.png"])
    Image.fromarray(grey).convert("LA").save(files["la.png"])
    Image.fromarray(255 * (grey > 127).astype(np.uint8)).convert("1").save(files["one.png"])
    Image.fromarray(grey).convert("RGB").convert("CMYK").save(files["cmyk.jpg"], quality=100)
    Image.fromarray(grey).convert("RGB").save(files["lossless.webp"], lossless=True)
    for name, file in files.items():
        shown = np.asarray(open_picture(file)).astype(int)
        expected = 255 * (grey > 127) if name == "one.png" else grey
        assert shown.shape == (4, 256, 3)
        assert np.abs(shown - expected[..., None]).max() <= (3 if name == "cmyk.jpg" else 1), name
    on_black = np.asarray(open_picture(files["alpha.png"], on_black=True)).astype(int)
    assert np.abs(on_black[..., 0] - grey * (255.0 - grey) / 255).max() <= 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_photos_are_turned_by_exif(suffix, tmp_path):
    lying = Image.fromarray(numbered_frame(0)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    folder = tmp_path / "a"
    folder.mkdir()
    for number in (1, 2):
        lying.save(folder / f"{number}.{suffix}", exif=exif)
    frames = PictureFolder(folder)
    (shown,) = frames.read([0])
    assert frames.size == shown.size == (WIDTH, HEIGHT)
    assert np.abs(np.asarray(shown).astype(int) - numbered_frame(0)).mean() < 5


def test_poses_of_another_video(tmp_path):
    pictures(tmp_path / "a", ["1.png", "2.png", "3.png"])
    cache = tmp_path / "a.poses.json"
    for content in (poses(2), poses(4), poses(3, HEIGHT, WIDTH), [], {"x": 1}, "{", 3, [{"people": 5}] * 3):
        cache.write_text(content if isinstance(content, str) else json.dumps(content))
        sentence(lambda: find_poses(find_videos(tmp_path, 2), "dwpose", 64, [], "cpu"), "a.poses.json")
    cache.write_text(json.dumps(poses(3, 2 * WIDTH, 2 * HEIGHT)))
    find_poses(find_videos(tmp_path, 2), "dwpose", 64, [], "cpu")


def test_pose_pictures_of_other_frames(tmp_path):
    pictures(tmp_path / "a" / "images", ["1.png", "2.png", "3.png"])
    pictures(tmp_path / "a" / "dwpose", ["0.png", "1.png", "3.png"])
    sentence(lambda: find_videos(tmp_path, 2), "3.png")
    pictures(tmp_path / "b" / "images", ["1.png", "2.png"])
    pictures(tmp_path / "b" / "dwpose", ["1.png", "2.png"], size=(HEIGHT, WIDTH))
    (tmp_path / "a" / "dwpose" / "3.png").rename(tmp_path / "a" / "dwpose" / "2.png")
    sentence(lambda: find_videos(tmp_path, 2), "proportions")
