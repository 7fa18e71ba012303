"""Measure the puppet model and its ablations: ``python -m puppets.evaluate --json OUT``.

Characters, scenes and motions come from seeds that no training uses. The public nodes in a real ComfyUI make every clip, and it is compared
with the known truth.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tcan_modules.log import log
from tcan_modules.training import metrics
from tcan_modules.training.animator import ROOT, VARIANTS, WINDOW, Animator
from tcan_modules.training.learned_metrics import available
from tcan_modules.training.report import contact_sheet, table

from .clips import Clip, make_clip
from .motion import SIZE
from .outliers import add_outliers
from .pose_images import draw_keypoints
from .recipe import FILE, GUIDANCE, STEPS

MODEL = ROOT / "models" / FILE
CHARACTER, SCENE, MOTION, REFERENCE_MOTION = 101, 102, 103, 104  # third number of a seed; training uses others
OUTLIERS = 0.2
LONG = 64  # frames of the clips for measuring windows
SHEET_ROWS = 6


@dataclass(frozen=True)
class Case:
    """One character to animate, and the truth."""

    number: int
    reference: np.ndarray  # uint8 [h, w, 3]
    clip: Clip
    poses: np.ndarray  # pose images, uint8 [frames, h, w, 3]
    spoiled: np.ndarray  # the same with wrong poses

    @property
    def truth(self) -> np.ndarray:
        """The true frames, float32 ``[frames, h, w, 3]`` in 0..1."""
        return self.clip.frames.astype(np.float32) / 255


def make_case(seed: int, number: int, frames: int) -> Case:
    """The case with a number, for a seed.

    The reference shows the same character and scene in another motion.
    """
    character, scene = (seed, number, CHARACTER), (seed, number, SCENE)
    clip = make_clip(character, scene, (seed, number, MOTION), frames, masks=True)
    reference = make_clip(character, scene, (seed, number, REFERENCE_MOTION), 1).frames[0]
    seen, _ = add_outliers(clip.keypoints, OUTLIERS, np.random.default_rng([47, seed, number]))
    return Case(number, reference, clip, draw_keypoints(clip.keypoints, SIZE), draw_keypoints(seen, SIZE))


def candidates(seed: int, case: Case, characters: int, frames: list[int]) -> np.ndarray:
    """Every character of the evaluation in the motion and scene of a case.

    Returns:
        float32 ``[characters, frames, h, w, 3]`` in 0..1.
    """
    last = max(frames) + 1
    scene, motion = (seed, case.number, SCENE), (seed, case.number, MOTION)
    return np.stack(
        [make_clip((seed, other, CHARACTER), scene, motion, last).frames[frames] for other in range(characters)]
    ) / np.float32(255)


def measure(case: Case, clip: np.ndarray, with_outliers: np.ndarray, own: np.ndarray, frames: list[int]) -> dict[str, float]:
    """The metrics of one clip.

    Args:
        clip, with_outliers: the animations from right and from partly wrong poses, float32 ``[frames, h, w, 3]`` in 0..1.
        own: the case's `candidates` at some ``frames``, ``[characters, frames, h, w, 3]``.
    """
    truth, foreground = case.truth, case.clip.foreground
    error = metrics.l1(clip, truth)
    return {
        "l1": error,
        "psnr": metrics.psnr(clip, truth),
        "ssim": metrics.ssim(clip, truth),
        "identity": float(metrics.nearest_character(clip[frames], own, foreground[frames]) == case.number),
        "pose_px": metrics.pose_distance(clip, truth, case.clip.keypoints),
        "flicker": metrics.flicker(clip, foreground),
        "outlier_rise": metrics.l1(with_outliers, truth) - error,
        "foreground_l1": metrics.l1(clip, truth, foreground),
    }


def summary(measured: list[dict[str, float]], seed: int) -> dict:
    """Mean of each metric over characters, with its 95 % bootstrap interval."""
    out = {}
    for name in measured[0]:
        values = np.array([numbers[name] for numbers in measured])
        out[name] = float(values.mean())
        out[f"{name}_ci"] = metrics.interval(values, seed)
    return out


def measure_windows(animator: Animator, seed: int, characters: int) -> dict[str, float]:
    """Compare long clips in windows of 16 with their first 16 frames in one pass.

    Returns:
        ``lost_db``: by how much the PSNR of the windows is lower. ``seam``: how much larger the change between frames is at borders of
        windows than elsewhere, relative to the truth.
    """
    lost, seams = [], []
    for number in tqdm(range(characters), desc="windows"):
        case = make_case(seed, number, LONG)
        whole = animator.animate(case.reference, case.poses, VARIANTS["full"], seed + number)
        once = animator.animate(case.reference, case.poses[:WINDOW], VARIANTS["full"], seed + number)
        lost.append(metrics.psnr(once, case.truth[:WINDOW]) - metrics.psnr(whole, case.truth))
        # frames at which a window begins or its overlap with the last one ends
        starts = [*range(12, LONG - WINDOW, 12), LONG - WINDOW]
        border = np.isin(np.arange(LONG - 1), [start - 1 for start in starts] + [start + 3 for start in starts])
        relative = metrics.change(whole) / np.maximum(metrics.change(case.truth), 1e-4)
        seams.append(relative[border].mean() / relative[~border].mean())
    return {
        "lost_db": float(np.mean(lost)),
        "lost_db_ci": metrics.interval(np.array(lost), seed),
        "seam": float(np.mean(seams)),
        "seam_ci": metrics.interval(np.array(seams), seed),
    }


def evaluate(model: Path, seed: int, characters: int, frames: int, variants: list[str], out: Path) -> dict:
    """Measure the model, write the result to ``out`` (JSON), and return it.

    A table and a contact sheet are written next to ``out``.
    """
    learned = available()
    animator = Animator(model, STEPS, GUIDANCE)
    cases = [make_case(seed, number, frames) for number in range(characters)]
    shown = list(range(0, frames, 4))
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in variants if name in VARIANTS}
    clips: dict[str, list[np.ndarray]] = {name: [] for name in measured}
    for case in tqdm(cases, desc="characters"):
        own = candidates(seed, case, characters, shown)
        for name in measured:
            clip, spoiled = (
                animator.animate(case.reference, poses, VARIANTS[name], seed + case.number)
                for poses in (case.poses, case.spoiled)
            )
            measured[name].append(measure(case, clip, spoiled, own, shown))
            clips[name].append(clip)
    result = {
        "seed": seed,
        "characters": characters,
        "frames": frames,
        "variants": {name: summary(values, seed) for name, values in measured.items()},
    }
    truths = np.stack([case.truth for case in cases])
    for metric, compute in learned.items():
        for name in measured:
            result["variants"][name][metric] = compute(np.stack(clips[name]), truths)
    if "windows" in variants:
        result["windows"] = measure_windows(animator, seed, characters)
    animator.close()
    _write(result, cases, clips, out)
    return result


def _write(result: dict, cases: list[Case], clips: dict[str, list[np.ndarray]], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    if not clips:
        return
    out.with_suffix(".md").write_text(table(result["variants"]) + "\n")
    rows = []
    for index, case in enumerate(cases[:SHEET_ROWS]):
        frame = len(case.poses) // 2
        pictures = [(made[index][frame] * 255).round().astype(np.uint8) for made in clips.values()]
        rows.append([case.reference, case.poses[frame], case.clip.frames[frame], *pictures])
    contact_sheet(["reference", "pose", "truth", *clips], rows).save(out.with_suffix(".png"))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, evaluate and log the table."""
    parser = argparse.ArgumentParser(
        prog="python -m puppets.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL, help=f"packed file to measure (default: {MODEL.relative_to(ROOT)})")
    parser.add_argument("--seed", type=int, default=0, help="seed of characters, scenes, motions and noise (default: 0)")
    parser.add_argument("--characters", type=int, default=20, help="number of characters (default: 20)")
    parser.add_argument("--frames", type=int, default=16, help="frames in each clip (default: 16)")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=[*VARIANTS, "windows"],
        default=[*VARIANTS, "windows"],
        help="what to measure (default: everything; windows: long clips in windows, compared with one pass)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        required=True,
        help="file for the numbers; the table (.md) and the contact sheet (.png) are written next to it",
    )
    given = parser.parse_args(arguments)
    if not given.model.is_file():
        parser.error(f"there is no model {given.model}: train one with puppets.recipe and give it to --model")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started = time.monotonic()
    result = evaluate(given.model, given.seed, given.characters, given.frames, given.variants, given.json)
    if result["variants"]:
        log.info("\n%s", table(result["variants"]))
    log.info("%s, %.0f s", given.json, time.monotonic() - started)


if __name__ == "__main__":
    main()
