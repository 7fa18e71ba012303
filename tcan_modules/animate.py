"""TCAN on a model of the host: APPA in its weights, temporal layers and kept appearance tokens in its UNet, PTM in both."""

from contextlib import ExitStack
from types import SimpleNamespace

import comfy.model_sampling
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP

from . import injection
from .appa import add_appa
from .appearance import Appearance, AppearanceUNet, Block, Features, meeting_blocks
from .host_models import TCANModels, TemporalLayers, block_channels
from .temperature import TemperatureMaps
from .windows import window_frames

KEY = "tcan"
LINEAR_BETAS = {"beta_schedule": "sqrt_linear", "linear_start": 0.00085, "linear_end": 0.012}  # diffusers' "linear"


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
    if linear_betas:
        patched.add_object_patch("model_sampling", _linear_betas(patched))

    wrapper = _Animation(
        layers=layers and layers.model,
        kept=_KeptTokens(tcan.appearance.model, appearance, appearance_strength) if appearance_strength != 0 else None,
        ptm=ptm,
    )
    patched.set_additional_models(KEY, companions)
    patched.set_attachments(KEY, wrapper)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper.check)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, wrapper)
    patched.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, wrapper.forget)
    return patched


def max_frames(model: ModelPatcher) -> int | None:
    """How many frames the temporal layers that `animate` put on a model can see at once; None where it has none."""
    wrapper: _Animation | None = model.get_attachment(KEY)
    return wrapper.layers.max_frames if wrapper is not None and wrapper.layers is not None else None


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
        self.texts.append((text, self._weighed(self.encoder.features(latents, timestep, text)), {}))
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


class _Animation:
    """The host's wrapper around each call of the model."""

    def __init__(self, layers: TemporalLayers | None, kept: _KeptTokens | None, ptm: TemperatureMaps | None):
        self.layers, self.kept, self.ptm = layers, kept, ptm

    def check(self, executor, noise, *args, **kwargs):
        """Around a whole sampling run: refuse poses of another video before anything is loaded."""
        if self.ptm is not None:
            self.ptm.check_frames(noise.shape[0])
        return executor(noise, *args, **kwargs)

    def forget(self, *_) -> None:
        if self.kept is not None:
            self.kept.forget()

    def __call__(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """Around one call of the model; ``x [conds * frames, 4, height, width]``, ``t`` its sigmas."""
        options = transformer_options if transformer_options is not None else {}
        base = executor.class_obj
        conds = options.get("cond_or_uncond") or [0]
        frames = x.shape[0] // len(conds)
        with ExitStack() as undo:
            if self.kept is not None and 0 in conds:
                kept = self._kept_of(base, conds, frames, t, c_crossattn, x)
                undo.enter_context(injection.attention(base.diffusion_model, _JoinedAttention(kept, frames, self.kept.shares)))
            if self.layers is not None:
                call = injection.Call(frames, window_frames(options, frames), self.ptm)
                undo.enter_context(injection.temporal(base.diffusion_model, self.layers, call))
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def _kept_of(self, base, conds: list[int], frames: int, sigmas: torch.Tensor, context: torch.Tensor, x: torch.Tensor) -> list:
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
            self.kept.at(base, moment, timestep, texts[index : index + 1]) if cond == 0 else None
            for index, cond in enumerate(conds)
        ]


class _JoinedAttention:
    """Conditional rows attend to their own and the kept tokens, all others to their own alone."""

    def __init__(self, kept: list, frames: int, shares: dict[Block, torch.Tensor | None]):
        self.kept, self.frames, self.shares = kept, frames, shares

    def __call__(self, block: Block, layer, original, x, context=None, value=None, mask=None, **host_arguments):
        context = x if context is None else context
        value = context if value is None else value
        if mask is not None:
            host_arguments["mask"] = mask
        out = []
        for index, kept in enumerate(self.kept):
            rows = slice(index * self.frames, (index + 1) * self.frames)
            own = x[rows], context[rows], value[rows]
            if kept is None:
                out.append(original(own[0], context=own[1], value=own[2], **host_arguments))
                continue
            features, projections = kept
            if block not in projections:
                projections[block] = layer.to_k(features[block]), layer.to_v(features[block])
            out.append(injection.joined_attention(layer, *own, projections[block], self.shares[block], **host_arguments))
        return torch.cat(out) if len(out) > 1 else out[0]


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


def _linear_betas(model: ModelPatcher) -> comfy.model_sampling.ModelSamplingDiscrete:
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete):
        raise ValueError(
            "This model has no discrete noise schedule that beta_schedule could replace: choose 'scaled_linear', which leaves the"
            " model's own schedule alone."
        )
    return type(sampling)(SimpleNamespace(sampling_settings=LINEAR_BETAS))
