"""LPIPS, FID and FVD: metrics by pretrained networks whose weights are on this machine.

Nothing is downloaded. If weights are missing, the log says which file to put where.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..log import log

WEIGHTS = {
    "lpips": ("alexnet-owt-7be5be79.pth", "AlexNet of torchvision"),
    "fid": ("weights-inception-2015-12-05-6726825d.pth", "the Inception network of torch-fidelity"),
    "fvd": ("i3d_torchscript.pt", "the I3D network of StyleGAN-V"),
}


def available() -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """The metrics that can be computed on this machine.

    Each takes clips and their truths, float32 ``[clips, frames, h, w, 3]`` in 0..1.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = {}
    for name, (file, what) in WEIGHTS.items():
        if not (folder / file).is_file():
            log.info("%s is left out: put %s (%s) into %s", name.upper(), file, what, folder)
            continue
        try:
            import torchmetrics  # noqa: F401
        except ImportError:
            log.info("%s is left out: pip install torchmetrics torch-fidelity lpips", name.upper())
            continue
        found[name] = {"lpips": _lpips, "fid": _fid, "fvd": _fvd}[name]
    return found


def _pictures(clips: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]))).permute(0, 3, 1, 2)


def _lpips(clips: np.ndarray, truths: np.ndarray) -> float:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    with torch.no_grad():
        for ours, theirs in zip(_pictures(clips).split(16), _pictures(truths).split(16), strict=True):
            metric.update(ours.clamp(0, 1), theirs.clamp(0, 1))
        return float(metric.compute())


def _fid(clips: np.ndarray, truths: np.ndarray) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(normalize=True)
    with torch.no_grad():
        for ours, theirs in zip(_pictures(clips).split(16), _pictures(truths).split(16), strict=True):
            metric.update(theirs.clamp(0, 1), real=True)
            metric.update(ours.clamp(0, 1), real=False)
        return float(metric.compute())


def _fvd(clips: np.ndarray, truths: np.ndarray) -> float:
    """Fréchet distance between I3D features of whole clips."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS["fvd"][0]
    network = torch.jit.load(str(path)).eval()

    def features(videos: np.ndarray) -> np.ndarray:
        found = []
        with torch.no_grad():
            for video in videos:
                x = torch.from_numpy(np.ascontiguousarray(video)).permute(3, 0, 1, 2)[None] * 255
                found.append(network(x, rescale=True, resize=True, return_features=True)[0].double().numpy())
        return np.stack(found)

    return frechet_distance(features(clips), features(truths))


def frechet_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Fréchet distance of two Gaussians, each fitted to features ``[samples, channels]``."""
    from scipy.linalg import sqrtm

    mean = np.square(ours.mean(0) - theirs.mean(0)).sum()
    first, second = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    return float(mean + np.trace(first + second - 2 * sqrtm(first @ second).real))
