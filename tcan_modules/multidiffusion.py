"""MultiDiffusion along time (paper section 3.5; authors' ``pipeline_animation.py``) on the host's context handler.

All windows are evaluated at every noise prediction and averaged with equal weights where they overlap.
"""

import inspect

import comfy.context_windows
import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from . import whole_video
from .maths.windows import lay_windows, shuffled_repeats

KEY = "tcan_windows"
AT_ONCE = "tcan_windows_at_once"  # in a model's options: how many windows go into one call (`speed`)
# newer hosts want to know of a window how long the video is
_WANTS_TOTAL = "total_frames" in inspect.signature(comfy.context_windows.IndexListContextWindow).parameters


class JoinedWindow(comfy.context_windows.IndexListContextWindow):
    """Windows of one length that are evaluated in one call; a frame may be in several of them."""

    def __init__(self, windows: list[list[int]], frames: int):
        total = {"total_frames": frames} if _WANTS_TOTAL else {}
        super().__init__([frame for window in windows for frame in window], dim=0, **total)
        self.windows = windows

    def add_window(self, full: torch.Tensor, to_add: torch.Tensor) -> torch.Tensor:
        for window, part in zip(self.windows, to_add.chunk(len(self.windows)), strict=True):
            full[window] += part
        return full


class MultiDiffusionHandler(comfy.context_windows.IndexListContextHandler):
    """The host's handler for frames on the batch axis, with the same windows in every step."""

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

    def windows(self, frames: int) -> list[list[int]]:
        """Frames of each window, in the order in which they are evaluated."""
        return lay_windows(frames, self.context_length, self.context_overlap, self.closed_loop)

    def calls(self, frames: int, model_options: dict) -> list[JoinedWindow]:
        """The windows, as many at once as the model's options say."""
        windows, count = self.windows(frames), model_options.get(AT_ONCE, 1)
        return [JoinedWindow(windows[start : start + count], frames) for start in range(0, len(windows), count)]

    def get_context_windows(self, model, x_in: torch.Tensor, model_options: dict) -> list[JoinedWindow]:
        return self.calls(x_in.shape[0], model_options)

    def should_use_context(self, model, conds, x_in: torch.Tensor, timestep: torch.Tensor, model_options: dict) -> bool:
        return x_in.shape[0] > self.context_length

    def set_step(self, timestep: torch.Tensor, model_options: dict) -> None:
        """Nothing to look up: the windows do not depend on the step, and second-order samplers ask between the steps."""

    def get_resized_cond(self, cond_in, x_in: torch.Tensor, window, device=None) -> list | None:
        """Also cut what the host passes on whole: prompts and concatenated latents with an entry for each frame."""
        resized = super().get_resized_cond(cond_in, x_in, window, device)
        for cond in resized or []:
            cond["model_conds"] = {
                key: _cut(value, x_in.shape[0], window, device) for key, value in cond.get("model_conds", {}).items()
            }
        return resized


def _cut(value, frames: int, window, device):
    tensor = getattr(value, "cond", None)
    if isinstance(tensor, torch.Tensor) and tensor.shape[0] == frames > 1:
        return value._copy_with(window.get_tensor(tensor, device, dim=0))
    return value


def in_windows(model: ModelPatcher, length: int, overlap: int, closed_loop: bool) -> ModelPatcher:
    """A clone of the model that every sampler evaluates in windows."""
    windowed = model.clone()
    windowed.model_options["context_handler"] = MultiDiffusionHandler(length, overlap, closed_loop)
    windowed.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    windowed.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _plan_memory)
    whole_video.hand_on(windowed)
    return windowed


def _plan_memory(executor, model, noise_shape, *args, **kwargs):
    """The host's preparation of a run, with memory for what one call holds instead of the whole video."""
    options = kwargs.get("model_options") or {}
    handler = options.get("context_handler")
    frames = noise_shape[0]
    if isinstance(handler, MultiDiffusionHandler):
        _refuse_easycache(handler, frames, options)
        frames = min(frames, handler.context_length * options.get(AT_ONCE, 1))
    return executor(model, [frames, *noise_shape[1:]], *args, **kwargs)


