"""TCAN on a model of the host: APPA in its weights, temporal layers and kept appearance tokens in its UNet, PTM in both."""

import functools
from contextlib import ExitStack

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import nn

from . import injection, noise_schedule, whole_video
from .appa import add_appa
from .appearance import Appearance, AppearanceUNet, Block, Features, meeting_blocks
from .host_models import TCANModels, TemporalLayers, block_channels
from .log import log
from .maths.temperature import TemperatureMaps
from .maths.windows import windows_of_call
from .reuse import run_of
from .spatial import SpatialTransformers

KEY = "tcan"


def animate(
    tcan: TCANModels,
    appearance: Appearance,
    model: ModelPatcher | None = None,
    ptm: TemperatureMaps | None = None,
    appa_strength: float = 1.0,
    appearance_strength: float = 1.0,
    linear_betas: bool = True,
) -> ModelPatcher:
    """A clone of the model that animates the character of ``appearance``, good for every sampler of the host.

    Args:
        model: any SD1.x model; by default the UNet of the checkpoint.
        appa_strength, appearance_strength: 0 leaves that part out.
        linear_betas: the schedule that TCAN was trained with, in place of the model's own.

    Raises:
        ValueError: in one sentence, what does not fit; the given model stays as it was.
    """
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
    _patch_schedule(patched, linear_betas)

    wrapper = _Animation(companions, appearance, appearance_strength, ptm)
    patched.set_additional_models(KEY, companions)
    patched.set_attachments(KEY, wrapper)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper.check)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, wrapper)
    patched.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, wrapper.forget)
    whole_video.hand_on(patched)
    return patched


def max_frames(model: ModelPatcher) -> int | None:
    """How many frames the temporal layers that `animate` put on a model can see at once; None where it has none."""
    wrapper: _Animation | None = model.get_attachment(KEY)
    layers = _network(wrapper.companions, TemporalLayers) if wrapper is not None else None
    return layers and layers.max_frames


def _network(companions: list[ModelPatcher], kind: type) -> nn.Module | None:
    return next((patcher.model for patcher in companions if isinstance(patcher.model, kind)), None)


class _KeptTokens:
    """The appearance UNet's features at the current timestep, and their keys and values in the denoising UNet's layers.

    Computed once for a timestep and text, whatever the windows and the calls that guidance is split into.
    """

    def __init__(self, encoder: AppearanceUNet, appearance: Appearance, strength: float):
        self.encoder, self.appearance, self.strength = encoder, appearance, strength
        self.shares: dict[Block, torch.Tensor | None] = {}
        self.moment: tuple | None = None
        self.texts: list[tuple[torch.Tensor, Features, dict[Block, tuple[torch.Tensor, torch.Tensor]]]] = []

    def at(self, base, moment: tuple, timestep: torch.Tensor, text: torch.Tensor):
        """Features, and the room for their keys and values, for one timestep ``[1]`` and text ``[1, tokens, channels]``."""
        if moment != self.moment:
            self.forget()
            self.moment = moment
        for known, features, projections in self.texts:
            if known.shape == text.shape and torch.equal(known, text):
                return features, projections
        latents = base.process_latent_in(self.appearance.latents).to(text)
        # a copy: the text is one row of all frames' prompts, which a view would keep until the next step
        self.texts.append((text.clone(), self._weighed(self.encoder.features(latents, timestep, text)), {}))
        return self.texts[-1][1:]

    def _weighed(self, features: Features) -> Features:
        """The features without tokens of weight 0; what the others count beside the frame's own goes into ``shares``."""
        weighed = {}
        for block, tokens in features.items():
            found = self.appearance.token_weights(tokens.shape[1])
            weighed[block] = tokens if found.kept is None else tokens[:, found.kept.to(tokens.device)]
            if found.weights is not None:
                self.shares[block] = (found.weights * self.strength).to(tokens.device)
            else:
                self.shares[block] = None if self.strength == 1.0 else torch.tensor(self.strength)
        return weighed

    def forget(self) -> None:
        self.moment = None
        self.texts.clear()


class _Parts:
    """What one UNet is given. A host that works on several GPUs has one on each, with companions of its own."""

    def __init__(self, network: UNetModel, companions: list[ModelPatcher], appearance: Appearance, strength: float):
        layers, encoder = _network(companions, TemporalLayers), _network(companions, AppearanceUNet)
        self.temporal = None if layers is None else injection.Temporal(network, layers)
        self.attention = injection.Attention(network)
        self.transformers = SpatialTransformers(network)
        self.kept = None if encoder is None else _KeptTokens(encoder, appearance, strength)


