"""APPA Apply: TCAN in a model of ComfyUI.

APPA goes into its weights; temporal layers, reference attention and PTM go into its UNet for the length of each call.
"""

from contextlib import ExitStack

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import nn

from .log import log
from .maths.checks import check_latents, check_text
from .maths.pictures import describe_crop
from .maths.temperature import TemperatureMaps
from .networks.appa import add_appa
from .networks.appearance import Appearance, AppearanceUNet, reference_blocks
from .networks.host_models import TCANModels, TemporalLayers, block_channels, context_channels
from .patching import noise_schedule
from .patching.batch import Batch, batch_of
from .patching.deep_cache import feature_cache_of
from .patching.reference_attention import ReferenceAttention, ReferenceTokens, conditional_conds
from .patching.temporal_layers import Grids, TemporalPatch
from .patching.transformer_chunks import TransformerChunks
from .patching.whole_video import pass_video_on, video_of
from .values import STRONGEST, check_between, check_choice

KEY = "tcan"
PIXELS = 8  # of a picture, for each latent


def apply_tcan(
    tcan: TCANModels,
    appearance: Appearance,
    model: ModelPatcher | None = None,
    ptm: TemperatureMaps | None = None,
    appa_strength: float = 1.0,
    appearance_strength: float = 1.0,
    beta_schedule: str = noise_schedule.BETA_SCHEDULES[0],
) -> ModelPatcher:
    """A clone of the model that animates the character of ``appearance`` in any sampler.

    Args:
        model: any SD1.x model; None: the UNet of the checkpoint.
        appa_strength, appearance_strength: 0 leaves that part out.
        beta_schedule: one of `noise_schedule.BETA_SCHEDULES`.

    Raises:
        ValueError: in one sentence, what does not fit; the given model is unchanged.
    """
    check_between("appa_strength", appa_strength, 0, STRONGEST)
    check_between("appearance_strength", appearance_strength, 0, STRONGEST)
    check_choice("beta_schedule", beta_schedule, noise_schedule.BETA_SCHEDULES)
    patched = (tcan.unet if model is None else model).clone()
    network = _sd1_network(patched)
    if patched.get_wrappers(WrappersMP.APPLY_MODEL, KEY):
        raise ValueError("This model already went through APPA Apply: connect the model from before it.")
    companions = []
    layers = tcan.temporal("unet_temporal", network.num_res_blocks)
    if layers is not None:
        layers.model.check_fits(block_channels(network), "model")
        companions.append(layers)
    if appearance_strength != 0:
        _check_appearance(network, tcan.appearance.model)
        companions.append(tcan.appearance)
    add_appa(patched, tcan.checkpoint, appa_strength)
    _patch_schedule(patched, beta_schedule)

    wrapper = _TCANWrapper(companions, appearance, appearance_strength, ptm, context_channels(network))
    patched.set_additional_models(KEY, companions)
    patched.set_attachments(KEY, wrapper)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper.around_run)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, wrapper.around_call)
    patched.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, wrapper.forget)
    pass_video_on(patched)
    return patched


def is_applied(model: ModelPatcher) -> bool:
    """Whether the model went through `apply_tcan`."""
    return bool(model.get_wrappers(WrappersMP.APPLY_MODEL, KEY))


def max_frames(model: ModelPatcher) -> int | None:
    """How many frames a model's temporal layers see at once; None if `apply_tcan` gave it none."""
    wrapper: _TCANWrapper | None = model.get_attachment(KEY)
    layers = _network(wrapper.companions, TemporalLayers) if wrapper is not None else None
    return layers and layers.max_frames


def _network(companions: list[ModelPatcher], kind: type) -> nn.Module | None:
    return next((patcher.model for patcher in companions if isinstance(patcher.model, kind)), None)


class _UNetPatches:
    """The patches of one UNet. A host that works on several GPUs has a UNet on each, with its own companions."""

    def __init__(self, network: UNetModel, companions: list[ModelPatcher], appearance: Appearance, strength: float):
        layers, encoder = _network(companions, TemporalLayers), _network(companions, AppearanceUNet)
        self.temporal = None if layers is None else TemporalPatch(network, layers)
        self.chunks = TransformerChunks(network)
        self.attention = ReferenceAttention(network, self.chunks)
        self.tokens = None if encoder is None else ReferenceTokens(encoder, appearance, strength)


