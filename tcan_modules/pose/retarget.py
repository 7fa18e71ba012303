"""Retarget a driver's poses to the body of a character.

Implements the paper's appendix on pose retargeting (the authors' utils.py, ``relative_balanced_pose_transform``).

The pivot is the length from nose to neck. From the neck outwards, each bone takes the character's length (the larger of left and
right) and the driver's direction. In ``relative`` mode the length is scaled by how the driver's own bone changed since the first
frame (at most 1.1), so that foreshortening stays, and the neck moves as the driver's does. In ``absolute`` mode both stay
constant. Unlike the authors' code, positions are not truncated to whole pixels, and missing joints, bones and pivots are replaced
by sensible ones.

All lengths are pixels of the character's picture. Arrays are ``[frames, …]``.
"""

import numpy as np

from ..values import check_choice
from .choices import FITS, MODES
from .extremities import follow_body
from .skeleton import BONES, L_SHOULDER, MIRRORED, NECK, NOSE, PARENT, R_SHOULDER, PoseTrack, person_size

LONGEST_GROWTH = 1.1
# The direction of a bone shorter than this share of the character's pivot is noise: it does not get the character's length.
SHORTEST_SHARE = 0.1
# A length below this share of the whole person counts as zero.
NOTHING = 1e-4
# The shortest pivot that a frame may have, as a share of the video's median.
SHORTEST_PIVOT = 0.5
# A first pose is typical if its neck is within this many sizes of the person from that of most of the frames after it.
START_REACH = 0.5
START_FRAMES = 5

_BONES = np.array(BONES)
_PARENTS = np.array([PARENT[bone] for bone in BONES])


def retarget(character: PoseTrack, driving: PoseTrack, mode: str = "relative", fit: str = "authors") -> PoseTrack:
    """Put the character's body into the driving poses, on the character's canvas.

    Joints that the driver lacks stay missing.

    Args:
        character: one frame.
        driving: the driver.
        mode: ``relative`` or ``absolute``, see above.
        fit: how the driver's size and travel are measured. ``authors``: exactly their procedure, which takes the neck's travel in
            fractions of the driver's picture, so that it depends on that picture's size and aspect ratio. ``to_scale``: in pixels,
            scaled like the body, so that it does not. ``keep_character``: the neck stays at the character's, and in ``relative`` mode
            the driver's growing and shrinking as a whole (nearing or leaving the camera) is ignored, so that the character keeps its
            place and size in its picture.

    Raises:
        ValueError: the character shows no neck, or the mode or fit is unknown.
    """
    check_choice("mode", mode, MODES)
    check_choice("fit", fit, FITS)
    if not character.seen[0, NECK]:
        raise ValueError(
            "The character's neck was not found, and all bones hang on it: use a picture that shows both"
            " shoulders, try another detector, or add the neck in a pose editor."
        )
    lengths = character_lengths(character)
    scale = body_scale(lengths, character, driving)
    neck = driver_neck(driving, character, scale)
    # From here on the driver's neck counts as seen: bones hang on where it is or would be.
    points, seen = driving.points.copy(), driving.seen.copy()
    points[:, NECK], seen[:, NECK] = neck, True
    if fit == "authors":
        # As if the driver's picture had the area of the character's, so that the video's resolution does not matter.
        unit = np.full(len(driving), picture_scale(character, driving))
    else:
        unit = scale
    vectors, linked = bone_vectors(points, seen)
    new_lengths = bone_lengths(lengths, vectors, linked, scale, unit, mode, fit)
    start = character.points[0, NECK] + neck_travel(neck, scale, character, driving, mode, fit)
    new = hang_bones(points, seen, start, vectors, linked, new_lengths, scale)
    body = np.concatenate([np.where(driving.seen[..., None], new, 0.0), driving.seen[..., None].astype(float)], axis=-1)
    return driving.replaced(body=body, **follow_body(driving, body, scale), width=character.width, height=character.height)


def character_lengths(character: PoseTrack) -> np.ndarray:
    """The character's bone lengths in pixels ``[18]``, the larger of left and right.

    NaN for a bone that is seen on neither side.
    """
    points, seen = character.points[0], character.seen[0]
    lengths = np.full(len(points), np.nan)
    for bone in BONES:
        if seen[bone] and seen[PARENT[bone]]:
            lengths[bone] = np.linalg.norm(points[bone] - points[PARENT[bone]])
    for pair in MIRRORED:
        lengths[list(pair)] = np.fmax(*lengths[list(pair)])
    return lengths


