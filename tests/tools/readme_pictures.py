"""Make the puppet's pictures of README and template browser from the demo's video.

python dev.py python -m tests.tools.readme_pictures
"""

import sys

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.helpers.scratch import ROOT
from tests.helpers.workflow_files import WORKFLOWS
from tests.tools.demo import truth

BACKGROUND, INK = (24, 26, 31), (220, 220, 220)
SHOWN = (0, 11, 22, 33, 44)  # frames of the demo


def captioned(columns: list[tuple[str, np.ndarray]], side: int, margin: int = 9) -> Image.Image:
    """Pictures beside each other, each with its caption below."""
    sheet = Image.new("RGB", (len(columns) * (side + margin) + margin, side + margin + 26), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (caption, picture) in enumerate(columns):
        left = margin + number * (side + margin)
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC), (left, margin))
        draw.text((left, side + margin + 4), caption, INK, font)
    return sheet


def main() -> None:
    video = ROOT / "output" / "tcan_demo.mp4"
    if not video.exists():
        sys.exit(f"{video} is not there: run python dev.py demo first.")
    with av.open(str(video)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    puppet, poses, results = np.split(frames, 3, axis=2)
    truths = truth(len(frames)).frames
    captions = ("the character: one picture", "the poses of a motion", "the result")
    pictures = (puppet[0], poses[SHOWN[0]], results[SHOWN[0]])
    captioned(list(zip(captions, pictures, strict=True)), 202).save(WORKFLOWS / "puppet.jpg", quality=90)
    sheets = [
        captioned([("the character", puppet[0]), *((f"{kind}, frame {frame}", clip[frame]) for frame in SHOWN)], 150)
        for kind, clip in (("poses", poses), ("result", results), ("truth", truths))
    ]
    whole = Image.new("RGB", (sheets[0].width, sum(sheet.height for sheet in sheets)), BACKGROUND)
    for number, sheet in enumerate(sheets):
        whole.paste(sheet, (0, number * sheet.height))
    whole.save(ROOT / "docs" / "images" / "puppet.jpg", quality=88)


if __name__ == "__main__":
    main()
