"""The whole video during one noise prediction, for a ControlNet that the host calls with the frames of one window.

APPA Apply and MultiDiffusion Windows stand around every noise prediction of their model and hand it on in the model's options. A hook
that the ControlNet brought along would do the same, but the host gives dynamic VRAM up for a prompt with hooks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

KEY = "tcan_video"
Residuals = dict[str, list[torch.Tensor]]  # of one frame, each [channels, height, width]


class ResidualCache:
    """Residuals of each frame at one noise prediction. A kind is a prompt, for all blocks of the UNet or its outer ones alone."""

    def __init__(self):
        self._kept: dict[tuple, dict[int, Residuals]] = {}

    def lacks(self, kind: tuple, frames: set[int]) -> bool:
        return not frames <= self._kept.setdefault(kind, {}).keys()

    def put(self, kind: tuple, residuals: dict[int, Residuals]) -> None:
        self._kept[kind].update(residuals)

    def take(self, kind: tuple, frames: Sequence[int], device: torch.device) -> list[Residuals]:
        return [_moved(self._kept[kind][frame], device) for frame in frames]

    def keep(self, kind: tuple, frames: set[int]) -> None:
        """Drop the other frames."""
        kept = self._kept[kind]
        for frame in kept.keys() - frames:
            del kept[frame]

    def rest(self, frames: set[int]) -> None:
        """Keep these frames of every kind, and where latents rest: the UNet's peak is then the same for any video."""
        place = comfy.model_management.intermediate_device()
        for kind, kept in self._kept.items():
            self.keep(kind, frames)
            kept.update({frame: _moved(found, place) for frame, found in kept.items()})


@dataclass
class WholeVideo:
    """What a noise prediction is about; gone when it ends, with all that was kept for it."""

    latents: torch.Tensor  # noisy, [frames, 4, height, width]
    positive: list[dict]
    entries: int  # conds of the positive and the negative
    window_length: int | None
    schedule: list[list[int]]  # frames of the UNet's calls, where they are known
    _caches: dict[object, ResidualCache] = field(default_factory=dict)

    def cache_of(self, control_net: object) -> ResidualCache:
        return self._caches.setdefault(control_net, ResidualCache())

    def asked_later(self, indices: Sequence[int]) -> set[int]:
        """Frames that windows after this one will ask for, as far as the windows are known."""
        window = list(indices)
        return set().union(*self.schedule[self.schedule.index(window) + 1 :]) if window in self.schedule else set()


def hand_on(model: ModelPatcher) -> None:
    """Let the noise predictions of a model, which is changed, say what video they are about (`video_of`)."""
    model.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, _around_prediction)


def video_of(transformer_options: dict) -> WholeVideo | None:
    """The video of a call of the host; None for a model that says nothing of it."""
    return transformer_options.get(KEY)


def _around_prediction(executor, x, timestep, model_options=None, seed=None):
    model_options = {} if model_options is None else model_options
    conds = getattr(executor.class_obj, "conds", {})
    handler = model_options.get("context_handler")
    calls = getattr(handler, "calls", None)  # of `multidiffusion.MultiDiffusionHandler`
    options = model_options.setdefault("transformer_options", {})
    options[KEY] = WholeVideo(
        latents=x,
        positive=conds.get("positive") or [],
        entries=sum(len(entries or []) for entries in conds.values()),
        window_length=getattr(handler, "context_length", None),
        schedule=[] if calls is None else [call.index_list for call in calls(x.shape[0], model_options)],
    )
    try:
        return executor(x, timestep, model_options, seed)
    finally:
        options.pop(KEY, None)


def _moved(residuals: Residuals, place: torch.device) -> Residuals:
    return {key: [level.to(place) for level in levels] for key, levels in residuals.items()}