def bone_vectors(points: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bones as vectors from parent to joint.

    Args:
        points: ``[frames, 18, 2]``.
        seen: bool ``[frames, 18]``.

    Returns:
        The vectors ``[frames, 18, 2]``, and whether both ends are seen, bool ``[frames, 18]``; the other vectors are zero.
    """
    vectors = np.zeros_like(points)
    linked = np.zeros_like(seen)
    linked[:, _BONES] = seen[:, _BONES] & seen[:, _PARENTS]
    vectors[:, _BONES] = np.where(linked[:, _BONES, None], points[:, _BONES] - points[:, _PARENTS], 0.0)
    return vectors, linked


def pivot_length(lengths: np.ndarray) -> float:
    """The character's pivot in pixels: nose to neck, or else the median of its bones.

    Args:
        lengths: bone lengths ``[18]``, NaN if unseen.

    Returns:
        The length; 0 if no bone has one.
    """
    if np.nan_to_num(lengths[NOSE]) > 0:
        return float(lengths[NOSE])
    known = lengths[np.nan_to_num(lengths) > 0]
    return float(np.median(known)) if len(known) else 0.0


def body_scale(lengths: np.ndarray, character: PoseTrack, driving: PoseTrack) -> np.ndarray:
    """Size of the character over the driver's: the ratio of their pivots.

    Frames in which the driver's pivot is unseen or has no length take it from the neighbouring frames; one much shorter than usual (a
    bow) counts as half of the usual. Without any pivot, the scale is the median ratio of all bones that both show; without such bones,
    that of the boxes around the joints that both show; without those, the ratio of the pictures.

    Args:
        lengths: the character's bone lengths ``[18]``, NaN if unseen.
        character: one frame.
        driving: the driver.

    Returns:
        ``[frames]``.
    """
    vectors, linked = bone_vectors(driving.points, driving.seen)
    driver = np.linalg.norm(vectors, axis=-1)
    longer = linked & (driver > NOTHING * person_size(driving.points, driving.seen)[:, None])
    if np.nan_to_num(lengths[NOSE]) > 0 and longer[:, NOSE].any():
        pivot = np.where(longer[:, NOSE], driver[:, NOSE], np.nan)
        return lengths[NOSE] / np.maximum(_interpolated(pivot), SHORTEST_PIVOT * np.nanmedian(pivot))
    usable = longer & (np.nan_to_num(lengths) > 0)
    if usable.any():
        return np.full(len(driver), np.median(np.broadcast_to(lengths, driver.shape)[usable] / driver[usable]))
    both = driving.seen & character.seen
    new, old = (person_size(np.broadcast_to(each.points, driving.points.shape), both) for each in (character, driving))
    usable = (new > 0) & (old > 0)
    ratio = np.median(new[usable] / old[usable]) if usable.any() else picture_scale(character, driving)
    return np.full(len(driver), ratio)


def picture_scale(character: PoseTrack, driving: PoseTrack) -> float:
    """Size of the character's picture over the driver's: root of the ratio of their areas."""
    return float(np.sqrt(character.width * character.height / (driving.width * driving.height)))


def bone_lengths(
    lengths: np.ndarray,
    vectors: np.ndarray,
    linked: np.ndarray,
    scale: np.ndarray,
    unit: np.ndarray,
    mode: str,
    fit: str,
) -> np.ndarray:
    """New length of each bone in pixels.

    A bone that the character lacks keeps the driver's proportion. A bone that is too short keeps the driver's length.

    Args:
        lengths: the character's bone lengths ``[18]``, NaN if unseen.
        vectors: the driver's bones ``[frames, 18, 2]``.
        linked: bool ``[frames, 18]``, as ``bone_vectors`` returns it.
        scale: scale of the whole body ``[frames]``.
        unit: pixels of the character's picture for one of the driver's ``[frames]``, for bones that are too short.
        mode: as in ``retarget``.
        fit: as in ``retarget``.

    Returns:
        ``[frames, 18]``.
    """
    driver = np.linalg.norm(vectors, axis=-1)
    target = np.nan_to_num(lengths)
    if mode == "relative":
        target = target * np.clip(growth(driver, linked, fit), 0.0, LONGEST_GROWTH)
    short = SHORTEST_SHARE * pivot_length(lengths)
    new = np.where(driver * unit[:, None] < short, driver * unit[:, None], target)
    new = np.where(np.nan_to_num(lengths, nan=-1.0) >= short, new, driver * scale[:, None])
    if np.nan_to_num(lengths[NOSE]) > 0:
        new[:, NOSE] = lengths[NOSE]
    return new


def growth(driver: np.ndarray, linked: np.ndarray, fit: str) -> np.ndarray:
    """Length of each of the driver's bones over that in the first frame that shows it.

    With ``keep_character`` the growth of the whole person, the median over the bones, is divided out.

    Args:
        driver: bone lengths ``[frames, 18]``.
        linked: bool ``[frames, 18]``, as ``bone_vectors`` returns it.
        fit: as in ``retarget``.

    Returns:
        ``[frames, 18]``; 1 for bones that are unseen or have no length.
    """
    linked = linked & (driver > 0)
    first = np.take_along_axis(driver, linked.argmax(axis=0)[None], axis=0)
    usable = linked & (first > 0)
    change = np.where(usable, driver / np.where(first > 0, first, 1.0), np.nan)
    if fit == "keep_character":
        any_bone = usable.any(axis=1)
        whole = np.ones(len(change))
        whole[any_bone] = np.nanmedian(change[any_bone], axis=1)
        change = change / whole[:, None]
    return np.where(np.isfinite(change), change, 1.0)


def driver_neck(driving: PoseTrack, character: PoseTrack, scale: np.ndarray) -> np.ndarray:
    """The driver's neck in every frame, or where it would be.

    Unseen, it is the middle of the shoulders. Without both, it keeps its offset from the joints that are seen both in this frame and in
    the nearest frame with a neck. Without such a frame, the character's proportions place it from the joints that both show.

    Args:
        driving: the driver.
        character: one frame.
        scale: scale of the whole body ``[frames]``.

    Returns:
        ``[frames, 2]`` in pixels of the driver's picture.
    """
    points, seen = driving.points, driving.seen
    neck = np.where(seen[:, [NECK]], points[:, NECK], np.nan)
    shoulders = ~seen[:, NECK] & seen[:, R_SHOULDER] & seen[:, L_SHOULDER]
    neck[shoulders] = (points[shoulders, R_SHOULDER] + points[shoulders, L_SHOULDER]) / 2
    known = np.flatnonzero(np.isfinite(neck[:, 0]))
    for t in np.flatnonzero(~np.isfinite(neck[:, 0])):
        for near in known[np.argsort(np.abs(known - t), kind="stable")]:
            both = seen[t] & seen[near]
            if both.any():
                neck[t] = (points[t, both] - points[near, both] + neck[near]).mean(axis=0)
                break
        else:
            both = seen[t] & character.seen[0]
            if both.any():
                neck[t] = (points[t, both] + (character.points[0, NECK] - character.points[0, both]) / scale[t]).mean(axis=0)
            else:
                neck[t] = points[t, seen[t]].mean(axis=0) if seen[t].any() else 0.0
    return neck


def neck_travel(neck: np.ndarray, scale: np.ndarray, character: PoseTrack, driving: PoseTrack, mode: str, fit: str) -> np.ndarray:
    """How far the character's neck moves from its place.

    Args:
        neck: the driver's neck ``[frames, 2]``, in its own pixels.
        scale: scale of the whole body ``[frames]``.
        character: one frame.
        driving: the driver.
        mode: as in ``retarget``.
        fit: as in ``retarget``.

    Returns:
        ``[frames, 2]`` in pixels.
    """
    if mode == "absolute" or fit == "keep_character":
        return np.zeros_like(neck)
    travel = (neck - neck[typical_start(neck, driving)]) * scale[:, None]
    if fit == "authors":
        travel = travel * [character.width / driving.width, character.height / driving.height]
    return travel


def typical_start(neck: np.ndarray, driving: PoseTrack) -> int:
    """The first frame with the driver whose neck is near that of the frames after it.

    A false find is no start.

    Args:
        neck: the driver's neck ``[frames, 2]``.
        driving: the driver.
    """
    present = np.flatnonzero(driving.present)
    sizes = person_size(driving.points, driving.seen)
    for i, t in enumerate(present[:-2]):
        after = present[i + 1 : i + 1 + START_FRAMES]
        jump = np.linalg.norm(np.median(neck[after], axis=0) - neck[t])
        if jump <= START_REACH * max(sizes[t], np.median(sizes[after])):
            return int(t)
    return int(present[0]) if len(present) else 0


def hang_bones(
    points: np.ndarray,
    seen: np.ndarray,
    start: np.ndarray,
    vectors: np.ndarray,
    linked: np.ndarray,
    new_lengths: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Place the joints from the neck outwards: the driver's directions, the new lengths.

    A joint whose parent is unseen hangs on the nearest seen joint before it, at the driver's distance times the body's scale.

    Args:
        points: the driver's joints ``[frames, 18, 2]``.
        seen: bool ``[frames, 18]``.
        start: the new neck ``[frames, 2]``.
        vectors: the driver's bones ``[frames, 18, 2]``.
        linked: bool ``[frames, 18]``, as ``bone_vectors`` returns it.
        new_lengths: ``[frames, 18]``.
        scale: scale of the whole body ``[frames]``.

    Returns:
        ``[frames, 18, 2]``.
    """
    driver = np.linalg.norm(vectors, axis=-1)
    stretch = np.divide(new_lengths, driver, out=np.zeros_like(driver), where=driver > 0)
    # Each joint's position in the new pose and in the driver's, or that of the nearest seen joint before it.
    new, old = np.zeros_like(points), np.zeros_like(points)
    new[:, NECK], old[:, NECK] = start, points[:, NECK]
    for bone in BONES:
        parent = PARENT[bone]
        step = np.where(
            linked[:, bone, None],
            vectors[:, bone] * stretch[:, bone, None],
            (points[:, bone] - old[:, parent]) * scale[:, None],
        )
        new[:, bone] = np.where(seen[:, bone, None], new[:, parent] + step, new[:, parent])
        old[:, bone] = np.where(seen[:, bone, None], points[:, bone], old[:, parent])
    return new


def _interpolated(values: np.ndarray) -> np.ndarray:
    """Replace NaN in ``values [frames]`` by interpolation, held at both ends."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known])
