"""The networks of a checkpoint as models of the host, built on first use.

The host's model management moves, casts and offloads them.
"""

import functools
import re
from collections.abc import Callable, Sequence

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from ..maths.temporal import TemporalTransformer, sinusoidal_positions
from ..values import shown
from ..weights.architecture import HEADS, MOST, StateDict
from ..weights.checkpoint import Checkpoint
from ..weights.layouts import Part
from ..weights.messages import TITLES, CheckpointError
from ..weights.naming import split_temporal, to_host
from .appearance import AppearanceUNet
from .checks import check_shapes, finite_numbers, refusal
from .vae import build_vae

_OF_ATTENTION = 7  # tensors of a temporal attention: three projections, and an output and a norm with biases
_TEMPORAL_ATTENTION = re.compile(r"transformer_blocks\.(\d+)\.attention_blocks\.(\d+)\.")


class TCANModels:
    """The value of a ``TCAN`` socket: a checkpoint, and its networks as host models.

    Each network is built once, however many nodes use it.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self._temporal: dict[tuple, comfy.model_patcher.ModelPatcher] = {}

    @functools.cached_property
    def unet(self) -> comfy.model_patcher.ModelPatcher:
        """The denoising UNet without LoRA and temporal layers; clone it before patching."""
        part = self.checkpoint.require("unet")
        tensors = to_host(part.tensors, part.architecture)
        settings = part.architecture.host_config()
        tensors = check_shapes(lambda: UNetModel(**settings, device="meta"), tensors, part, "unet")
        config = comfy.supported_models.SD15(settings)
        dtype, cast = _dtypes(tensors)
        config.set_inference_dtype(dtype, cast)
        if self.checkpoint.v_prediction:
            config.model_type = lambda *_: comfy.model_base.ModelType.V_PREDICTION

        def build() -> nn.Module:
            numbers = finite_numbers(tensors, part, "unet")
            model = config.get_model(numbers, "", device=_offload_device())
            _load(model.diffusion_model, numbers)
            return model

        return _patcher(build)

    @functools.cached_property
    def appearance(self) -> comfy.model_patcher.ModelPatcher:
        """The appearance UNet (`AppearanceUNet`)."""
        part = self.checkpoint.require("appearance")
        tensors = to_host(part.tensors, part.architecture)
        settings = part.architecture.host_config()
        tensors = check_shapes(lambda: AppearanceUNet(**settings, device="meta"), tensors, part, "appearance")
        dtype, _ = _dtypes(tensors)

        def build() -> AppearanceUNet:
            # weights are cast at use: the network runs in the denoising UNet's precision
            numbers = finite_numbers(tensors, part, "appearance")
            model = AppearanceUNet(**settings, dtype=dtype, device=_offload_device(), operations=comfy.ops.manual_cast)
            _load(model, numbers)
            return model

        return _patcher(build)

    @functools.cached_property
    def control_net(self) -> comfy.controlnet.ControlNet:
        """The frozen ControlNet without temporal layers, as the host's own loader would give it."""
        part = self.checkpoint.require("controlnet")
        tensors = to_host(part.tensors, part.architecture)
        settings = part.architecture.host_config()
        settings.pop("out_channels")
        settings["hint_channels"] = 3
        tensors = check_shapes(lambda: comfy.cldm.cldm.ControlNet(**settings, device="meta"), tensors, part, "controlnet")
        dtype, cast = _dtypes(tensors)
        numbers = finite_numbers(tensors, part, "controlnet")
        model = comfy.cldm.cldm.ControlNet(
            **settings, dtype=dtype, device=_offload_device(), operations=comfy.ops.pick_operations(dtype, cast)
        )
        _load(model, numbers)
        return comfy.controlnet.ControlNet(model, load_device=comfy.model_management.get_torch_device(), manual_cast_dtype=cast)

    @functools.cached_property
    def vae(self) -> comfy.sd.VAE:
        """The checkpoint's VAE."""
        return build_vae(self.checkpoint.require("vae"))

    def temporal(self, key: str, layers: Sequence[int]) -> comfy.model_patcher.ModelPatcher | None:
        """Temporal layers (`TemporalLayers`) for a network, or None if the file has none.

        Args:
            key: ``unet_temporal`` or ``controlnet_temporal``.
            layers: the number of resnets in each level of the network.
        """
        part: Part | None = getattr(self.checkpoint, key)
        if part is None:
            return None
        cache_key = (key, tuple(layers))
        if cache_key not in self._temporal:
            try:
                blocks = split_temporal(part.tensors, layers)
            except ValueError as error:
                raise CheckpointError(f"The {TITLES[key]} in '{part.source}' do not fit: {error}.") from error
            self._temporal[cache_key] = _patcher(functools.partial(TemporalLayers, blocks, part, key))
        return self._temporal[cache_key]


