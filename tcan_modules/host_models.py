"""The networks of a checkpoint as models of the host: built on first use, moved, cast and offloaded by its model management."""

import functools
from collections.abc import Sequence

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.modules.attention
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.utils
import torch
from torch import nn

from .appearance import AppearanceUNet
from .checkpoint import TITLES, Checkpoint, CheckpointError, Part
from .naming import StateDict, split_temporal, to_host
from .temporal import TemporalTransformer, sinusoidal_positions


class TCANModels:
    """What travels on a ``TCAN`` socket: a checkpoint, and its networks as host models, one of each however many nodes use it."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self._temporal: dict[tuple, comfy.model_patcher.ModelPatcher] = {}

    @functools.cached_property
    def unet(self) -> comfy.model_patcher.ModelPatcher:
        """The denoising UNet without LoRA and temporal layers; clone it before patching."""
        part = self.checkpoint.require("unet")
        tensors = to_host(part.tensors, part.architecture)
        config = comfy.supported_models.SD15(part.architecture.host_config())
        dtype, cast = _dtypes(tensors)
        config.set_inference_dtype(dtype, cast)
        model = config.get_model(tensors, "", device=_offload_device())
        _load(model.diffusion_model, tensors, part, "unet")
        return _patcher(model)

    @functools.cached_property
    def appearance(self) -> comfy.model_patcher.ModelPatcher:
        """The appearance UNet (`AppearanceUNet`)."""
        part = self.checkpoint.require("appearance")
        tensors = to_host(part.tensors, part.architecture)
        dtype, _ = _dtypes(tensors)
        # cast weights at use: the network runs in whatever precision the denoising UNet runs in
        model = AppearanceUNet(
            **part.architecture.host_config(), dtype=dtype, device=_offload_device(), operations=comfy.ops.manual_cast
        )
        kept = model.state_dict().keys()
        _load(model, {name: tensor for name, tensor in tensors.items() if name in kept}, part, "appearance")
        return _patcher(model)

    @functools.cached_property
    def control_net(self) -> comfy.controlnet.ControlNet:
        """The frozen ControlNet without temporal layers, as the host's own loader would give it."""
        part = self.checkpoint.require("controlnet")
        tensors = to_host(part.tensors, part.architecture)
        dtype, cast = _dtypes(tensors)
        config = part.architecture.host_config()
        config.pop("out_channels")
        model = comfy.cldm.cldm.ControlNet(
            **config,
            hint_channels=tensors["input_hint_block.0.weight"].shape[1],
            dtype=dtype,
            device=_offload_device(),
            operations=comfy.ops.pick_operations(dtype, cast),
        )
        _load(model, tensors, part, "controlnet")
        return comfy.controlnet.ControlNet(model, load_device=comfy.model_management.get_torch_device(), manual_cast_dtype=cast)

    def temporal(self, key: str, layers: Sequence[int]) -> comfy.model_patcher.ModelPatcher | None:
        """Temporal layers (`TemporalLayers`) for a network with so many resnets in each level, or None where the file has none.

        Args:
            key: ``unet_temporal`` or ``controlnet_temporal``.
        """
        part: Part | None = getattr(self.checkpoint, key)
        if part is None:
            return None
        cache_key = (key, tuple(layers))
        if cache_key not in self._temporal:
            try:
                model = TemporalLayers(split_temporal(part.tensors, layers))
            except (ValueError, KeyError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise CheckpointError(f"The {TITLES[key]} in '{part.source}' do not fit: {reason}.") from error
            self._temporal[cache_key] = _patcher(model)
        return self._temporal[cache_key]


class TemporalLayers(nn.ModuleDict):
    """The temporal layers of one network, named by the host's block that each follows (``input_4``, ``output_0``)."""

    def __init__(self, blocks: dict[str, StateDict]):
        super().__init__()
        dtype, _ = _dtypes(next(iter(blocks.values())))
        for place, tensors in blocks.items():
            self[place] = _temporal_layer(dict(tensors), dtype)

    @property
    def max_frames(self) -> int:
        return min(layer.max_frames for layer in self.values())

    def check_fits(self, channels: dict[str, int], title: str) -> None:
        """Raise where the blocks of a network (place -> channels) are not those that the layers were made for."""
        for place, layer in self.items():
            if channels.get(place) != layer.channels:
                raise ValueError(
                    f"This {title} does not fit the TCAN checkpoint: block {place.replace('_', ' ')} has"
                    f" {channels.get(place, 'no')} channels, and its temporal layer {layer.channels}. Use a {title} of the same"
                    " kind (SD1.x)."
                )


def _temporal_layer(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> TemporalTransformer:
    channels = tensors["proj_in.weight"].shape[0]
    blocks = {int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks.")}
    attentions = {int(name.split(".")[3]) for name in tensors if ".attention_blocks." in name}
    positions = [tensor for name, tensor in tensors.items() if name.endswith("pos_encoder.pe")]
    if not positions:
        for block in blocks:
            for attention in attentions:
                name = f"transformer_blocks.{block}.attention_blocks.{attention}.pos_encoder.pe"
                tensors[name] = sinusoidal_positions(24, channels)
    layer = TemporalTransformer(
        channels,
        blocks=len(blocks),
        attentions=len(attentions),
        max_frames=min((tensor.shape[1] for tensor in positions), default=24),
        operations=comfy.ops.manual_cast,
        attention=_host_attention,
        device=_offload_device(),
        dtype=dtype,
    )
    layer.load_state_dict(tensors)
    return layer.eval().requires_grad_(False)


def _host_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    # looked up at each call: the host and other packs choose the kernel
    return comfy.ldm.modules.attention.optimized_attention(query, key, value, heads)


def block_channels(network: nn.Module) -> dict[str, int]:
    """Channels that come out of each block of a host UNet or ControlNet, by the names of `TemporalLayers`."""
    channels = {}
    for side in ("input", "output"):
        for index, block in enumerate(getattr(network, f"{side}_blocks", [])):
            if hasattr(block[0], "out_channels"):
                channels[f"{side}_{index}"] = block[0].out_channels
    return channels


def _offload_device() -> torch.device:
    return comfy.model_management.unet_offload_device()


def _patcher(model: nn.Module) -> comfy.model_patcher.ModelPatcher:
    return comfy.model_patcher.ModelPatcher(model, comfy.model_management.get_torch_device(), _offload_device())


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


def _load(model: nn.Module, tensors: StateDict, part: Part, key: str) -> None:
    """Fill a network, or say in one sentence what the file lacks."""
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise CheckpointError(
            f"The {TITLES[key]} in '{part.source}' is incomplete: {len(missing)} tensors are missing ({missing[0]}, …)."
        )
    wrong = [name for name in expected if expected[name].shape != tensors[name].shape]
    if wrong:
        raise CheckpointError(
            f"The {TITLES[key]} in '{part.source}' has an unknown shape: {wrong[0]} is {tuple(tensors[wrong[0]].shape)} where"
            f" {tuple(expected[wrong[0]].shape)} is expected."
        )
    model.load_state_dict({name: tensors[name] for name in expected})
    model.eval().requires_grad_(False)
