"""The steps of retargeting in their order.

Choose a person, fill gaps, smooth, retarget, crop.
"""

from dataclasses import dataclass

from .crop import crop_track, kept_share
from .gaps import fill_gaps
from .people import choose_person
from .retarget import retarget
from .skeleton import PoseFrame, PoseTrack
from .smoothing import smooth


@dataclass(frozen=True)
class RetargetOptions:
    """How poses are retargeted.

    The defaults are the authors' procedure for the largest person.
    """

    mode: str = "relative"
    fit: str = "authors"
    driving_person: str = "largest"
    driving_index: int = 0
    character_person: str = "largest"
    character_index: int = 0
    gaps: str = "interpolate"
    smoothing: str = "off"
    smoothing_strength: float = 0.5
    crop: bool = False


@dataclass(frozen=True)
class Retargeted:
    """Retargeted poses, with the tracks they were made from.

    With the crop, ``character`` and ``poses`` have the cut canvas.

    Attributes:
        character: the character, 1 frame.
        driving: the chosen driver, with gaps filled and smoothed.
        poses: the driver's poses with the character's body.
        share: how much of the canvas' height the crop keeps, 0..1.
    """

    character: PoseTrack
    driving: PoseTrack
    poses: PoseTrack
    share: float


def retarget_frames(
    character: list[PoseFrame], driving: list[PoseFrame], options: RetargetOptions = RetargetOptions()
) -> Retargeted:
    """Retarget the driving frames to the first frame of ``character``.

    Raises:
        ValueError: one of the two shows nobody, the character shows no neck, or an option is unknown.
    """
    body = _named("character", choose_person, character[:1], options.character_person, options.character_index)
    driver = _named("driving video", choose_person, driving, options.driving_person, options.driving_index)
    driver = smooth(fill_gaps(driver, options.gaps), options.smoothing, options.smoothing_strength)
    poses = retarget(body, driver, options.mode, options.fit)
    share = kept_share(body) if options.crop else 1.0
    return Retargeted(crop_track(body, share), driver, crop_track(poses, share), share)


def _named(whose: str, step, *arguments):
    """Call a step and name in its error whose poses are wrong."""
    try:
        return step(*arguments)
    except ValueError as error:
        raise ValueError(f"In the poses of the {whose}: {error}") from None
