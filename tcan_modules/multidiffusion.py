"""MultiDiffusion along time for any model, and TCAN's own way to sample.

Paper section 3.5; authors' ``pipeline_animation.py``.
"""

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .apply import max_frames
from .maths.checks import check_latents
from .maths.windows import NOISE_MODES, check_windows, shuffled_repeats
from .patching.context_windows import MultiDiffusionHandler
from .patching.whole_video import pass_video_on
from .values import check_choice

KEY = "tcan_windows"
MOST_FRAMES = 100_000  # of a video


def in_windows(model: ModelPatcher, length: int, overlap: int, closed_loop: bool) -> ModelPatcher:
    """A clone of the model that every sampler evaluates in windows.

    Raises:
        ValueError: windows that never move on, or are longer than the temporal layers can see.
    """
    check_windows(length, overlap, max_frames(model))
    windowed = model.clone()
    windowed.model_options["context_handler"] = MultiDiffusionHandler(length, overlap, closed_loop)
    windowed.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    windowed.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _plan_memory)
    pass_video_on(windowed)
    return windowed


def _plan_memory(executor, model, noise_shape, *args, **kwargs):
    """The host's preparation of a run, with memory for the frames of one call instead of the whole video."""
    options = kwargs.get("model_options") or {}
    handler = options.get("context_handler")
    frames = noise_shape[0]
    if isinstance(handler, MultiDiffusionHandler):
        _refuse_easycache(handler, frames, options)
        frames = handler.frames_of_call(frames, options)
    return executor(model, [frames, *noise_shape[1:]], *args, **kwargs)


def _refuse_easycache(handler: MultiDiffusionHandler, frames: int, model_options: dict) -> None:
    """The host's EasyCache keeps one result for a prompt, which it would take from one window and add to another."""
    cache = model_options.get("transformer_options", {}).get("easycache")
    if getattr(cache, "name", None) == "EasyCache" and frames > handler.context_length:
        raise ValueError("EasyCache mixes up the windows of MultiDiffusion: use LazyCache instead, which caches the whole video.")


def start_noise(
    latents: torch.Tensor, seed: int, mode: str, length: int, overlap: int, batch_index: list[int] | None = None
) -> torch.Tensor:
    """Start noise for ``latents [frames, 4, height, width]``, of the same shape.

    Args:
        mode: one of `windows.NOISE_MODES`. ``repeat_window`` repeats the noise of one window over the video, as the authors do;
            ``free_noise`` repeats it in another order after every window (`shuffled_repeats`).
        length, overlap: of the windows.
        batch_index: the host's: which frame of a video's noise each latent gets; None: the first one's, the second one's and so on.
    """
    check_latents(latents)
    check_choice("noise_mode", mode, NOISE_MODES)
    frames = latents.shape[0]
    batch_index = _indices(batch_index, frames)
    if mode == "independent" or (batch_index is None and frames <= length):
        return comfy.sample.prepare_noise(latents, seed, batch_index)
    indices = range(frames) if batch_index is None else batch_index
    if mode == "repeat_window":
        places = [index % length for index in indices]
    else:
        order = shuffled_repeats(max(indices) + 1, length, length - overlap, torch.Generator().manual_seed(seed))
        places = [order[index] for index in indices]
    return comfy.sample.prepare_noise(latents[:1].expand(length, -1, -1, -1), seed)[places]


def _indices(batch_index, frames: int) -> list[int] | None:
    """The host's ``batch_index`` as whole numbers, one for each of ``frames`` latents."""
    if batch_index is None:
        return None
    try:
        indices = [int(index) for index in batch_index]
    except (TypeError, ValueError, OverflowError):
        indices = []
    if len(indices) != frames or not all(0 <= index < MOST_FRAMES for index in indices):
        raise ValueError(
            f"The latents' batch_index must hold one whole number from 0 to {MOST_FRAMES - 1} for each of the {frames} latents: connect"
            " them without the node that set it."
        )
    return indices


def schedule(model: ModelPatcher, sampler: str, scheduler: str, steps: int, denoise: float) -> torch.Tensor:
    """The host's sigmas ``[steps + 1]``.

    The host's ``ddim_uniform`` gives one step more, above the others, if 1000 mod steps is 2 or more; diffusers' DDIM does not.
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
    denoise: float = 1.0,
    noise_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample with the host's sampler; gives latents ``[frames, 4, height, width]``.

    Args:
        latents, noise: same shape; no noise if the latents are noisy already.
        sigmas: ``[steps + 1]``.
        denoise: at 1 the run starts as the authors' does (`unit_variance_start`), unless the host itself starts from pure noise, or a
            mask needs noise of the host's own scale.
    """
    import latent_preview

    if noise is None:
        noise = torch.zeros_like(latents)
    elif denoise > 0.9999 and noise_mask is None and not _is_max(model, sigmas):
        noise = unit_variance_start(noise, sigmas[0])
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
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        seed=seed,
    )
    return samples.to(comfy.model_management.intermediate_device())


def unit_variance_start(noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Noise ``[frames, 4, height, width]`` scaled for a start of unit variance at ``sigma []``.

    The authors (diffusers) start from noise of unit variance at the first timestep. The host multiplies noise by sigma and divides the
    UNet's input by ``sqrt(1 + sigma^2)``, which gives less.
    """
    sigma = sigma.to(noise)
    return noise * torch.sqrt(1 + sigma**2) / sigma


def _is_max(model: ModelPatcher, sigmas: torch.Tensor) -> bool:
    """Whether the host itself scales the noise for a start from pure noise (``Sampler.max_denoise``)."""
    top = float(model.get_model_object("model_sampling").sigma_max)
    first = float(sigmas[0])
    return first > top or abs(first - top) <= 1e-5 * top
