"""What one call of the host holds: conds, and the frames of the video in each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """The batch axis ``[conds * frames, …]`` of a call: cond after cond, frame after frame."""

    conds: list[int]  # the host's ``cond_or_uncond``: 0 for a positive prompt, 1 for a negative one
    windows: list[Sequence[int]]  # indices in the video of each window's frames; all windows have one length
    uuids: list | None  # the host's id of each cond; None outside of a sampling run
    video_frames: int | None  # frames of the whole video; None if the host does not say

    @property
    def indices(self) -> Sequence[int]:
        """Index in the video of each frame of a cond; overlapping windows of a call repeat some."""
        return self.windows[0] if len(self.windows) == 1 else [frame for window in self.windows for frame in window]

    @property
    def frames(self) -> int:
        """Batch entries of each cond."""
        return len(self.windows) * len(self.windows[0])

    def by_cond(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``[conds * frames, …]`` -> ``[frames, …]`` of each cond."""
        return tensor.chunk(len(self.conds))


def batch_of(x: torch.Tensor, transformer_options: dict, conds: int | None = None) -> Batch:
    """The batch of a call of the host.

    Args:
        x: anything with the call's batch axis, ``[conds * frames, …]``.
        conds: number of conds, if the host passes it apart from its options (to a ControlNet).
    """
    known = transformer_options.get("cond_or_uncond") or [0]
    if conds is None or conds == len(known):
        conds, known = len(known), list(known)
    else:
        known = [0] * conds
    frames = x.shape[0] // conds
    return Batch(
        conds=known,
        windows=_windows(transformer_options, frames),
        uuids=transformer_options.get("uuids") or None,
        video_frames=_video_frames(transformer_options, frames),
    )


def options_of_cond(options: dict, cond: int) -> dict:
    """The options of a call cut to one cond of its batch."""
    return {**options, **{name: options[name][cond : cond + 1] for name in ("cond_or_uncond", "uuids") if options.get(name)}}


def _windows(options: dict, frames: int) -> list[Sequence[int]]:
    """The windows of a call: several if they are ours (`context_windows.JoinedWindow`), otherwise one.

    The host's context handler names the frames in ``context_window``, AnimateDiff-Evolved in ``ad_params``; without windows they
    count from 0.
    """
    window = options.get("context_window")
    if window is not None:
        anchor = getattr(window, "causal_anchor_index", None)  # a frame that the host puts before its own windows
        indices = window.index_list if anchor is None else [anchor, *window.index_list]
        if len(indices) == frames:
            return getattr(window, "windows", [indices]) if anchor is None else [indices]
    indices = (options.get("ad_params") or {}).get("sub_idxs")
    if indices is not None and len(indices) == frames:
        return [indices]
    return [range(frames)]


def _video_frames(options: dict, frames: int) -> int | None:
    window = options.get("context_window")
    if window is not None:
        return getattr(window, "total_frames", None)
    params = options.get("ad_params") or {}
    if params.get("sub_idxs") is not None:
        return params.get("full_length")
    return frames if options.get("uuids") else None  # the host names the conds of a sampling run
