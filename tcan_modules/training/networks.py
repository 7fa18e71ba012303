"""Diffusers' UNet and ControlNet, built to fit a state dict of any width and depth.

The nodes run these networks as ComfyUI's classes. Training uses diffusers', which have the checkpoints' tensor names, gradient
checkpointing and peft. Frames lie on the batch axis.
"""

import torch
from torch import nn

from ..weights.architecture import HEADS, Architecture, StateDict, read_architecture


def _shape_arguments(architecture: Architecture) -> dict:
    down = architecture.depth_down
    return {
        "in_channels": architecture.in_channels,
        "block_out_channels": architecture.block_channels,
        "layers_per_block": list(architecture.layers),
        "down_block_types": tuple("CrossAttnDownBlock2D" if any(depth) else "DownBlock2D" for depth in down),
        "cross_attention_dim": architecture.context_dim,
        "attention_head_dim": HEADS,  # diffusers' name for the number of heads
    }


def new_unet(architecture: Architecture):
    """A newly initialised diffusers ``UNet2DConditionModel`` of an architecture."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=64,
        out_channels=architecture.out_channels,
        up_block_types=tuple("CrossAttnUpBlock2D" if any(depth) else "UpBlock2D" for depth in architecture.depth_up),
        **_shape_arguments(architecture),
    )


def new_controlnet(architecture: Architecture):
    """A newly initialised diffusers ``ControlNetModel`` of an architecture."""
    from diffusers import ControlNetModel

    arguments = _shape_arguments(architecture)
    (arguments["layers_per_block"],) = set(arguments["layers_per_block"])
    return ControlNetModel(**arguments)


def unet_from_state(state: StateDict):
    """The UNet of a state dict with diffusers' names, without LoRA and temporal layers.

    Raises:
        ValueError: it is not an SD1.x UNet, or tensors are missing.
    """
    unet = new_unet(read_architecture(state))
    _load(unet, state, "UNet")
    return unet


def controlnet_from_state(state: StateDict):
    """The ControlNet of a state dict with diffusers' names, without temporal layers."""
    controlnet = new_controlnet(read_architecture(state))
    _load(controlnet, state, "ControlNet")
    return controlnet


def appearance_from_state(state: StateDict):
    """The appearance UNet of its own state dict, or a copy of a whole UNet to start stage 1.

    Its last transformer block ends after ``norm1`` and it has no head (authors' ``AppearanceEncoderModel.reset_final_block``).
    """
    architecture = read_architecture(state)
    unet = new_unet(architecture)
    cut_tail(unet)
    _load(unet, {name: tensor for name, tensor in state.items() if name in unet.state_dict()}, "appearance UNet")
    return unet


class _NormOnly(nn.Module):
    """The last transformer block of the appearance UNet: nothing after its ``norm1`` is used."""

    def __init__(self, norm1: nn.LayerNorm):
        super().__init__()
        self.norm1 = norm1

    def forward(self, hidden_states: torch.Tensor, *_, **__) -> torch.Tensor:
        return self.norm1(hidden_states)


class _Identity(nn.Module):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states


def cut_tail(unet) -> None:
    """Remove what an appearance UNet lacks: everything after the last block's first norm."""
    last = unet.up_blocks[-1].attentions[-1]
    last.transformer_blocks[-1] = _NormOnly(last.transformer_blocks[-1].norm1)
    last.proj_out = _Identity()
    unet.conv_norm_out, unet.conv_out = None, _Identity()


def _load(network: nn.Module, state: StateDict, title: str) -> None:
    missing, unexpected = network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"The {title} does not fit: {len(missing)} tensors are missing and {len(unexpected)} are unexpected"
            f" ({', '.join([*missing, *unexpected][:3])} …); give a complete file of an SD1.x model."
        )
