"""Draw the help pages' pictures with the nodes' own code.

python dev.py python -m tests.tools.help_pictures
"""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from tcan_modules.maths.temperature import build_maps
from tcan_modules.maths.temperature_preview import heat_colors, preview
from tcan_modules.maths.windows import lay_windows
from tcan_modules.maths.windows_preview import draw_windows
from tcan_modules.pose import as_image, draw_frames, read_pose_keypoint
from tcan_modules.pose.retarget import retarget
from tcan_modules.pose.skeleton import L_WRIST, PoseTrack
from tcan_modules.pose.smoothing import smooth
from tests.helpers.scratch import ROOT
from tests.helpers.walk import pose_images
from tests.pose.figures import body, dance, fixture, track

FOLDER = ROOT / "web" / "docs" / "images"
BACK, TEXT, LINE = (24, 24, 28), (220, 220, 228), (90, 90, 100)
FONT = ImageFont.load_default(15)


def picture(image) -> Image.Image:
    """``[height, width, 3]`` in 0..1."""
    return Image.fromarray((np.asarray(image) * 255).round().clip(0, 255).astype(np.uint8))


def panel(image: Image.Image, title: str, height: int = 220) -> Image.Image:
    """A picture of this height with a line of text above."""
    image = image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)
    framed = Image.new("RGB", (max(image.width, int(FONT.getlength(title)) + 8), height + 26), BACK)
    framed.paste(image, (0, 26))
    ImageDraw.Draw(framed).text((4, 4), title, TEXT, FONT)
    return framed


def row(panels: list[Image.Image], gap: int = 10) -> Image.Image:
    """Panels side by side."""
    width = sum(one.width for one in panels) + gap * (len(panels) + 1)
    whole = Image.new("RGB", (width, max(one.height for one in panels) + 2 * gap), BACK)
    left = gap
    for one in panels:
        whole.paste(one, (left, gap))
        left += one.width + gap
    return whole


