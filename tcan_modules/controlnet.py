"""The host's ControlNet with TCAN's temporal layers (paper section 3.3; authors' ``ControlNet3DModel`` and ``run_controlnet``).

It runs over the whole video in windows of its own, without overlap, once for each noise prediction and positive prompt; the windows
of the UNet, and both rows of guidance, take each frame's residuals from there.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher

from . import injection
from .host_models import TCANModels, block_channels
from .kept_hint import KeptHint
from .log import log
from .maths.windows import open_windows, video_length, window_frames, windows_of_call
from .reuse import outer_control_net, run_of
from .spatial import SpatialTransformers
from .whole_video import Residuals, WholeVideo, video_of


def temporal_control_net(
    tcan: TCANModels, control_net: comfy.controlnet.ControlNet | None = None, temporal_strength: float = 1.0
) -> "TemporalControlNet":
    """A ControlNet for the host's Apply ControlNet nodes.

    Args:
        control_net: an SD1.x ControlNet whose weights are used as they are; by default the checkpoint's.
        temporal_strength: factor on what the temporal layers add; 0 is the plain per-frame ControlNet.
    """
    base = tcan.control_net if control_net is None else control_net
    # no isinstance: other kinds of ControlNet derive from this class
    if type(base) is not comfy.controlnet.ControlNet or not isinstance(base.control_model, comfy.cldm.cldm.ControlNet):
        raise ValueError(
            f"Temporal ControlNet works with SD1.x ControlNets, and this one is a {type(base).__name__}: load"
            " control_v11p_sd15_openpose with Load ControlNet Model."
        )
    layers = None
    if temporal_strength != 0:
        layers = tcan.temporal("controlnet_temporal", base.control_model.num_res_blocks)
        if layers is None:
            tcan.checkpoint.require("controlnet_temporal")
        layers.model.check_fits(block_channels(base.control_model), "ControlNet")
    return TemporalControlNet(base, layers, temporal_strength)


def _refused(what: str):
    def refuse(_self, *_):
        raise ValueError(
            f"Temporal ControlNet cannot use the {what} of Apply Advanced ControlNet: leave that input open (its strength, start_percent"
            " and end_percent work), or use the ControlNet without Temporal ControlNet."
        )

    return refuse


class TemporalControlNet(comfy.controlnet.ControlNet):
    """A ControlNet of the host that sees the conditional text alone and serves both rows of guidance with the same residuals."""

    # AnimateDiff-Evolved takes no ControlNet into its windows that lacks these; what they say also comes in transformer_options
    sub_idxs: list[int] | None = None
    full_latent_length: int | None = None
    context_length: int | None = None

    # Advanced-ControlNet knows its own ControlNets by `sub_idxs`, and Apply Advanced ControlNet asks these of them
    require_vae = allow_condhint_latents = postpone_condhint_latents_check = False
    set_cond_hint_mask = _refused("mask")
    set_timestep_keyframes = _refused("timestep keyframes")
    latent_keyframe_override = property(None, _refused("latent keyframes"))
    weights_override = property(None, _refused("weights"))

    def disarm(self) -> None:
        """Nothing to do: any Apply ControlNet node may be used."""

    def verify_all_weights(self) -> None:
        """Nothing to do: there are none."""

    def __init__(self, base: comfy.controlnet.ControlNet, layers: ModelPatcher | None, strength: float):
        super().__init__(None, load_device=base.load_device, manual_cast_dtype=base.manual_cast_dtype)
        self.control_model = base.control_model
        self.control_model_wrapped = base.control_model_wrapped
        self.layers, self.temporal_strength = layers, strength
        self._temporal = None if layers is None else injection.Temporal(self.control_model, layers.model)
        self._transformers = SpatialTransformers(self.control_model)
        self._kept_hint = KeptHint()
        base.copy_to(self)
        self._application = object()  # of this Apply ControlNet node; the same on every device
        self._was_told = False

    def copy(self) -> "TemporalControlNet":
        return TemporalControlNet(self, self.layers, self.temporal_strength)

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> "TemporalControlNet":
        """Where the host works on several GPUs: networks of its own on another one."""
        base = super().deepclone_multigpu(load_device)
        base.load_device = load_device
        layers = None if self.layers is None else self.layers.deepclone_multigpu(new_load_device=load_device)
        twin = TemporalControlNet(base, layers, self.temporal_strength)
        twin._application = self._application
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Bytes beyond the weights: a window's residuals for both rows of guidance, and once more while they are joined."""
        poses = self.cond_hint_original
        frames = min(poses.shape[0], self.layers.model.max_frames if self.layers is not None else 16)
        pixels = math.prod(poses.shape[-2:]) / self.compression_ratio**2
        width = self.control_model.model_channels
        # every level has a quarter of the pixels of the one before and at most four times the channels of the first
        per_frame = sum(
            (count + 1) * pixels * 4 * width / 4**level for level, count in enumerate(self.control_model.num_res_blocks)
        )
        kept = 3 * frames * per_frame * comfy.model_management.dtype_size(dtype)
        return super().inference_memory_requirements(dtype) + kept

    def get_models(self) -> list[ModelPatcher]:
        return super().get_models() + ([self.layers] if self.layers is not None else [])

    def pre_run(self, model, percent_to_timestep_function) -> None:
        super().pre_run(model, percent_to_timestep_function)
        self._was_told = False

    def cleanup(self) -> None:
        super().cleanup()
        self._kept_hint.forget()

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        """Residuals for ``x_noisy [conds * frames, 4, height, width]`` at sigmas ``t``, merged with the previous ControlNet's."""
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if self.timestep_range is not None and not self.timestep_range[1] <= t[0] <= self.timestep_range[0]:
            return previous
        frames = x_noisy.shape[0] // batched_number
        indices = window_frames(transformer_options, frames)
        video = video_of(transformer_options)
        if video is None:
            self._warn_of_windows(transformer_options)
        total = video_length(transformer_options, frames) if video is None else video.latents.shape[0]
        self._check_hints(indices, total)
        prompts = self._prompts(video, transformer_options, batched_number)
        run = run_of(transformer_options)
        outer_only = run is not None and run.is_between(x_noisy, transformer_options)
        if video is not None and _is_of_video(video, x_noisy[:frames], indices):
            once = {
                id(prompt): self._from_whole_video(video, indices, t[:1], prompt, outer_only, x_noisy.device)
                for prompt in prompts
            }
            rows = [once[id(prompt)] for prompt in prompts]
            # or else the host asks again, for the other row of guidance
            if batched_number == video.entries and list(indices) in video.schedule:
                video.cache_of(self).rest(video.asked_later(indices))
        else:
            windows = windows_of_call(transformer_options, frames)
            alone = self._text_of_batch(cond, frames, transformer_options) if None in prompts else None
            rows = self._of_parts(x_noisy.chunk(batched_number), prompts, alone, windows, t[:1], outer_only, total)
        # copies, because the host multiplies them by the strength in place
        residuals = {
            key: [torch.stack(level) for level in zip(*(frame[key] for row in rows for frame in row), strict=True)]
            for key in rows[0][0]
        }
        return self.control_merge(residuals, previous, output_dtype=None)

    def _of_parts(
        self,
        parts: Sequence[torch.Tensor],
        prompts: list[dict | None],
        alone: torch.Tensor | None,
        windows: list[Sequence[int]],
        sigma: torch.Tensor,
        outer_only: bool,
        total: int | None,
    ) -> list[list[Residuals]]:
        """Residuals where no video is known, for an area of the picture, for latents that a node made up: they are all there is.

        Each part of a batch by itself, and once where parts are alike. ``alone`` is the text of parts without a prompt.
        """
        rows, known = [], []
        for latents, prompt in zip(parts, prompts):
            same = [found for past, its, found in known if its is prompt and torch.equal(past, latents)]
            found = same[0] if same else []
            if not same:
                for window, chunk in zip(windows, latents.chunk(len(windows)), strict=True):
                    text = alone if prompt is None else _text_of_frames(prompt, window, total)
                    found += _by_frame(self._run(chunk, window, sigma, text, outer_only))
            known.append((latents, prompt, found))
            rows.append(found)
        return rows

    def _from_whole_video(
        self, video: WholeVideo, indices: Sequence[int], sigma: torch.Tensor, prompt: dict, outer_only: bool, device: torch.device
    ) -> list[Residuals]:
        """Residuals of each of some frames, from this net's own windows over the whole video."""
        kind, cache = (id(prompt), outer_only), video.cache_of(self)
        total = video.latents.shape[0]
        wanted, touched, end = set(indices), set(), 0
        for window in open_windows(total, min(video.window_length or len(indices), total), 0):
            own = range(end, window[-1] + 1)  # the last window is moved back over frames of the one before it
            end = own.stop
            if not wanted.isdisjoint(own):
                touched.update(own)
                if cache.lacks(kind, wanted.intersection(own)):
                    text = _text_of_frames(prompt, window, total)
                    found = _by_frame(self._run(video.latents[window].to(device), window, sigma, text, outer_only))
                    cache.put(kind, dict(zip(own, found[-len(own) :], strict=True)))
        cache.keep(kind, touched | video.asked_later(indices))
        return cache.take(kind, indices, device)

    def _run(
        self, latents: torch.Tensor, indices: Sequence[int], sigma: torch.Tensor, text: torch.Tensor, outer_only: bool
    ) -> Residuals:
        """The network on one window: ``latents [frames, 4, height, width]``, ``text [1 or frames, tokens, channels]``."""
        frames = latents.shape[0]
        dtype = self.manual_cast_dtype or self.control_model.dtype
        sigmas = sigma.expand(frames)
        with ExitStack() as undo:
            if self._temporal is not None:
                call = injection.Call(frames, temporal_strength=self.temporal_strength)
                undo.enter_context(self._temporal.around(call))
            undo.enter_context(self._transformers.around(1))
            if outer_only:
                undo.enter_context(outer_control_net(self.control_model))
            window = (tuple(indices), latents.shape, latents.device)
            undo.enter_context(self._kept_hint.around(self.control_model, window, lambda: self._hint(indices, latents).to(dtype)))
            residuals = self.control_model(
                x=self.model_sampling_current.calculate_input(sigmas, latents).to(dtype),
                hint=latents,  # stands for the pose images
                timesteps=self.model_sampling_current.timestep(sigmas).to(dtype),
                context=comfy.model_management.cast_to_device(text, latents.device, dtype).expand(frames, -1, -1),
            )
        return {"output": residuals["output"]} if outer_only else residuals

    def _hint(self, indices: Sequence[int], latents: torch.Tensor) -> torch.Tensor:
        """Pose images of some frames at the size of the picture; one pose serves every frame. The rest stays where it is."""
        poses = self.cond_hint_original
        chosen = (poses if poses.shape[0] == 1 else poses[list(indices)]).to(latents.device)
        height, width = (side * self.compression_ratio for side in latents.shape[-2:])
        if chosen.shape[-2:] != (height, width):
            chosen = comfy.utils.common_upscale(chosen, width, height, self.upscale_algorithm, "center")
        return self.preprocess_image(chosen).expand(latents.shape[0], -1, -1, -1)

    def _check_hints(self, indices: Sequence[int], frames: int | None) -> None:
        """Raise where there is not one pose image for each frame; None: the number of frames is not known."""
        poses = self.cond_hint_original.shape[0]
        wanted = max(poses, *(index + 1 for index in indices)) if frames is None else frames
        if poses not in (1, wanted):
            raise ValueError(
                f"Apply ControlNet was given {poses} pose images, but {wanted} latents are sampled: give it one pose image for each"
                " latent."
            )

    def _warn_of_windows(self, transformer_options: dict) -> None:
        if transformer_options.get("uuids") and not self._was_told:
            self._was_told = True
            log.warning(
                "Temporal ControlNet sees only the frames that are sampled at once: the model went neither through APPA Apply nor"
                " through MultiDiffusion Windows, which show it the whole video"
            )

    def _prompts(self, video: WholeVideo | None, transformer_options: dict, batched_number: int) -> list[dict | None]:
        """For each cond of a batch the positive prompt whose text it takes: its own, and the first one for a negative.

        None for each where no video is known.
        """
        if video is None:
            return [None] * batched_number
        prompts = {
            entry.get("uuid"): entry
            for entry in video.positive
            if self._is_in(entry.get("control")) and _text_of(entry) is not None
        }
        if not prompts:
            raise ValueError(
                "Temporal ControlNet needs text conditioning: wire a CONDITIONING into the sampler's positive input."
            )
        first = next(iter(prompts.values()))
        return [prompts.get(uuid, first) for uuid in transformer_options.get("uuids") or [None] * batched_number]

    def _is_in(self, control) -> bool:
        while control is not None and getattr(control, "_application", None) is not self._application:
            control = control.previous_controlnet
        return control is not None

    def _text_of_batch(self, cond: dict, frames: int, transformer_options: dict) -> torch.Tensor:
        """The conditional rows' text of a batch, or the only text there is."""
        text = cond.get("crossattn_controlnet", cond["c_crossattn"])
        conds = transformer_options.get("cond_or_uncond") or [0]
        start = (conds.index(0) if 0 in conds else 0) * frames
        return text[start : start + frames] if text.shape[0] > start else text[:1]


def _text_of(prompt: dict) -> torch.Tensor | None:
    conds = prompt.get("model_conds", {})
    found = conds.get("crossattn_controlnet") or conds.get("c_crossattn")
    return found.cond if found is not None else None


def _text_of_frames(prompt: dict, indices: Sequence[int], frames: int | None) -> torch.Tensor:
    """A prompt's text, ``[1 or frames, tokens, channels]``; a prompt for each frame of the video follows the window."""
    text = _text_of(prompt)
    return text[list(indices)] if text.shape[0] == frames > 1 else text[:1]


def _is_of_video(video: WholeVideo, latents: torch.Tensor, indices: Sequence[int]) -> bool:
    """Whether these are frames of the video whose noise is being predicted."""
    if video.latents.shape[1:] != latents.shape[1:] or max(indices) >= video.latents.shape[0]:
        return False
    return torch.equal(video.latents[list(indices)].to(latents.device), latents)


def _by_frame(residuals: Residuals) -> list[Residuals]:
    """Residuals of a window -> of each of its frames, each in memory of its own that can be freed alone."""
    frames = len(next(iter(residuals.values()))[0])
    return [{key: [level[frame].clone() for level in levels] for key, levels in residuals.items()} for frame in range(frames)]