def _refuse_easycache(handler: MultiDiffusionHandler, frames: int, model_options: dict) -> None:
    """The host's EasyCache keeps one result for a prompt, which it would take from one window and add to another."""
    cache = model_options.get("transformer_options", {}).get("easycache")
    if getattr(cache, "name", None) == "EasyCache" and frames > handler.context_length:
        raise ValueError(
            "EasyCache mixes the windows of MultiDiffusion up: use LazyCache in its place, which keeps the whole video."
        )


def initial_noise(
    latents: torch.Tensor, seed: int, repeat: int | None, batch_index=None, shuffle: int | None = None
) -> torch.Tensor:
    """Start noise ``[frames, 4, height, width]``.

    Args:
        repeat: the noise of so many frames is repeated over the video, as the authors do; None makes all frames independent.
        shuffle: repeat it FreeNoise's way, in another order after every so many frames (`shuffled_repeats`).
    """
    frames = latents.shape[0]
    if repeat is None or frames <= repeat:
        return comfy.sample.prepare_noise(latents, seed, batch_index)
    noise = comfy.sample.prepare_noise(latents[:repeat], seed)
    if shuffle is None:
        return noise[torch.arange(frames) % repeat]
    return noise[shuffled_repeats(frames, repeat, shuffle, torch.Generator().manual_seed(seed))]


def schedule(model: ModelPatcher, sampler: str, scheduler: str, steps: int, denoise: float) -> torch.Tensor:
    """The host's sigmas, with as many steps as asked.

    The host's ``ddim_uniform`` gives one step more, above the others, where 1000 mod steps is 2 or more; diffusers' DDIM does not.
    """
    sigmas = comfy.samplers.KSampler(
        model, steps=steps, device=model.load_device, sampler=sampler, scheduler=scheduler, denoise=denoise
    ).sigmas
    return sigmas[-(steps + 1) :] if scheduler == "ddim_uniform" else sigmas


def sample(
    model: ModelPatcher,
    positive,
    negative,
    latents: torch.Tensor,
    *,
    noise: torch.Tensor | None,
    sigmas: torch.Tensor,
    sampler: str,
    cfg: float,
    seed: int,
    full: bool,
    noise_mask: torch.Tensor | None = None,
    callback=None,
) -> torch.Tensor:
    """Sample with the host's sampler.

    Args:
        latents: ``[frames, 4, height, width]``.
        noise: None where the latents are noisy already.
        full: the latents are all noise at the first step. The authors' (diffusers') start is then noise of unit variance at the
            first timestep; the host gives it the variance ``sigma^2`` of noise alone, unless that timestep is the last of all.
            With a mask, the host's own scale is kept: it noises what is left unmasked alike.
    """
    if noise is None:
        noise = torch.zeros_like(latents)
    elif full and noise_mask is None and not _is_max(model, sigmas):
        first = sigmas[0].to(noise)
        noise = noise * torch.sqrt(1 + first**2) / first
    samples = comfy.samplers.sample(
        model,
        noise,
        positive,
        negative,
        cfg,
        model.load_device,
        comfy.samplers.sampler_object(sampler),
        sigmas,
        model.model_options,
        latent_image=latents,
        denoise_mask=noise_mask,
        callback=callback,
        seed=seed,
    )
    return samples.to(comfy.model_management.intermediate_device())


def _is_max(model: ModelPatcher, sigmas: torch.Tensor) -> bool:
    """Whether the host itself scales the noise for a start from pure noise (``Sampler.max_denoise``)."""
    top = float(model.get_model_object("model_sampling").sigma_max)
    first = float(sigmas[0])
    return first > top or abs(first - top) <= 1e-5 * top
