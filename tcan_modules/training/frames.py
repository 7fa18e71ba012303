"""The frames of a video by number: a video file, or a folder of pictures.

A frame's number is its place in the order in which the file decodes from its start, as ffmpeg and OpenCV count. Its time says nothing:
phones record at uneven times, containers round them, and edit lists and missing keyframes move them. A file is therefore decoded once to
learn its frames, and each reading is checked against that.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from .faults import DataError, named
from .pictures import frame_size, open_picture, picture_size, upright

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_NO_SEEK = 32  # frames that are decoded as fast as a seek
# a playlist with a video's name would open other files and addresses
_ONLY_VIDEOS = {"format_whitelist": "mov,matroska,webm,avi,gif,mpegts,mpeg,flv,asf,ogg", "protocol_whitelist": "file"}
_NO_TIME = np.iinfo(np.int64).min


def is_foreign(entry: Path) -> bool:
    """Whether a system made it and not the user: ``._a.mp4``, ``.cache``, ``Thumbs.db``."""
    return entry.name.startswith(".") or entry.name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def name_order(path: Path) -> tuple:
    """The place of a name among others: numbers count as numbers, so that 2 comes before 10.

    Returns:
        The name's words and numbers without its suffix, then the whole name.
    """
    words = re.split(r"(\d+)", path.stem.casefold())
    return tuple(int(word) if place % 2 else word for place, word in enumerate(words)), path.name


class VideoFile:
    """The frames of a video file, turned upright.

    Raises:
        DataError: the file is no video, or is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.skipped = 0  # frames of a cut-out piece before its first keyframe, which lack what they are predicted from
        times, keys, self.size = [], [], (0, 0)
        with _opened(path) as (container, stream):
            whole = next(container.demux(stream)).is_keyframe  # an edit list may hide this one
        with _opened(path) as (container, stream):
            if whole:  # from broken packets, threads make other frames
                stream.thread_type = "AUTO"
            for number, frame in enumerate(_decode(container, stream)):
                if frame.key_frame and not whole and not any(keys):
                    times, keys, self.skipped, self.size = [], [], number, (0, 0)
                if frame.is_corrupt:
                    if times:
                        raise DataError(f"'{path}' is damaged at frame {number - self.skipped}: write it again, or remove it.")
                    self.skipped = number + 1
                    continue
                times.append(_NO_TIME if frame.pts is None else frame.pts)
                keys.append(bool(frame.key_frame))
                size = frame_size(frame)
                if self.size not in ((0, 0), size):
                    raise DataError(
                        f"'{path}' changes its size from {_by(self.size)} to {_by(size)}: convert it again to one size."
                    )
                self.size = size
        if not times:
            raise DataError(f"'{path}' holds no frame that can be decoded: convert it again, or remove it.")
        self.count, self._times = len(times), np.array(times, dtype=np.int64)
        self._anchors = self._find_anchors(np.flatnonzero(keys))

    def _find_anchors(self, keys: np.ndarray) -> np.ndarray:
        """The numbers of the frames at which decoding can start: the first, and keyframes ``[n]`` whose time no other frame has."""
        values, counts = np.unique(self._times, return_counts=True)
        once = values[(counts == 1) & (values != _NO_TIME)]
        return np.union1d([0], keys[np.isin(self._times[keys], once)]).astype(np.int64)

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The given frames (any order, counted from 0), RGB."""
        found: dict[int, Image.Image] = {}
        wanted = sorted(set(numbers))
        places = np.searchsorted(self._anchors, wanted, side="right") - 1
        for place in np.unique(places):
            group = {number for number, own in zip(wanted, places, strict=True) if own == place}
            if max(group) < _NO_SEEK:
                place = 0
            # a container may lead to a later frame than asked for: then from further ahead, and at last from the start
            for anchor in dict.fromkeys((place, max(place - 1, 0), 0)):
                read = self._read_from(int(self._anchors[anchor]), group)
                if read is not None:
                    break
            else:
                raise DataError(f"'{self.path}' no longer holds the frames that it held at the start of the run: run again.")
            found |= read
        return [found[number] for number in numbers]

    def _read_from(self, anchor: int, wanted: set[int]) -> dict[int, Image.Image] | None:
        """The wanted frames, or None if decoding from an anchor gives other frames than decoding from the start."""
        found = {}
        try:
            with _opened(self.path) as (container, stream):
                if anchor:
                    container.seek(int(self._times[anchor]), stream=stream)
                for number, frame in self._numbered(_decode(container, stream), anchor):
                    time = _NO_TIME if frame.pts is None else frame.pts
                    if number >= self.count or self._times[number] != time or frame.is_corrupt:
                        return None
                    if number in wanted:
                        found[number] = upright(frame)
                    if len(found) == len(wanted):
                        return found
        except DataError:
            if not anchor:
                raise
        return None

    def _numbered(self, frames: Iterator, anchor: int) -> Iterator[tuple]:
        """Frames with their numbers, from an anchor on."""
        if not anchor:
            yield from ((number, frame) for number, frame in enumerate(frames, -self.skipped) if number >= 0)
            return
        time = self._times[anchor]
        for frame in frames:
            if frame.pts == time:
                yield anchor, frame
                yield from enumerate(frames, anchor + 1)
            elif frame.pts is None or frame.pts > time:
                return

    def __iter__(self) -> Iterator[Image.Image]:
        """All frames in order, RGB; each is decoded once."""
        with _opened(self.path) as (container, stream):
            for _, frame in self._numbered(_decode(container, stream), 0):
                yield upright(frame)


class PictureFolder:
    """The pictures of a folder as frames, in the order of the numbers in their names.

    Args:
        path: the folder.
        poses: whether they are pose images, which stand on black.

    Raises:
        DataError: the pictures are no frames of one video.
    """

    def __init__(self, path: Path, poses: bool = False):
        self.path, self.poses = path, poses
        with named(path):
            entries = [entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES and not is_foreign(entry)]
        self.files = sorted(entries, key=name_order)
        self.count = len(self.files)
        self.size = (0, 0)
        for before, file in zip([None, *self.files], self.files, strict=False):
            if before is not None and name_order(before)[0] == name_order(file)[0]:
                raise DataError(f"'{path}' holds '{before.name}' and '{file.name}', which are one frame: remove one of them.")
            size = picture_size(file)
            if before is not None and size != self.size:
                raise DataError(
                    f"'{file}' is {_by(size)} and the frames before it are {_by(self.size)}: give all frames of a video one size."
                )
            self.size = size

    def read(self, numbers: list[int]) -> list[Image.Image]:
        """The given frames (any order, counted from 0), RGB."""
        return [open_picture(self.files[number], on_black=self.poses) for number in numbers]

    def __iter__(self) -> Iterator[Image.Image]:
        """All frames in order, RGB."""
        return (open_picture(file, on_black=self.poses) for file in self.files)

    def numbers(self) -> list[int] | None:
        """The last number in each name, or None if a name has none."""
        found = [[part for part in name_order(file)[0] if isinstance(part, int)] for file in self.files]
        return [own[-1] for own in found] if all(found) else None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@contextmanager
def _opened(path: Path) -> Iterator[tuple]:
    """A video file's container and its video stream, which is no cover picture."""
    import av

    with named(path), av.open(str(path), metadata_errors="replace", options=_ONLY_VIDEOS) as container:
        stream = container.streams.best("video")
        if stream is None:
            raise DataError(f"'{path}' holds no video, only sound or data: remove it.")
        yield container, stream


def _decode(container, stream) -> Iterator:
    """The frames of a stream from where it is.

    Packets before the first frame may be undecodable: in a cut-out piece they lack a keyframe.
    """
    import av

    begun = False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if begun:
                raise
            continue
        begun = begun or bool(frames)
        yield from frames
