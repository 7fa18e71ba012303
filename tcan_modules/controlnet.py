"""Temporal ControlNet: ComfyUI's ControlNet with TCAN's temporal layers.

It runs over the whole video in windows without overlap, once for each noise prediction and positive prompt. The windows of the UNet,
and both conds of guidance, take each frame's residuals from there (paper section 3.3; authors' ``run_controlnet``).
"""

import math
from collections.abc import Sequence

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher

from .log import log
from .maths.pictures import check_size, describe_crop, rgb_on_black
from .maths.windows import open_windows
from .networks.host_models import TCANModels, block_channels
from .patching.batch import Batch, batch_of
from .patching.control_model import TemporalControlModel
from .patching.deep_cache import feature_cache_of
from .patching.other_packs import TakenByOtherPacks
from .patching.prompts import prompts_of, text_of_batch, text_of_frames
from .patching.residual_cache import Residuals
from .patching.whole_video import WholeVideo, video_of
from .values import STRONGEST, check_between


def temporal_control_net(
    tcan: TCANModels, control_net: comfy.controlnet.ControlNet | None = None, temporal_strength: float = 1.0
) -> "TemporalControlNet":
    """A ControlNet for the host's Apply ControlNet nodes.

    Args:
        control_net: an SD1.x ControlNet, whose weights stay frozen; None: the checkpoint's.
        temporal_strength: factor on what the temporal layers add; 0 is the plain ControlNet, frame by frame.

    Raises:
        ValueError: a ControlNet of another kind, or one that does not fit the checkpoint's temporal layers.
    """
    check_between("temporal_strength", temporal_strength, 0, STRONGEST)
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