class _Animation:
    """The host's wrapper around each call of the model."""

    def __init__(self, companions: list[ModelPatcher], appearance: Appearance, strength: float, ptm: TemperatureMaps | None):
        self.companions, self.appearance, self.strength, self.ptm = companions, appearance, strength, ptm
        self.guider = None  # of the sampling run that is under way
        self.parts: dict[UNetModel, _Parts] = {}

    def check(self, executor, noise, *args, **kwargs):
        """Around a whole sampling run: refuse poses of another video before anything is loaded."""
        if self.ptm is not None:
            self.ptm.check_frames(noise.shape[0])
        self.guider = executor.class_obj
        try:
            return executor(noise, *args, **kwargs)
        finally:
            self.guider = None

    def forget(self, *_) -> None:
        for parts in self.parts.values():
            if parts.kept is not None:
                parts.kept.forget()

    def __call__(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """Around one call of the model; ``x [conds * frames, 4, height, width]``, ``t`` its sigmas."""
        options = transformer_options if transformer_options is not None else {}
        base = executor.class_obj
        conds = options.get("cond_or_uncond") or [0]
        frames = x.shape[0] // len(conds)
        conditional = self._conditional(conds, options.get("uuids"))
        with ExitStack() as undo:
            parts = self._parts_of(base)
            undo.enter_context(parts.transformers.around(len(conds)))
            if parts.kept is not None and any(conditional):
                run = run_of(options)
                sigmas = t if run is None else run.sigmas.to(x.device)
                kept = self._kept_of(base, parts.kept, conditional, frames, sigmas, c_crossattn, x)
                joined = _JoinedAttention(kept, parts.kept.shares, parts.transformers)
                undo.enter_context(parts.attention.around(joined))
                options = joined.beside_replacements(base.diffusion_model, options)
            if parts.temporal is not None:
                windows = windows_of_call(options, frames)
                call = injection.Call(len(windows[0]), self._temperatures(base, windows, x))
                undo.enter_context(parts.temporal.around(call))
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def _parts_of(self, base) -> _Parts:
        network = getattr(base.diffusion_model, "_orig_mod", base.diffusion_model)  # torch.compile's own module around it
        if network not in self.parts:
            patcher, companions = base.current_patcher, self.companions
            if getattr(patcher, "is_multigpu_base_clone", False):
                companions = patcher.get_additional_models_with_key(KEY)
            self.parts[network] = _Parts(network, companions, self.appearance, self.strength)
        return self.parts[network]

    def _temperatures(self, base, windows: list, x: torch.Tensor) -> dict[tuple[int, int], torch.Tensor] | None:
        if self.ptm is None:
            return None
        levels = len(base.diffusion_model.num_res_blocks)
        grids = [self.ptm.grids(window, *x.shape[-2:], levels, x.device) for window in windows]
        return {side: torch.stack([grid[side] for grid in grids]) for side in grids[0]}

    def _conditional(self, conds: list[int], uuids: list | None) -> list[bool]:
        """Which conds of a batch see the reference picture: those that stand in no negative prompt of the guider.

        Their place in the batch says it for guidance with a positive and a negative; nodes that ask for the negative alone
        (Self-Attention Guidance) or that order them otherwise (DualCFGGuider) are known by the conds themselves.
        """
        positive, negative = set(), set()
        for name, entries in getattr(self.guider, "conds", {}).items():
            (negative if "negative" in name else positive).update(entry.get("uuid") for entry in entries or [])
        # the host copies an area's cond, with its name, to the other side
        both = positive & negative
        if uuids is None or any(uuid in both or uuid not in positive | negative for uuid in uuids):
            return [cond == 0 for cond in conds]
        return [uuid in positive for uuid in uuids]

    def _kept_of(
        self,
        base,
        tokens: _KeptTokens,
        conditional: list[bool],
        frames: int,
        sigmas: torch.Tensor,
        context: torch.Tensor,
        x: torch.Tensor,
    ) -> list:
        """For each cond of the batch its kept tokens, or None for the unconditional ones."""
        timestep = base.model_sampling.timestep(sigmas[:1]).float()
        dtype = base.manual_cast_dtype or base.get_dtype()
        hooks = getattr(base.current_patcher, "current_hooks", None)  # they change the weights that project the tokens
        moment = (float(timestep), dtype, x.device, id(hooks))
        texts = context[::frames].to(device=x.device, dtype=dtype) if context is not None else None
        if texts is None:
            raise ValueError(
                "The appearance encoder needs text conditioning: wire a CONDITIONING into the sampler's positive input."
            )
        return [
            tokens.at(base, moment, timestep, texts[index : index + 1]) if sees else None
            for index, sees in enumerate(conditional)
        ]


class _JoinedAttention:
    """Conditional rows attend to their own and the kept tokens, all others to their own alone.

    Every tensor of a batch is one part for each of its conds; a part has a row for each frame, or more where others cut the
    queries into tiles.
    """

    def __init__(self, kept: list, shares: dict[Block, torch.Tensor | None], transformers: SpatialTransformers):
        self.kept, self.shares, self.transformers = kept, shares, transformers

    def __call__(self, block: Block, layer, original, x, context=None, value=None, mask=None, **host_arguments):
        context = x if context is None else context
        value = context if value is None else value
        if mask is not None:
            host_arguments["mask"] = mask
        cond, out = self.transformers.cond, []
        under_way = self.kept if cond is None else [self.kept[cond]]
        for kept, *own in zip(under_way, *(tensor.chunk(len(under_way)) for tensor in (x, context, value))):
            if kept is None:
                out.append(original(own[0], context=own[1], value=own[2], **host_arguments))
            else:
                projected = self._projected(kept, block, layer)
                out.append(injection.joined_attention(layer, *own, projected, self.shares[block], **host_arguments))
        return torch.cat(out) if len(out) > 1 else out[0]

    def beside_replacements(self, network: UNetModel, options: dict) -> dict:
        """Options in which the self-attention that others put in place of the host's gets the kept tokens too."""
        theirs = options.get("patches_replace", {}).get("attn1")
        if not theirs:
            return options
        layers = {block: inner.attn1 for block, inner in meeting_blocks(network).items()}
        joined = {place: functools.partial(self._replaced, layers, patch) for place, patch in theirs.items()}
        return {**options, "patches_replace": {**options["patches_replace"], "attn1": joined}}

    def _replaced(self, layers: dict, patch, query, key, value, options: dict, **host_arguments):
        """Somebody's attention, cond by cond: the kept tokens are further keys and values behind a conditional row's own.

        It knows no shares: here a kept token counts as much as an own one.
        """
        block = (*options["block"], options.get("block_index", 0))
        if block not in layers:
            return patch(query, key, value, options, **host_arguments)
        out = []
        for index, kept in enumerate(self.kept):
            query_, key_, value_ = (tensor.chunk(len(self.kept))[index] for tensor in (query, key, value))
            own = {name: options[name][index : index + 1] for name in ("cond_or_uncond", "uuids") if name in options}
            if kept is not None:
                projected = self._projected(kept, block, layers[block])
                key_, value_ = injection.with_kept(key_, projected[0]), injection.with_kept(value_, projected[1])
            # what is made of the values alone (Perturbed-Attention Guidance) has the kept ones at its end
            out.append(patch(query_, key_, value_, {**options, **own}, **host_arguments)[:, : query_.shape[1]])
        return torch.cat(out)

    def _projected(self, kept: tuple, block: Block, layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the kept tokens in a layer."""
        features, projections = kept
        if block not in projections:
            projections[block] = layer.to_k(features[block]), layer.to_v(features[block])
        return projections[block]


def _sd1_network(model: ModelPatcher) -> UNetModel:
    network = model.get_model_object("diffusion_model")
    if not isinstance(network, UNetModel) or network.num_classes is not None or network.use_temporal_resblocks:
        raise ValueError(
            f"TCAN works with SD1.x models, and this one is {model.model.__class__.__name__}: load an SD1.5 checkpoint or a finetune."
        )
    return network


def _check_appearance(network: UNetModel, encoder: AppearanceUNet) -> None:
    theirs = {block: inner.norm1.weight.shape[0] for block, inner in meeting_blocks(network).items()}
    ours = encoder.feature_channels()
    if theirs != ours:
        raise ValueError(
            f"This model does not fit the TCAN checkpoint: its attention layers are {sorted(set(theirs.values()))} wide, and the"
            f" appearance encoder's {sorted(set(ours.values()))}. Use a model of the same kind (SD1.x)."
        )


def _patch_schedule(model: ModelPatcher, linear_betas: bool) -> None:
    """TCAN's betas, or the schedule that another node gave the model, in a form that dynamic VRAM leaves alone."""
    schedule, is_patched = model.get_model_object("model_sampling"), "model_sampling" in model.object_patches
    if linear_betas:
        model.add_object_patch("model_sampling", noise_schedule.linear_betas(schedule))
        if is_patched:
            log.warning(
                "APPA Apply replaces the betas of the noise schedule that an earlier node gave this model by TCAN's; its kind of"
                " prediction and zero terminal SNR stay. Choose beta_schedule 'scaled_linear' to keep it whole"
            )
    elif is_patched:
        model.add_object_patch("model_sampling", noise_schedule.without_buffers(schedule))