class _TCANWrapper:
    """The host's wrappers around a sampling run and around each call of the model."""

    def __init__(
        self,
        companions: list[ModelPatcher],
        appearance: Appearance,
        strength: float,
        ptm: TemperatureMaps | None,
        text_channels: int | None,
    ):
        self.companions, self.appearance, self.strength, self.ptm = companions, appearance, strength, ptm
        self.text_channels = text_channels
        self.guider = None  # of the current sampling run
        self.patches: dict[UNetModel, _UNetPatches] = {}

    def around_run(self, executor, noise, *args, **kwargs):
        """OUTER_SAMPLE: refuse what does not fit before anything is loaded; ``noise [frames, 4, height, width]``."""
        check_latents(noise)
        for cond in (cond for conds in executor.class_obj.conds.values() for cond in conds or []):
            if cond.get("cross_attn") is not None and self.text_channels is not None:
                check_text(cond["cross_attn"], self.text_channels)
        if self.ptm is not None:
            self.ptm.check_frames(noise.shape[0])
            note = describe_crop(self.ptm.height, self.ptm.width, *(PIXELS * side for side in noise.shape[-2:]))
            if note is not None:
                log.warning("PTM Builder: %s", note)
        self.guider = executor.class_obj
        try:
            return executor(noise, *args, **kwargs)
        finally:
            self.guider = None

    def forget(self, *_) -> None:
        """ON_CLEANUP: free the reference tokens."""
        for patches in self.patches.values():
            if patches.tokens is not None:
                patches.tokens.forget()

    def around_call(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """APPLY_MODEL: one call with ``x [conds * frames, 4, height, width]``, ``t`` its sigmas."""
        options = transformer_options if transformer_options is not None else {}
        base, batch = executor.class_obj, batch_of(x, options)
        patches, conditional = self._patches_of(base), conditional_conds(batch, self.guider)
        with ExitStack() as undo:
            undo.enter_context(patches.chunks.applied(len(batch.conds)))
            if patches.tokens is not None and any(conditional):
                cache = feature_cache_of(options)
                sigmas = t if cache is None else cache.sigmas.to(x.device)
                video = video_of(options)
                conds = {} if video is None else video.conds
                references = patches.tokens.of_batch(base, batch, conditional, sigmas[:1], c_crossattn, x.device, conds)
                options = undo.enter_context(patches.attention.applied(references, options))
            if patches.temporal is not None:
                grids = self._temperatures(base, batch, x)
                undo.enter_context(patches.temporal.applied(len(batch.windows[0]), grids))
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def _patches_of(self, base) -> _UNetPatches:
        network = getattr(base.diffusion_model, "_orig_mod", base.diffusion_model)  # inside torch.compile's own module
        if network not in self.patches:
            patcher, companions = base.current_patcher, self.companions
            if getattr(patcher, "is_multigpu_base_clone", False):
                companions = patcher.get_additional_models_with_key(KEY)
            self.patches[network] = _UNetPatches(network, companions, self.appearance, self.strength)
        return self.patches[network]

    def _temperatures(self, base, batch: Batch, x: torch.Tensor) -> Grids | None:
        """PTM for every grid of the UNet, ``[windows, height, width]``."""
        if self.ptm is None:
            return None
        levels = len(base.diffusion_model.num_res_blocks)
        grids = [self.ptm.grids(window, *x.shape[-2:], levels, x.device) for window in batch.windows]
        return {side: torch.stack([grid[side] for grid in grids]) for side in grids[0]}


def _sd1_network(model: ModelPatcher) -> UNetModel:
    network = model.get_model_object("diffusion_model")
    if not isinstance(network, UNetModel) or network.num_classes is not None or network.use_temporal_resblocks:
        raise ValueError(
            f"TCAN works with SD1.x models, and this one is {model.model.__class__.__name__}: load an SD1.5 checkpoint or a finetune."
        )
    return network


def _check_appearance(network: UNetModel, encoder: AppearanceUNet) -> None:
    theirs = {block: inner.norm1.weight.shape[0] for block, inner in reference_blocks(network).items()}
    ours = encoder.feature_channels()
    if theirs != ours:
        raise ValueError(
            f"This model does not fit the TCAN checkpoint: its attention layers are {sorted(set(theirs.values()))} wide, and the"
            f" appearance encoder's {sorted(set(ours.values()))}. Use a model of the same kind (SD1.x)."
        )
    texts = [context_channels(each) for each in (network, encoder)]
    if None not in texts and texts[0] != texts[1]:
        raise ValueError(
            f"This model does not fit the TCAN checkpoint: it reads text of {texts[0]} channels, and the appearance encoder of"
            f" {texts[1]}. Use a model of the same kind (SD1.x)."
        )


def _patch_schedule(model: ModelPatcher, beta_schedule: str) -> None:
    """TCAN's betas, or the schedule that another node gave the model, in a form that dynamic VRAM leaves alone."""
    schedule, is_patched = model.get_model_object("model_sampling"), "model_sampling" in model.object_patches
    if beta_schedule == "linear":
        model.add_object_patch("model_sampling", noise_schedule.linear_betas(schedule))
        if is_patched:
            log.warning(
                "APPA Apply replaces the betas of the noise schedule that an earlier node gave this model by TCAN's; its prediction type"
                " and zero terminal SNR stay. Choose beta_schedule 'scaled_linear' to keep it whole"
            )
    elif is_patched:
        model.add_object_patch("model_sampling", noise_schedule.without_buffers(schedule))
