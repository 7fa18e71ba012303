"""Bounds of pictures and poses, as the nodes' widgets have them.

Whatever exceeds them is refused before memory is taken.
"""

LONGEST_SIDE = 16384
# Detectors find nobody in a picture that is smaller, and some end the process.
SHORTEST_PICTURE = 8
RESOLUTIONS = (64, 4096)
# Pixels of all pictures of one node; as IMAGE they take 48 GiB.
MOST_PIXELS = 2**32
MOST_PEOPLE = 1000
# A keypoint farther away than this many canvases is no keypoint.
FARTHEST = 10


def check_drawing(frames: int, width: int, height: int) -> None:
    """Check that pictures are small enough to be drawn.

    Raises:
        ValueError: a side or the sum of all pixels is too large.
    """
    if max(width, height) > LONGEST_SIDE:
        raise ValueError(
            f"The pictures would be {width} x {height} pixels, but at most {LONGEST_SIDE} are drawn on a side: choose a smaller"
            " width and height, or correct the canvas in the JSON."
        )
    if frames * width * height > MOST_PIXELS:
        raise ValueError(
            f"{frames} pictures of {width} x {height} pixels would take {frames * width * height * 12 / 2**30:.0f} GiB of memory:"
            " draw smaller pictures or fewer frames at once."
        )


def check_picture(width: int, height: int, resolution: int) -> None:
    """Check that a picture has enough pixels for a detector, and not too many after resizing.

    Args:
        width: the picture's, in pixels.
        height: the picture's, in pixels.
        resolution: pixels of the shorter side after resizing.

    Raises:
        ValueError: the picture or the resolution is too small, or the longer side becomes too long.
    """
    least, most = RESOLUTIONS
    if not least <= resolution <= most:
        raise ValueError(f"The resolution is {resolution}: choose one between {least} and {most}.")
    if min(width, height) < SHORTEST_PICTURE:
        raise ValueError(
            f"The picture is {width} x {height} pixels, but poses need at least {SHORTEST_PICTURE} on each side: connect the"
            " picture of a person."
        )
    longest = max(width, height) * resolution / min(width, height)
    if longest > LONGEST_SIDE:
        raise ValueError(
            f"The picture is {width} x {height} pixels, and at a resolution of {resolution} its longer side would have"
            f" {longest:.0f}, more than {LONGEST_SIDE}: crop the picture or choose a lower resolution."
        )
