"""Windows along time (MultiDiffusion, paper section 3.5), and noise that repeats with them."""

import torch

NOISE_MODES = ("repeat_window", "independent", "free_noise")  # the first is the authors'


def closed_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows every ``length - overlap`` frames, wrapped around the end.

    These are the authors' windows (``pipelines/context.py``, step 0).
    """
    if frames <= length:
        return [list(range(frames))]
    return [[(start + offset) % frames for offset in range(length)] for start in range(0, frames, length - overlap)]


def open_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows every ``length - overlap`` frames; the last one moves back to end with the video."""
    if frames <= length:
        return [list(range(frames))]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [list(range(start, start + length)) for start in starts]


def lay_windows(frames: int, length: int, overlap: int, closed_loop: bool) -> list[list[int]]:
    """The windows of a video, in the order of their evaluation."""
    return (closed_windows if closed_loop else open_windows)(frames, length, overlap)


def check_windows(length: int, overlap: int, max_frames: int | None = None) -> None:
    """Raise if windows never move on, or are longer than the temporal layers can see."""
    if length < 1 or overlap < 0:
        raise ValueError(f"window_length ({length}) must be 1 or more, and window_overlap ({overlap}) 0 or more.")
    if overlap >= length:
        raise ValueError(
            f"window_overlap ({overlap}) must be smaller than window_length ({length}), or the windows would never advance."
        )
    if max_frames is not None and length > max_frames:
        raise ValueError(
            f"window_length is {length}, but the temporal layers of this checkpoint see at most {max_frames} frames at once: set it"
            f" to {max_frames} or less."
        )


def shuffled_repeats(frames: int, length: int, stride: int, generator: torch.Generator) -> list[int]:
    """FreeNoise (Qiu et al., arXiv 2310.15169): which frame's noise each frame of a video gets.

    After the first window, every ``stride`` frames repeat those of one window earlier, shuffled: all windows of that stride hold the same
    noises, each in another order.

    Returns:
        For each frame of the video an index into the first ``length`` frames.
    """
    order = list(range(length))
    while len(order) < frames:
        earlier = order[len(order) - length :][:stride]
        order += [earlier[place] for place in torch.randperm(len(earlier), generator=generator)]
    return order[:frames]
