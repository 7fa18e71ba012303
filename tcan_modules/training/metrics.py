"""How close an animation comes to the truth.

Clips are float32 RGB in 0..1, ``[frames, height, width, 3]``; masks are bool ``[frames, height, width]``.
"""

import numpy as np

# joints that can be located in a clip: nose, neck, shoulders, elbows, wrists, hips, knees, ankles
JOINTS = tuple(range(14))
PATCH, REACH = 6, 8  # half the side of the patch around a joint, and the radius of its search, in pixels


def l1(clip: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute error of clips ``[frames, h, w, 3]``, everywhere or where the mask is set."""
    error = np.abs(clip - truth).mean(-1)
    return float(error.mean() if mask is None else error[mask].mean())


def psnr(clip: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of clips ``[frames, h, w, 3]``, mean over frames."""
    squared = np.square(clip - truth).mean((1, 2, 3))
    return float((-10 * np.log10(np.maximum(squared, 1e-10))).mean())


def ssim(clip: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (scikit-image) of clips ``[frames, h, w, 3]``, mean over frames."""
    from skimage.metrics import structural_similarity

    return float(
        np.mean([structural_similarity(a, b, channel_axis=-1, data_range=1.0) for a, b in zip(clip, truth, strict=True)])
    )


def flicker(clip: np.ndarray, foreground: np.ndarray) -> float:
    """Mean absolute change between neighbouring frames where the truth does not change.

    Args:
        clip: ``[frames, h, w, 3]``.
        foreground: the true character, bool ``[frames, h, w]``. Pixels that it covers in neither frame do not change.
    """
    still = ~(foreground[1:] | foreground[:-1])
    return float(np.abs(np.diff(clip, axis=0)).mean(-1)[still].mean())


def change(clip: np.ndarray) -> np.ndarray:
    """Mean absolute change to the next frame: ``[frames, h, w, 3]`` to ``[frames - 1]``."""
    return np.abs(np.diff(clip, axis=0)).mean((1, 2, 3))


def nearest_character(clip: np.ndarray, candidates: np.ndarray, foreground: np.ndarray) -> int:
    """The number of the character that a clip shows best.

    Args:
        clip: ``[frames, h, w, 3]``.
        candidates: the true clip of each character, ``[characters, frames, h, w, 3]``.
        foreground: where the clip's character should be, bool ``[frames, h, w]``; only there they are compared.
    """
    errors = np.abs(candidates - clip).mean(-1)[:, foreground].mean(-1)
    return int(errors.argmin())


def pose_distance(clip: np.ndarray, truth: np.ndarray, keypoints: np.ndarray) -> float:
    """Mean distance in pixels between where the joints are and where a clip shows them.

    The patch around each joint of the truth is searched for in the clip; its best match (least squared difference; of equal ones the
    nearest) is where the clip shows the joint. Joints too close to the picture's edge are left out; without any, the result is NaN.

    Args:
        clip, truth: ``[frames, h, w, 3]``.
        keypoints: the true ones, ``[frames, 18, 2 or 3]`` in pixels.
    """
    height, width = truth.shape[1:3]
    offsets = np.array([(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)])
    offsets = offsets[np.argsort(np.hypot(*offsets.T), kind="stable")]
    distances = []
    for frame, joints in enumerate(np.rint(keypoints[:, list(JOINTS), :2]).astype(int)):
        for x, y in joints:
            margin = PATCH + REACH
            if not (margin <= x < width - margin and margin <= y < height - margin):
                continue
            patch = truth[frame, y - PATCH : y + PATCH + 1, x - PATCH : x + PATCH + 1]
            around = clip[frame, y - margin : y + margin + 1, x - margin : x + margin + 1]
            windows = np.lib.stride_tricks.sliding_window_view(around, patch.shape[:2], axis=(0, 1))
            errors = np.square(windows - patch.transpose(2, 0, 1)).mean((2, 3, 4))
            ordered = errors[offsets[:, 0] + REACH, offsets[:, 1] + REACH]
            distances.append(np.hypot(*offsets[ordered.argmin()]))
    return float(np.mean(distances)) if distances else float("nan")


def interval(values: np.ndarray, seed: int = 0, resamples: int = 2000) -> list[float]:
    """95 % bootstrap interval of the mean of ``values [characters]``."""
    values = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return [float(bound) for bound in np.quantile(values[chosen].mean(1), (0.025, 0.975))]
