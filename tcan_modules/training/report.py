"""The table and the contact sheet of an evaluation."""

import numpy as np
from PIL import Image, ImageDraw

LABEL = 14  # height of the titles above the columns, in pixels
BETTER = {
    "l1": "lower",
    "psnr": "higher",
    "ssim": "higher",
    "identity": "higher",
    "pose_px": "lower",
    "flicker": "lower",
    "outlier_rise": "lower",
    "foreground_l1": "lower",
}


def table(variants: dict[str, dict]) -> str:
    """The means and intervals of each variant as a Markdown table."""
    names = [name for name in next(iter(variants.values())) if not name.endswith("_ci")]
    lines = [
        "| variant | " + " | ".join(f"{name} ({BETTER.get(name, 'lower')} is better)" for name in names) + " |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for variant, numbers in variants.items():
        cells = []
        for name in names:
            low, high = numbers.get(f"{name}_ci") or (None, None)
            cells.append(f"{numbers[name]:.4g}" + (f" ({low:.4g} to {high:.4g})" if low is not None else ""))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def contact_sheet(columns: list[str], rows: list[list[np.ndarray]]) -> Image.Image:
    """A grid of pictures with titles above the columns.

    Args:
        columns: the titles.
        rows: the pictures of each row of the grid, uint8 RGB ``[height, width, 3]``, all of one size.
    """
    height, width = rows[0][0].shape[:2]
    sheet = Image.new("RGB", (width * len(columns), LABEL + height * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        pen.text((column * width + 3, 1), title, fill="black")
        for row, pictures in enumerate(rows):
            sheet.paste(Image.fromarray(pictures[column]), (column * width, LABEL + row * height))
    return sheet
