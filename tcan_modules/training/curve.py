"""The loss over the steps, as a picture and for TensorBoard."""

from pathlib import Path

import numpy as np

from ..log import log
from .files import replaced


def smooth(losses: np.ndarray, span: int) -> np.ndarray:
    """Mean of the last ``span`` losses at each step (of fewer at the start), ``[steps]``."""
    sums = np.concatenate([[0.0], np.cumsum(losses, dtype=np.float64)])
    ends = np.arange(1, len(losses) + 1)
    starts = np.maximum(ends - span, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw_curve(losses: np.ndarray, path: Path, title: str) -> None:
    """Write a PNG of the losses ``[steps]`` on a logarithmic axis.

    It shows each loss, and the mean over a fiftieth of the steps.
    """
    from matplotlib.figure import Figure

    if not len(losses):
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(losses, color="0.8", linewidth=0.6, label="each step")
    axes.plot(smooth(losses, max(1, len(losses) // 50)), color="C0", label="smoothed")
    axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=100, format="png")


def tensorboard(folder: Path, start: int):
    """A TensorBoard writer that continues from a step, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed: losses go only to loss.png (pip install tensorboard)")
        return None
    return SummaryWriter(str(folder), purge_step=start)