class TemporalControlNet(TakenByOtherPacks, comfy.controlnet.ControlNet):
    """An adapter: the host calls it, it finds frames and text, `TemporalControlModel` computes."""

    def __init__(self, base: comfy.controlnet.ControlNet, layers: ModelPatcher | None, strength: float):
        super().__init__(None, load_device=base.load_device, manual_cast_dtype=base.manual_cast_dtype)
        self.control_model = base.control_model
        self.control_model_wrapped = base.control_model_wrapped
        self.layers, self.temporal_strength = layers, strength
        self._model = TemporalControlModel(self.control_model, None if layers is None else layers.model, strength)
        base.copy_to(self)
        self._application = object()  # of this Apply ControlNet node; the same on every device
        self._was_told = False

    def copy(self) -> "TemporalControlNet":
        """A ControlNet for another Apply ControlNet node, with the same networks."""
        return TemporalControlNet(self, self.layers, self.temporal_strength)

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> "TemporalControlNet":
        """A twin with its own networks on another GPU."""
        base = super().deepclone_multigpu(load_device)
        base.load_device = load_device
        layers = None if self.layers is None else self.layers.deepclone_multigpu(new_load_device=load_device)
        twin = TemporalControlNet(base, layers, self.temporal_strength)
        twin._application = self._application
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def inference_memory_requirements(self, dtype: torch.dtype) -> float:
        """Bytes beyond the weights.

        A window's residuals for both conds of guidance, and once more while they are joined.
        """
        poses = self.cond_hint_original
        frames = min(poses.shape[0], self.layers.model.max_frames if self.layers is not None else 16)
        pixels = math.prod(poses.shape[-2:]) / self.compression_ratio**2
        width = self.control_model.model_channels
        # each level has a quarter of the pixels of the one before, and at most four times the channels of the first
        per_frame = sum(
            (count + 1) * pixels * 4 * width / 4**level for level, count in enumerate(self.control_model.num_res_blocks)
        )
        kept = 3 * frames * per_frame * comfy.model_management.dtype_size(dtype)
        return super().inference_memory_requirements(dtype) + kept

    def get_models(self) -> list[ModelPatcher]:
        """The models that the host loads for a run: the ControlNet and its temporal layers."""
        return super().get_models() + ([self.layers] if self.layers is not None else [])

    def pre_run(self, model, percent_to_timestep_function) -> None:
        """Prepare a sampling run."""
        super().pre_run(model, percent_to_timestep_function)
        self._was_told = False

    def cleanup(self) -> None:
        """Free what a sampling run kept."""
        super().cleanup()
        self._model.hints.forget()

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        """Residuals for one call of the UNet, merged with the previous ControlNet's.

        Args:
            x_noisy: ``[conds * frames, 4, height, width]``.
            t: sigmas, ``[conds * frames]``.
        """
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if self.timestep_range is not None and not self.timestep_range[1] <= t[0] <= self.timestep_range[0]:
            return previous
        batch, video = batch_of(x_noisy, transformer_options, batched_number), video_of(transformer_options)
        self._check_pose_images(batch, batch.video_frames if video is None else video.frames)
        self._warn(batch, video, x_noisy)
        cache = feature_cache_of(transformer_options)
        outer_only = cache is not None and cache.has(cache.next_call(batch, x_noisy))
        if video is None:
            prompts = [None] * batched_number
        else:
            prompts = prompts_of(batch, video.positive, self._is_in)
        if video is not None and video.has(x_noisy[: batch.frames], batch.indices):
            residuals = self._of_video(video, batch, prompts, t[:1], outer_only, x_noisy.device)
        else:
            text = text_of_batch(batch, cond) if video is None else None
            residuals = self._of_latents(x_noisy, batch, prompts, text, t[:1], outer_only)
        # stacked copies, because the host multiplies them by the strength in place
        stacked = Residuals.stacked(residuals)
        return self.control_merge({"output": stacked.output, "middle": stacked.middle}, previous, output_dtype=None)

    def _of_video(
        self, video: WholeVideo, batch: Batch, prompts: list[dict], sigma: torch.Tensor, outer_only: bool, device: torch.device
    ) -> list[Residuals]:
        """Residuals of each batch entry, for frames of the video: from the cache, which windows over the whole video fill."""
        indices, later = batch.indices, video.later(batch.indices)
        windows = open_windows(video.frames, min(video.window_length or len(indices), video.frames), 0)
        cache, by_prompt = video.cache_of(self), {}
        for prompt in {id(prompt): prompt for prompt in prompts}.values():

            def compute(window: list[int], prompt=prompt) -> Residuals:
                text = text_of_frames(prompt, window)
                return self._run(video.latents[window].to(device), window, sigma, text, outer_only)

            found = cache.of((id(prompt), outer_only), indices, windows, compute, later)
            by_prompt[id(prompt)] = [residuals.to(device) for residuals in found]
        # otherwise the host asks again, for the other cond of guidance
        if len(batch.conds) == len(video.conds) and list(indices) in video.calls:
            cache.keep_for(later)
        return [residuals for prompt in prompts for residuals in by_prompt[id(prompt)]]

    def _of_latents(
        self,
        x_noisy: torch.Tensor,
        batch: Batch,
        prompts: list[dict | None],
        text: torch.Tensor | None,
        sigma: torch.Tensor,
        outer_only: bool,
    ) -> list[Residuals]:
        """Residuals of each batch entry, for latents that are not frames of the current video. Computed directly, not cached.

        That is a model that says nothing of its video, an area of the picture, or latents that a node made up. Conds with equal latents
        and prompts are computed once. ``text [1 or frames, tokens, channels]`` is for conds whose prompt is None.
        """
        residuals, known = [], []
        for latents, prompt in zip(batch.by_cond(x_noisy), prompts):
            found = next((found for past, its, found in known if its is prompt and torch.equal(past, latents)), None)
            if found is None:
                found = []
                for window, chunk in zip(batch.windows, latents.chunk(len(batch.windows)), strict=True):
                    context = text if prompt is None else text_of_frames(prompt, window)
                    found += self._run(chunk, window, sigma, context, outer_only).by_frame()
                known.append((latents, prompt, found))
            residuals += found
        return residuals

    def _run(
        self, latents: torch.Tensor, indices: Sequence[int], sigma: torch.Tensor, text: torch.Tensor, outer_only: bool
    ) -> Residuals:
        """The network on one window: ``latents [frames, 4, height, width]``, ``text [1 or frames, tokens, channels]``."""
        frames = latents.shape[0]
        dtype = self.manual_cast_dtype or self.control_model.dtype
        sigmas = sigma.expand(frames)
        return self._model(
            self.model_sampling_current.calculate_input(sigmas, latents).to(dtype),
            self.model_sampling_current.timestep(sigmas).to(dtype),
            comfy.model_management.cast_to_device(text, latents.device, dtype).expand(frames, -1, -1),
            lambda: self._pose_images(indices, latents).to(dtype),
            (tuple(indices), latents.shape, latents.device),
            outer_only,
        )

    def _pose_images(self, indices: Sequence[int], latents: torch.Tensor) -> torch.Tensor:
        """Pose images of some frames at the size of the picture, moved to the latents' device; one pose serves every frame."""
        poses = self.cond_hint_original
        chosen = (poses if poses.shape[0] == 1 else poses[list(indices)]).to(latents.device)
        chosen = rgb_on_black(chosen.movedim(1, -1)).movedim(-1, 1)
        height, width = (side * self.compression_ratio for side in latents.shape[-2:])
        if chosen.shape[-2:] != (height, width):
            chosen = comfy.utils.common_upscale(chosen, width, height, self.upscale_algorithm, "center")
        return self.preprocess_image(chosen).expand(latents.shape[0], -1, -1, -1)

    def _check_pose_images(self, batch: Batch, video_frames: int | None) -> None:
        """Raise if there is not one pose image for each frame; None: the number of frames is not known."""
        check_size(self.cond_hint_original.movedim(1, -1))
        poses = self.cond_hint_original.shape[0]
        wanted = max(poses, *(index + 1 for index in batch.indices)) if video_frames is None else video_frames
        if poses not in (1, wanted):
            raise ValueError(
                f"Apply ControlNet was given {poses} pose images, but {wanted} latents are sampled: give it one pose image for each"
                " latent."
            )

    def _warn(self, batch: Batch, video: WholeVideo | None, x_noisy: torch.Tensor) -> None:
        """Say once in a sampling run what will not come out as wanted."""
        if batch.uuids is None or self._was_told:
            return
        self._was_told = True
        if video is None:
            log.warning(
                "Temporal ControlNet sees only the frames that are sampled at once: the model went neither through APPA Apply nor"
                " through MultiDiffusion Windows, which show it the whole video"
            )
        latents = x_noisy if video is None else video.latents  # not those of an area
        size = (side * self.compression_ratio for side in latents.shape[-2:])
        note = describe_crop(*self.cond_hint_original.shape[-2:], *size)
        if note is not None:
            log.warning("Apply ControlNet: %s", note)

    def _is_in(self, control) -> bool:
        """Whether a cond's chain of ControlNets holds this one, or its twin on another device."""
        while control is not None and getattr(control, "_application", None) is not self._application:
            control = control.previous_controlnet
        return control is not None
