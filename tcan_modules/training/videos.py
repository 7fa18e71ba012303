"""The videos of a training folder.

They are video files, folders of pictures, or the authors' TikTok layout (authors' ``dataset.py``): a folder for each clip with
``images.mp4`` and ``dwpose.mp4``, or with folders of pictures ``images/`` and ``dwpose/``. All may lie in the subfolder ``train/``.
"""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..log import log
from .faults import DataError, named
from .frames import PictureFolder, VideoFile, is_foreign
from .pictures import same_proportions

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
POSE_NAMES = ("dwpose", "openpose", "pose")
_NAMED = 5  # names in a sentence


@dataclass(frozen=True)
class Video:
    """A clip, with its pose images if the data set has them."""

    name: str
    frames: VideoFile | PictureFolder
    poses: VideoFile | PictureFolder | None
    cache: Path  # the file for detected keypoints


def find_videos(root: Path, minimum: int) -> list[Video]:
    """All clips of at least ``minimum`` frames in a folder, by name.

    The log names what is not read.

    Raises:
        DataError: there is none, or a clip is damaged, or its frames and poses differ in number, names or proportions.
    """
    root = root / "train" if (root / "train").is_dir() else root
    if not root.is_dir():
        raise DataError(
            f"'{root}' is not a folder: give --data the folder with the videos (or with a folder of frames for each)."
        )
    videos, short, others, faults = [], [], [], {}
    with named(root):
        entries = sorted(entry for entry in root.iterdir() if not is_foreign(entry) and not entry.name.endswith(".poses.json"))
    for entry in tqdm(entries, desc="reading videos", disable=not entries):
        try:
            with named(entry):
                video = _video(entry)
        except DataError as error:
            faults[entry.name] = error
            continue
        if video is None:
            others.append(entry.name)
        else:
            (short if video.frames.count < minimum else videos).append(video)
    if faults:
        first, *more = faults
        raise DataError(f"{faults[first]}{f' Mend or remove {_some(more)} too.' if more else ''}")
    if others:
        log.info("not read, because they are no videos or folders of frames: %s", _some(others))
    if not videos:
        raise DataError(
            f"'{root}' holds no video of at least {minimum} frames ({len(short)} are shorter): put videos ({', '.join(VIDEOS)}), a folder"
            " of frames for each video, or the TikTok layout (a folder for each clip with images.mp4 and dwpose.mp4) there."
        )
    if short:
        log.info("not used, because they are shorter than %d frames: %s", minimum, _some([video.name for video in short]))
    return videos


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _video(entry: Path) -> Video | None:
    suffix = entry.suffix.lower()
    if entry.is_file():
        return _checked(Video(entry.stem, VideoFile(entry), None, _cache(entry))) if suffix in VIDEOS else None
    if not entry.is_dir():
        if suffix in VIDEOS or entry.is_symlink():
            raise DataError(f"'{entry}' is neither a file nor a folder (perhaps a link to nowhere): remove it or mend it.")
        return None
    if frames := _source(entry, "images"):
        poses = next((source for name in POSE_NAMES if (source := _source(entry, name, poses=True))), None)
        return _checked(Video(entry.name, frames, poses, entry / "poses.json"))
    folder = PictureFolder(entry)
    return Video(entry.name, folder, None, _cache(entry)) if folder.count else None


def _cache(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.poses.json")


def _source(folder: Path, name: str, poses: bool = False) -> VideoFile | PictureFolder | None:
    files = {file.suffix.lower(): file for file in sorted(folder.iterdir()) if file.stem == name and file.is_file()}
    for suffix in VIDEOS:
        if suffix in files:
            return VideoFile(files[suffix])
    return PictureFolder(folder / name, poses) if (folder / name).is_dir() else None


def _checked(video: Video) -> Video:
    """A video whose frames and poses belong together.

    Raises:
        DataError: they do not.
    """
    frames, poses = video.frames, video.poses
    if poses is None:
        return video
    if poses.count != frames.count:
        raise DataError(f"'{frames.path.parent}' has {frames.count} frames and {poses.count} poses: give every frame one pose.")
    if frames.count and not same_proportions(frames.size, poses.size):
        raise DataError(
            f"The frames of '{frames.path.parent}' are {frames.size[0]} x {frames.size[1]} and its poses {poses.size[0]} x"
            f" {poses.size[1]}: give poses of the same proportions."
        )
    if isinstance(frames, PictureFolder) and isinstance(poses, PictureFolder):
        own, other = frames.numbers(), poses.numbers()
        if own and other:
            for frame, pose, number, posed in zip(frames.files, poses.files, own, other, strict=True):
                if number - own[0] != posed - other[0]:
                    raise DataError(
                        f"In '{frames.path.parent}' the frame '{frame.name}' would get the pose '{pose.name}': give every frame its pose,"
                        " with the same number."
                    )
    return video
