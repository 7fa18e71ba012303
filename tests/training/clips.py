"""Videos as phones, cameras and cutters make them, for the tests of training data.

Each frame shows its number: a row of black and white squares, the lowest bit on the left.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, SQUARE = 8, 8
WIDTH, HEIGHT = 2 * BITS * SQUARE, 32  # the numbers stand in the left half


def numbered_frame(number: int) -> np.ndarray:
    """A frame that shows a number, uint8 ``[HEIGHT, WIDTH, 3]``; its right half is darker below."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        frame[: HEIGHT // 2, bit * SQUARE : (bit + 1) * SQUARE] = 255 * (number >> bit & 1)
    frame[: HEIGHT // 2, WIDTH // 2 :] = 128
    return frame


def number_of(picture) -> int:
    """The number that an upright frame shows."""
    pixels = np.asarray(picture.convert("L"))[HEIGHT // 4]
    return sum(int(pixels[bit * SQUARE + SQUARE // 2] > 128) << bit for bit in range(BITS))


def write_clip(path: Path, times, base=Fraction(1, 1000), codec="libx264", **settings) -> Path:
    """A clip of numbered frames.

    Args:
        path: the file.
        times: of each frame, in units of ``base``; None leaves them to the container.
        base: the time base in seconds.
        codec: the encoder.
        settings: of the encoder, such as ``g="10"`` for the distance of keyframes and ``bf="2"`` for B-frames.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=settings.pop("rate", 30), options={"crf": "5", "g": "12", **settings})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if base is not None:
            stream.codec_context.time_base = base
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy_packets(source: Path, target: Path, keep, retime=lambda index, time: time) -> Path:
    """Copy a clip's packets without encoding them again.

    Args:
        source, target: the files.
        keep: a function of a packet's index that decides whether it is copied.
        retime: a function of index and time that gives its new time.
    """
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for index, packet in enumerate(read.demux(stream)):
            if packet.dts is not None and keep(index):
                packet.stream = copy
                packet.pts = retime(index, packet.pts)
                written.mux(packet)
    return target


def patch_box(path: Path, box: bytes, offset: int, content: bytes) -> Path:
    """Overwrite bytes of the first box of a kind in an MP4; ``offset`` counts from the end of its name."""
    data = bytearray(path.read_bytes())
    start = data.index(box) + 4 + offset
    data[start : start + len(content)] = content
    path.write_bytes(data)
    return path


def set_matrix(path: Path, turn: tuple[int, int, int, int]) -> Path:
    """Write the display matrix ``a b c d`` into an MP4's track header (ISO 14496-12, section 8.3.2)."""
    a, b, c, d = (number << 16 for number in turn)
    return patch_box(
        path, b"tkhd", 40, b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    )
