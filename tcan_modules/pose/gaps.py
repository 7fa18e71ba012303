"""Fill frames in which the person was not found, from their neighbours.

Only whole poses are filled in. A joint that is missing while the person is visible stays missing.
"""

import numpy as np

from ..values import check_choice
from .choices import GAPS
from .skeleton import GROUPS, PoseTrack


def fill_gaps(track: PoseTrack, way: str = "interpolate") -> PoseTrack:
    """Fill the frames without the person and list them in ``filled``.

    Before the first pose and after the last one, both ways repeat it.

    Args:
        track: the person.
        way: ``interpolate`` moves each point straight from the last frame with the person to the next one, and leaves out a point that
            only one of the two shows; ``hold`` repeats the last pose.

    Raises:
        ValueError: the person is in no frame, or the way is unknown.
    """
    check_choice("gaps", way, GAPS)
    known = np.flatnonzero(track.present)
    if len(known) == 0:
        raise ValueError("Nobody was found in any frame: check the picture or video, or try another detector.")
    gaps = np.flatnonzero(~track.present)
    if len(gaps) == 0:
        return track
    after = np.searchsorted(known, gaps)
    before = known[np.maximum(after - 1, 0)]
    after = known[np.minimum(after, len(known) - 1)]
    if way == "hold":
        after = before
    share = np.where(after > before, (gaps - before) / np.maximum(after - before, 1), 0.0)[:, None, None]  # [gaps, 1, 1]
    groups = {}
    for name in GROUPS:
        array = getattr(track, name).copy()
        a, b = array[before], array[after]
        both = (a[..., 2:] > 0) & (b[..., 2:] > 0)
        array[gaps] = np.where(both, a * (1 - share) + b * share, 0.0)
        groups[name] = array
    return track.replaced(**groups, filled=[int(t) for t in gaps])


def describe_gaps(track: PoseTrack, way: str) -> str | None:
    """One sentence on the filled frames, or None if there are none."""
    if not track.filled:
        return None
    shown = ", ".join(str(t) for t in track.filled[:12]) + (", …" if len(track.filled) > 12 else "")
    done = "interpolated" if way == "interpolate" else "held"
    frames = f"{len(track.filled)} of {len(track)} frames ({shown})"
    return f"The driver was not found in {frames}; these poses are {done} from the neighbouring frames."
