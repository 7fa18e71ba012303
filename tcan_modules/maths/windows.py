"""Windows along time, and which frames of the video a call of the host is about."""

from collections.abc import Sequence

import torch


def closed_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """The authors' windows (``pipelines/context.py``, step 0): every ``length - overlap`` frames, wrapped around the end."""
    if frames <= length:
        return [list(range(frames))]
    return [[(start + offset) % frames for offset in range(length)] for start in range(0, frames, length - overlap)]


def open_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows every ``length - overlap`` frames; the last one is moved back to end with the video."""
    if frames <= length:
        return [list(range(frames))]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [list(range(start, start + length)) for start in starts]


def lay_windows(frames: int, length: int, overlap: int, closed_loop: bool) -> list[list[int]]:
    """The windows of a video, in the order in which they are evaluated."""
    return (closed_windows if closed_loop else open_windows)(frames, length, overlap)


def check_windows(length: int, overlap: int, max_frames: int | None = None) -> None:
    """Raise where windows cannot be laid, or are longer than the temporal layers can see (``max_frames``)."""
    if overlap >= length:
        raise ValueError(
            f"window_overlap ({overlap}) must be smaller than window_length ({length}), or the windows would never move on."
        )
    if max_frames is not None and length > max_frames:
        raise ValueError(
            f"window_length is {length}, but the temporal layers of this checkpoint see at most {max_frames} frames at once: set it"
            f" to {max_frames} or less."
        )


def window_frames(transformer_options: dict, frames: int) -> Sequence[int]:
    """Indices in the whole video of the ``frames`` that a call of the host holds.

    The host's context handler says them in ``context_window``, AnimateDiff-Evolved in ``ad_params``; without windows they are
    counted from 0.
    """
    window = transformer_options.get("context_window")
    if window is not None:
        before = getattr(window, "causal_anchor_index", None)  # a frame that the host puts in front of its own windows
        found = window.index_list if before is None else [before, *window.index_list]
        if len(found) == frames:
            return found
    indices = (transformer_options.get("ad_params") or {}).get("sub_idxs")
    if indices is not None and len(indices) == frames:
        return indices
    return range(frames)


def video_length(transformer_options: dict, frames: int) -> int | None:
    """Frames of the whole video that a call of ``frames`` frames belongs to; None where its options do not say."""
    window = transformer_options.get("context_window")
    if window is not None:
        return getattr(window, "total_frames", None)
    params = transformer_options.get("ad_params") or {}
    if params.get("sub_idxs") is not None:
        return params.get("full_length")
    return frames if transformer_options.get("uuids") else None  # the host names the prompts of a sampling run


def windows_of_call(transformer_options: dict, frames: int) -> list[Sequence[int]]:
    """The same, window by window: a call may hold several, of one length and one behind the other (`multidiffusion.JoinedWindow`)."""
    indices = window_frames(transformer_options, frames)
    window = transformer_options.get("context_window")
    return getattr(window, "windows", [indices]) if window is not None and window.index_list is indices else [indices]


def shuffled_repeats(frames: int, length: int, stride: int, generator: torch.Generator) -> list[int]:
    """FreeNoise (Qiu et al., arXiv 2310.15169): for each frame of the video, the frame of the first window whose noise it gets.

    Behind the first window, every ``stride`` frames are those of a window earlier, shuffled: all windows of that stride then hold the
    same noises, each in another order.
    """
    order = list(range(length))
    while len(order) < frames:
        earlier = order[len(order) - length :][:stride]
        order += [earlier[place] for place in torch.randperm(len(earlier), generator=generator)]
    return order[:frames]
