"""Videos of a training folder, read frame by frame.

They are video files, folders of pictures, or the authors' TikTok layout (authors' ``dataset.py``): a folder for each clip with
``images.mp4`` and ``dwpose.mp4``, or with folders of pictures ``images/`` and ``dwpose/``. All may lie in the subfolder ``train/``.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
POSE_NAMES = ("dwpose", "openpose", "pose")


class VideoFile:
    """The frames of a video file by number."""

    def __init__(self, path: Path):
        import av

        self.path = path
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # some files do not state their number of frames: count packets, which needs no decoding
            self.count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The given frames (any order, counted from 0), RGB."""
        import av

        wanted, found = set(numbers), {}
        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            first = self._seek(container, stream, min(wanted))
            for number, frame in enumerate(container.decode(stream), first):
                if number in wanted:
                    found[number] = frame.to_image()
                if len(found) == len(wanted):
                    break
        last = found[max(found)] if found else None
        if last is None:
            raise ValueError(f"'{self.path}' cannot be decoded at frame {min(wanted)}: convert it again (ffmpeg -i … out.mp4).")
        return [found.get(number, last) for number in numbers]

    def _seek(self, container, stream, number: int) -> int:
        """Seek to the keyframe before a frame, if the rate is constant.

        Returns:
            The number of the frame that is decoded next.
        """
        if number < 32 or not stream.average_rate or not stream.time_base:
            return 0
        per_frame = 1 / (stream.average_rate * stream.time_base)
        start = stream.start_time or 0
        container.seek(int(start + number * per_frame), stream=stream)
        frame = next(container.decode(stream), None)
        if frame is None or frame.pts is None:
            container.seek(start, stream=stream)
            return 0
        reached = round((frame.pts - start) / per_frame)
        container.seek(frame.pts, stream=stream)
        return reached


class PictureFolder:
    """The pictures of a folder as frames, in the order of their names."""

    def __init__(self, path: Path):
        self.path = path
        self.files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        self.count = len(self.files)

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The given frames (any order, counted from 0), RGB."""
        return [Image.open(self.files[number]).convert("RGB") for number in numbers]


@dataclass(frozen=True)
class Video:
    """A clip, with its pose images if the data set has them."""

    name: str
    frames: VideoFile | PictureFolder
    poses: VideoFile | PictureFolder | None
    cache: Path  # the file for detected keypoints


def find_videos(root: Path, minimum: int) -> list[Video]:
    """All clips of at least ``minimum`` frames in a folder, by name.

    Raises:
        ValueError: there is none, or a clip's numbers of frames and poses differ.
    """
    root = root / "train" if (root / "train").is_dir() else root
    if not root.is_dir():
        raise ValueError(
            f"'{root}' is not a folder: give --data the folder with the videos (or with a folder of frames for each)."
        )
    videos, short = [], 0
    for entry in sorted(root.iterdir()):
        video = _video(entry)
        if video is None:
            continue
        if video.poses is not None and video.poses.count != video.frames.count:
            raise ValueError(
                f"'{entry}' has {video.frames.count} frames and {video.poses.count} poses: give every frame one pose."
            )
        if video.frames.count < minimum:
            short += 1
        else:
            videos.append(video)
    if not videos:
        raise ValueError(
            f"'{root}' holds no video of at least {minimum} frames ({short} are shorter): put videos ({', '.join(VIDEOS)}), a folder of"
            " frames for each video, or the TikTok layout (a folder for each clip with images.mp4 and dwpose.mp4) there."
        )
    return videos


def _video(entry: Path) -> Video | None:
    if entry.is_file():
        if entry.suffix.lower() not in VIDEOS:
            return None
        return Video(entry.stem, VideoFile(entry), None, entry.with_name(f"{entry.name}.poses.json"))
    if frames := _source(entry, "images"):
        poses = next((source for name in POSE_NAMES if (source := _source(entry, name))), None)
        return Video(entry.name, frames, poses, entry / "poses.json")
    folder = PictureFolder(entry)
    return Video(entry.name, folder, None, entry.with_name(f"{entry.name}.poses.json")) if folder.count else None


def _source(folder: Path, name: str) -> VideoFile | PictureFolder | None:
    for suffix in VIDEOS:
        if (folder / f"{name}{suffix}").is_file():
            return VideoFile(folder / f"{name}{suffix}")
    return PictureFolder(folder / name) if (folder / name).is_dir() else None