def column(rows: list[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    whole = Image.new("RGB", (max(one.width for one in rows), sum(one.height for one in rows)), BACK)
    top = 0
    for one in rows:
        whole.paste(one, (0, top))
        top += one.height
    return whole


def over(picture: torch.Tensor, heat: np.ndarray) -> np.ndarray:
    """A skeleton ``[height, width, 3]`` over a heat map of the same shape."""
    return np.where((picture.numpy() != 0).any(-1, keepdims=True), picture.numpy(), heat)


def tau() -> Image.Image:
    poses = pose_images(16, 256, 256)
    panels = [panel(picture(poses[0]), "pose")]
    for value in (1.0, 3.0, 8.0):
        heat = heat_colors((build_maps(poses, value, None, 0).image(range(16)) - 1) / 4)
        panels.append(panel(picture(over(poses[0], heat)), f"tau {value:g}"))
    return row(panels)


def mask() -> Image.Image:
    poses = pose_images(16, 256, 256)
    skirt = Image.new("L", (256, 256))
    ImageDraw.Draw(skirt).polygon([(110, 130), (146, 130), (190, 205), (66, 205)], fill=255)
    more = torch.from_numpy(np.array(skirt).astype(np.float32) / 255)[None]
    panels = [panel(picture(preview(build_maps(poses, 3.0, None, 0), poses)[0]), "without a mask")]
    panels.append(panel(skirt.convert("RGB"), "mask: a skirt"))
    panels.append(panel(picture(preview(build_maps(poses, 3.0, more, 0), poses)[0]), "with the mask"))
    return row(panels)


def windows() -> Image.Image:
    rows = []
    for overlap, closed in ((0, False), (4, False), (8, False), (4, True)):
        drawn = picture(draw_windows(lay_windows(48, 16, overlap, closed), 48)[0])
        title = f"48 frames, window_overlap {overlap}{', closed_loop' if closed else ''}"
        rows.append(row([panel(drawn, title, round(drawn.height * 0.6))]))
    return column(rows)


def skeletons(frames: PoseTrack) -> list[Image.Image]:
    return [picture(drawn) for drawn in as_image(draw_frames(frames.frames()))]


def titled(title: str, images: list[Image.Image], height: int = 170) -> list[Image.Image]:
    return [panel(image, "" if number else title, height) for number, image in enumerate(images)]


def retargeting(settings: list[tuple[str, str, str]], character: PoseTrack, driver: PoseTrack) -> Image.Image:
    """The driver above; below, the retargeted poses of each ``(title, mode, fit)``."""
    rows = [row(titled("character", skeletons(character)) + titled("driver", skeletons(driver)))]
    for title, mode, fit in settings:
        blank = Image.new("RGB", rows[0].size, BACK).resize((170, 170))
        rows.append(row([panel(blank, title, 170), *titled("", skeletons(retarget(character, driver, mode, fit)))]))
    return column(rows)


def modes() -> Image.Image:
    short = {"stretch": {6: 0.45, 7: 0.45}, "turn": {6: -60.0, 7: -120.0}}
    driver = track([body(56, (226, 84)), body(56, (266, 84)), body(56, (306, 84), **short)])
    settings = [(mode, mode, "authors") for mode in ("relative", "absolute")]
    return retargeting(settings, track([body(46, (216, 120))]), driver)


def fits() -> Image.Image:
    driver = track([body(26, (60 + 36 * step, 50)) for step in range(3)], 256, 256)
    settings = [(fit, "relative", fit) for fit in ("authors", "to_scale", "keep_character")]
    return retargeting(settings, track([body(40, (130, 120))]), driver)


def smoothing() -> Image.Image:
    """The height of a wrist over time, as detected and smoothed: slow swings and one quick one."""
    generator = np.random.default_rng(3)
    lift = [40 * np.sin(t / 7) - (90 if 30 <= t < 36 else 0) for t in range(60)]
    trembling = [body(turn={6: angle}) + np.pad(generator.normal(0, 4, (18, 2)), ((0, 0), (0, 1))) for angle in lift]
    image = Image.new("RGB", (760, 240), BACK)
    pen = ImageDraw.Draw(image)
    heights = np.array([points[L_WRIST, 1] for points in trembling])
    low, high = heights.min(), heights.max()
    colors = {"off": LINE, "one_euro": (70, 160, 230), "savitzky_golay": (240, 170, 60)}
    for number, (method, color) in enumerate(colors.items()):
        heights = smooth(track(trembling), method).points[:, L_WRIST, 1]
        pen.line(
            [(10 + 12.4 * place, 50 + (height - low) * 170 / (high - low)) for place, height in enumerate(heights)], color, 2
        )
        pen.text((10 + 150 * number, 6), method, color if number else TEXT, FONT)
    return image


def hands() -> Image.Image:
    frames = read_pose_keypoint(fixture("dwpreprocessor"))[:1]
    panels = [
        panel(picture(as_image(draw_frames(frames, hands=on))[0]), f"hands {'on' if on else 'off'}", 300) for on in (False, True)
    ]
    return row(panels)


def outlier() -> Image.Image:
    """One wrong pose among right ones, which the Temporal ControlNet corrects."""
    poses = dance(5)
    poses[2] = body(40, (256, 150), turn={3: -150, 6: 160, 8: 60, 9: -70})
    titles = ("frame 0", "1", "2: wrong", "3", "4")
    return row([panel(image, title, 160) for image, title in zip(skeletons(track(poses)), titles)])


def reference_size() -> Image.Image:
    """The part of a tall picture that is kept at 512 x 512."""
    from skimage import data

    tall = Image.fromarray(data.astronaut()).crop((60, 0, 390, 512))
    kept = tall.copy()
    edge = (tall.height - tall.width) // 2
    dimmed = Image.blend(tall, Image.new("RGB", tall.size), 0.65)
    dimmed.paste(kept.crop((0, edge, tall.width, edge + tall.width)), (0, edge))
    square = tall.crop((0, edge, tall.width, edge + tall.width))
    return row([panel(tall, "width 0, height 0"), panel(dimmed, "kept at 512 x 512"), panel(square, "512 x 512")])


def noise() -> Image.Image:
    """Frames that begin with the same noise have the same colour."""
    rows = []
    for title, count in (("repeat_window", 16), ("independent", 48)):
        colors = np.random.default_rng(1).uniform(0.25, 0.95, (48, 3))
        strip = np.repeat(colors[np.arange(48) % count][None], 1, axis=0)
        rows.append(
            row([panel(picture(strip).resize((720, 28), Image.Resampling.NEAREST), f"{title}: one colour, one noise", 28)])
        )
    return column(rows)


def detected() -> Image.Image:
    from skimage import data

    from tcan_modules.pose import detect

    image = torch.from_numpy(data.astronaut().astype(np.float32) / 255)[None]
    frames = detect(image, "mediapipe", 512, [], False, "cpu", lambda: None)
    drawn = as_image(draw_frames(frames))[0]
    return row(
        [
            panel(picture(image[0]), "image"),
            panel(picture(drawn), "pose_images"),
            panel(picture(over(drawn, 0.5 * image[0].numpy())), "laid over each other"),
        ]
    )


PICTURES = {
    "ptm_tau": tau,
    "ptm_mask": mask,
    "windows": windows,
    "retarget_mode": modes,
    "retarget_fit": fits,
    "smoothing": smoothing,
    "hands": hands,
    "outlier": outlier,
    "reference_size": reference_size,
    "noise_mode": noise,
    "detect": detected,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PICTURES.items():
        make().save(FOLDER / f"{name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
