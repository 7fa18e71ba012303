"""Preview of a retargeting: character, driver and retargeted skeleton side by side."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..maths.pictures import rgb
from .draw import as_image, draw_frames
from .skeleton import PoseTrack

PANEL_HEIGHT = 384
# A longer video shows this many frames, evenly spread.
MOST_FRAMES = 48
DIMMED = 0.45
LABEL_HEIGHT = 18
# A panel of a wider canvas is as wide as this, with black above and below.
WIDEST_PANEL = 4 * PANEL_HEIGHT


def side_by_side(
    character: PoseTrack,
    driving: PoseTrack,
    poses: PoseTrack,
    character_image: torch.Tensor | None = None,
    driving_images: torch.Tensor | None = None,
    hands: bool = False,
) -> torch.Tensor:
    """Draw three panels for each of at most ``MOST_FRAMES`` frames.

    Skeletons are drawn over the dimmed pictures, if given. A label marks the frames in which nobody was found.

    Args:
        character: the character, 1 frame.
        driving: the driver.
        poses: the retargeted poses.
        character_image: IMAGE ``[1 or frames, height, width, channels]`` of any size, cut like the poses.
        driving_images: IMAGE ``[frames, height, width, channels]`` of any size.
        hands: draws hands too.

    Returns:
        IMAGE ``[frames, PANEL_HEIGHT, width, 3]``.
    """
    count = len(driving)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
    left = _panels(character, [0], character_image, "character", hands).expand(len(shown), -1, -1, -1)
    middle = _panels(driving, shown, driving_images, "driver", hands)
    right = _panels(poses, shown, character_image, "retargeted", hands)
    return torch.cat([left, middle, right], dim=2)  # [frames, height, width, 3]


def _panels(track: PoseTrack, shown, images: torch.Tensor | None, title: str, hands: bool) -> torch.Tensor:
    """Draw one panel for each shown frame of a track.

    Args:
        track: the poses.
        shown: indices of the frames.
        images: IMAGE ``[frames, height, width, channels]``; the last picture serves for all frames after it.
        title: the label.
        hands: draws hands too.

    Returns:
        ``[shown, PANEL_HEIGHT, width, 3]``.
    """
    frames = track.frames()
    width = min(max(1, round(track.width * PANEL_HEIGHT / track.height)), WIDEST_PANEL)
    height = PANEL_HEIGHT if width < WIDEST_PANEL else max(1, round(track.height * width / track.width))
    panels = as_image(draw_frames([frames[t] for t in shown], width, PANEL_HEIGHT, hands))
    for panel, t in zip(panels, shown):
        if images is not None:
            drawn = (panel > 0).any(dim=-1, keepdim=True)
            panel.copy_(torch.where(drawn, panel, DIMMED * _resized(images[min(t, len(images) - 1)], width, height)))
        _label(panel, f"{title}, nobody found" if t in track.filled else title)
    return panels


def _resized(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Resize a picture ``[h, w, channels]`` to ``width`` x ``height``, in the middle of a panel ``[PANEL_HEIGHT, width, 3]``."""
    picture = Image.fromarray((rgb(image[None])[0].clamp(0, 1) * 255).to(torch.uint8).cpu().numpy())
    panel = Image.new("RGB", (width, PANEL_HEIGHT))
    panel.paste(picture.resize((width, height), Image.Resampling.BILINEAR), (0, (PANEL_HEIGHT - height) // 2))
    return torch.from_numpy(np.asarray(panel).astype(np.float32) / 255)


def _label(panel: torch.Tensor, text: str) -> None:
    """Write a line of text into the top left corner of a panel ``[h, w, 3]``, in place."""
    strip = Image.new("L", (panel.shape[1], LABEL_HEIGHT))
    ImageDraw.Draw(strip).text((6, 3), text, fill=255)
    written = torch.from_numpy(np.asarray(strip).astype(np.float32) / 255)[..., None]
    panel[:LABEL_HEIGHT] = torch.maximum(panel[:LABEL_HEIGHT], written)
