"""The whole video during one noise prediction, for a ControlNet that sees one window.

APPA Apply and MultiDiffusion Windows wrap every noise prediction of their model and pass the video on in the model's options. A hook on
the ControlNet could do the same, but the host gives up dynamic VRAM for a prompt with hooks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .residual_cache import ResidualCache

KEY = "tcan_video"


@dataclass
class WholeVideo:
    """The video of a noise prediction; it ends with the prediction, and its caches with it."""

    latents: torch.Tensor  # noisy, [frames, 4, height, width]
    positive: list[dict]  # conds that are active at this step
    conds: dict[object, dict]  # all active conds by the host's id
    window_length: int | None
    calls: list[list[int]]  # frames of each call of the UNet, if they are known
    _caches: dict[object, ResidualCache] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return self.latents.shape[0]

    def cache_of(self, control_net: object) -> ResidualCache:
        """The residual cache of one ControlNet."""
        return self._caches.setdefault(control_net, ResidualCache())

    def later(self, indices: Sequence[int]) -> set[int]:
        """Frames of the calls after the one with these frames, as far as they are known."""
        call = list(indices)
        return set().union(*self.calls[self.calls.index(call) + 1 :]) if call in self.calls else set()

    def has(self, latents: torch.Tensor, indices: Sequence[int]) -> bool:
        """Whether ``latents [frames, 4, height, width]`` are these frames of the video."""
        if self.latents.shape[1:] != latents.shape[1:] or max(indices) >= self.frames:
            return False
        return torch.equal(self.latents[list(indices)].to(latents.device), latents)


def pass_video_on(model: ModelPatcher) -> None:
    """Change a model so that its noise predictions say what video they are about (`video_of`)."""
    model.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, _around_prediction)


def video_of(transformer_options: dict) -> WholeVideo | None:
    """The video of a call of the host, or None if the model does not say."""
    return transformer_options.get(KEY)


def _active(conds: list[dict] | None, timestep: torch.Tensor) -> list[dict]:
    """The conds that the host evaluates at ``timestep [frames]`` (in sigmas), by their timestep ranges."""
    sigma = float(timestep.flatten()[0])
    return [cond for cond in conds or [] if cond.get("timestep_end", -1.0) <= sigma <= cond.get("timestep_start", sigma)]


def _around_prediction(executor, x, timestep, model_options=None, seed=None):
    model_options = {} if model_options is None else model_options
    conds = {name: _active(entries, timestep) for name, entries in getattr(executor.class_obj, "conds", {}).items()}
    handler = model_options.get("context_handler")
    calls = getattr(handler, "calls", None)  # of `context_windows.MultiDiffusionHandler`
    options = model_options.setdefault("transformer_options", {})
    options[KEY] = WholeVideo(
        latents=x,
        positive=conds.get("positive", []),
        conds={cond.get("uuid"): cond for entries in conds.values() for cond in entries},
        window_length=getattr(handler, "context_length", None),
        calls=[] if calls is None else [call.index_list for call in calls(x.shape[0], model_options)],
    )
    try:
        return executor(x, timestep, model_options, seed)
    finally:
        options.pop(KEY, None)
