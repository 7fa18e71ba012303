"""Windows along time through ComfyUI's context handler (MultiDiffusion, paper section 3.5).

Every noise prediction evaluates all windows and averages them with equal weights where they overlap (authors'
``pipeline_animation.py``).
"""

import inspect

import comfy.context_windows
import comfy.utils
import torch

from ..maths.windows import lay_windows

AT_ONCE = "tcan_windows_at_once"  # in a model's options: the number of windows in one call
# newer hosts ask a window for the length of the video
_WANTS_TOTAL = "total_frames" in inspect.signature(comfy.context_windows.IndexListContextWindow).parameters


class JoinedWindow(comfy.context_windows.IndexListContextWindow):
    """Windows of one length, evaluated in one call; a frame may be in several of them."""

    def __init__(self, windows: list[list[int]], frames: int):
        total = {"total_frames": frames} if _WANTS_TOTAL else {}
        super().__init__([frame for window in windows for frame in window], dim=0, **total)
        self.windows = windows

    def add_window(self, full: torch.Tensor, to_add: torch.Tensor) -> torch.Tensor:
        """Add ``to_add [windows * window length, …]`` to ``full [frames, …]``, window by window."""
        for window, part in zip(self.windows, to_add.chunk(len(self.windows)), strict=True):
            full[window] += part
        return full


class MultiDiffusionHandler(comfy.context_windows.IndexListContextHandler):
    """The host's handler for frames on the batch axis, with the same windows at every step."""

    def __init__(self, length: int, overlap: int, closed_loop: bool):
        super().__init__(
            context_schedule=None,  # `get_context_windows` lays them
            fuse_method=comfy.context_windows.get_matching_fuse_method(comfy.context_windows.ContextFuseMethods.FLAT),
            context_length=length,
            context_overlap=overlap,
            closed_loop=closed_loop,
            dim=0,
        )
        self.causal_window_fix = False  # newer hosts would put the frame before a window in front of it

    def calls(self, frames: int, model_options: dict) -> list[JoinedWindow]:
        """The windows of a video in the order of their evaluation, one or several for each call."""
        windows = lay_windows(frames, self.context_length, self.context_overlap, self.closed_loop)
        count = model_options.get(AT_ONCE, 1)
        return [JoinedWindow(windows[start : start + count], frames) for start in range(0, len(windows), count)]

    def frames_of_call(self, frames: int, model_options: dict) -> int:
        """The largest number of frames in one call."""
        return min(frames, self.context_length * model_options.get(AT_ONCE, 1))

    def get_context_windows(self, model, x_in: torch.Tensor, model_options: dict) -> list[JoinedWindow]:
        """The windows for ``x_in [frames, 4, height, width]``."""
        return self.calls(x_in.shape[0], model_options)

    def should_use_context(self, model, conds, x_in: torch.Tensor, timestep: torch.Tensor, model_options: dict) -> bool:
        """Whether ``x_in [frames, 4, height, width]`` is longer than a window."""
        return x_in.shape[0] > self.context_length

    def set_step(self, timestep: torch.Tensor, model_options: dict) -> None:
        """Do nothing: the windows do not depend on the step (``timestep [1]``).

        The host would look the step up, and fail for second-order samplers, which ask between steps.
        """

    def get_resized_cond(self, cond_in, x_in: torch.Tensor, window, device=None) -> list | None:
        """Conds cut to a window of ``x_in [frames, 4, height, width]``.

        Also what some hosts pass whole: prompts and concatenated latents with an entry for each frame. A list of another length is
        trimmed or repeated over the whole video, as the host does with a video in one piece.
        """
        resized = super().get_resized_cond(cond_in, x_in, window, device)
        for whole, cond in zip(cond_in or [], resized or []):
            cond["model_conds"] = {
                key: _cut(whole["model_conds"][key], value, x_in.shape[0], window, device)
                for key, value in cond.get("model_conds", {}).items()
            }
        return resized


def _cut(whole, value, frames: int, window, device):
    """An entry of a cond for a window, from the entry for the ``whole`` video; the host's own ``value`` if they are the same."""
    tensor = getattr(whole, "cond", None)
    if isinstance(tensor, torch.Tensor) and tensor.ndim and tensor.shape[0] > 1:
        return value._copy_with(window.get_tensor(comfy.utils.repeat_to_batch_size(tensor, frames), device, dim=0))
    return value