class TemporalLayers(nn.ModuleDict):
    """The temporal layers of one network, named by the host's block before each (``input_4``)."""

    def __init__(self, blocks: dict[str, StateDict], part: Part, key: str):
        super().__init__()
        checked = {place: _temporal_layer(dict(tensors), part, key) for place, tensors in blocks.items()}
        dtype, _ = _dtypes(next(tensors for tensors, _ in checked.values()))
        for place, (tensors, build) in checked.items():
            self[place] = build(device=_offload_device(), dtype=dtype)
            _load(self[place], finite_numbers(tensors, part, key))

    @property
    def max_frames(self) -> int:
        """How many frames all layers can see at once."""
        return min(layer.max_frames for layer in self.values())

    def check_fits(self, channels: dict[str, int], title: str) -> None:
        """Raise if the layers were made for a network with other blocks (place -> channels)."""
        for place, layer in self.items():
            if channels.get(place) != layer.channels:
                raise ValueError(
                    f"This {title} does not fit the TCAN checkpoint: block {place.replace('_', ' ')} has"
                    f" {channels.get(place, 'no')} channels, and its temporal layer {layer.channels}. Use a {title} of the same"
                    " kind (SD1.x)."
                )


def _temporal_layer(tensors: dict[str, torch.Tensor], part: Part, key: str) -> tuple[StateDict, Callable]:
    """The tensors of one layer, checked and with positions, and a function that builds it on a device in a dtype."""
    inputs = tensors.get("proj_in.weight")
    channels = inputs.shape[0] if inputs is not None and inputs.ndim else 0
    blocks, attentions = _grid(tensors, part, key)
    positions = [tensor for name, tensor in tensors.items() if name.endswith("pos_encoder.pe")]
    max_frames = min((tensor.shape[1] if tensor.ndim > 1 else 0 for tensor in positions), default=24)
    if max_frames < 1:
        raise refusal(part, key, "its position tables are empty; download it again")
    build = functools.partial(
        TemporalTransformer,
        channels,
        heads=HEADS,
        blocks=blocks,
        attentions=attentions,
        max_frames=max_frames,
        operations=comfy.ops.manual_cast,
        attention=_host_attention,
        channels_last=comfy.model_management.is_device_cpu(comfy.model_management.get_torch_device()),
    )
    if not positions:
        tables = [
            f"transformer_blocks.{block}.attention_blocks.{number}.pos_encoder.pe"
            for block in range(blocks)
            for number in range(attentions)
        ]
        check_shapes(
            lambda: build(device="meta"), tensors | dict.fromkeys(tables, torch.empty(1, 24, channels, device="meta")), part, key
        )
        tensors |= dict.fromkeys(tables, sinusoidal_positions(24, channels))
    checked = check_shapes(lambda: build(device="meta"), tensors, part, key)
    if len(tensors) > len(checked):
        unknown = shown(min(tensors.keys() - checked.keys()))
        raise CheckpointError(f"The {TITLES[key]} in '{part.source}' cannot be used: no motion module of SD1.x has {unknown}.")
    return checked, build


def _grid(tensors: dict[str, torch.Tensor], part: Part, key: str) -> tuple[int, int]:
    """How many transformer blocks a layer has, and how many attentions each of them: counted, because each is built."""
    numbers = {match.groups() for name in tensors if (match := _TEMPORAL_ATTENTION.match(name))}
    blocks, attentions = (len({number[index] for number in numbers}) for index in (0, 1))
    full = {(str(block), str(attention)) for block in range(min(blocks, MOST)) for attention in range(min(attentions, MOST))}
    if numbers != full or _OF_ATTENTION * len(full) > len(tensors):
        raise refusal(
            part, key, f"{len(numbers)} temporal attentions in {blocks} blocks are incomplete; choose another motion module"
        )
    return blocks, attentions


def _host_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    # looked up at each call: the host and other packs choose the kernel
    return comfy.ldm.modules.attention.optimized_attention(query, key, value, heads)


def block_channels(network: nn.Module) -> dict[str, int]:
    """Output channels of each block of a host's network, by the names of `TemporalLayers`."""
    channels = {}
    for side in ("input", "output"):
        for index, block in enumerate(getattr(network, f"{side}_blocks", [])):
            if hasattr(block[0], "out_channels"):
                channels[f"{side}_{index}"] = block[0].out_channels
    return channels


def context_channels(network: nn.Module) -> int | None:
    """Channels of the text that a host's network takes; None if its layers do not say."""
    blocks = (module for module in network.modules() if getattr(module, "attn2", None) is not None)
    return next((getattr(block.attn2.to_k, "in_features", None) for block in blocks), None)


def _offload_device() -> torch.device:
    return comfy.model_management.unet_offload_device()


def _patcher(build: Callable[[], nn.Module], disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """The kind of patcher that the host's own loaders choose; newer hosts ask for the plain one if a prompt has hooks."""
    plain = comfy.model_patcher.ModelPatcher
    kind = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    patcher = kind(build(), comfy.model_management.get_torch_device(), _offload_device())
    patcher.cached_patcher_init = _patcher, (build,)  # the host builds another with it: a plain one, or one for another GPU
    return patcher


def _dtypes(tensors: StateDict):
    """The dtype in which the host wants these weights stored, and the one it wants to compute in (None: the same)."""
    supported = comfy.supported_models.SD15.supported_inference_dtypes
    management = comfy.model_management
    device = management.get_torch_device()
    stored = management.unet_dtype(
        device=device,
        model_params=comfy.utils.calculate_parameters(tensors),
        supported_dtypes=list(supported),
        weight_dtype=comfy.utils.weight_dtype(tensors),
    )
    return stored, management.unet_manual_cast(stored, device, list(supported))


def _load(model: nn.Module, tensors: StateDict) -> None:
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    model.eval().requires_grad_(False)
