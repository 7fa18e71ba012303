"""From diffusers' tensor names to ComfyUI's, for SD1.x networks of any width and depth.

ComfyUI keeps the original Stable Diffusion names (``input_blocks.1.0.in_layers.0``); the authors' files, AnimateDiff's and
MagicAnimate's have those of diffusers (``down_blocks.0.resnets.0.norm1``).
"""

import re
from collections.abc import Sequence

import torch

from ..values import shown
from .architecture import Architecture, StateDict, count_layers

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_STEM = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
}
_BLOCK = re.compile(
    r"(down_blocks|up_blocks)\.(\d{1,9})\.(resnets|attentions|motion_modules|downsamplers|upsamplers)\.(\d{1,9})\.(.+)"
)
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d{1,9})\.(.+)")


def input_block(layers: Sequence[int], level: int, index: int) -> int:
    """Number of the host's input block for resnet ``index`` of a level.

    ``index == layers[level]`` is the downsampler.
    """
    return 1 + sum(count + 1 for count in layers[:level]) + index


def output_block(layers: Sequence[int], block: int, index: int) -> int:
    """Number of the host's output block for resnet ``index`` of diffusers' up block ``block``."""
    return sum(count + 1 for count in layers[::-1][:block]) + index


def host_name(name: str, architecture: Architecture, hint_layers: int = 0) -> str | None:
    """The host's name of a diffusers tensor or module; None if the host has no such thing.

    Args:
        hint_layers: number of ``controlnet_cond_embedding.blocks``; a ControlNet's last hint layer follows them.
    """
    path, _, leaf = name.rpartition(".")
    if path in _STEM:
        return f"{_STEM[path]}.{leaf}"
    if match := _MIDDLE.fullmatch(name):
        kind, index, rest = match[1], int(match[2]), match[3]
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return _resnet(f"middle_block.{2 * index}", rest)
    if match := _BLOCK.fullmatch(name):
        return _block_name(match, architecture)
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d{1,9})\.(.+)", name):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    if match := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d{1,9})\.(.+)", name):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{match[2]}"
    if path == "controlnet_cond_embedding.conv_out":
        return f"input_hint_block.{2 * hint_layers + 2}.{leaf}"
    return None


def _resnet(prefix: str, rest: str) -> str | None:
    part, _, leaf = rest.rpartition(".")
    return f"{prefix}.{_RESNET[part]}.{leaf}" if part in _RESNET else None


def _block_name(match: re.Match, architecture: Architecture) -> str | None:
    side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    layers = architecture.layers
    if block >= len(layers) or index >= layers[block if side == "down_blocks" else -1 - block] + (side == "up_blocks"):
        return None
    if kind == "downsamplers":
        return f"input_blocks.{input_block(layers, block, layers[block])}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        last = layers[::-1][block]
        place = 2 if architecture.depth_up[block][last] else 1
        return f"output_blocks.{output_block(layers, block, last)}.{place}.{rest}"
    if side == "down_blocks":
        prefix = f"input_blocks.{input_block(layers, block, index)}"
    else:
        prefix = f"output_blocks.{output_block(layers, block, index)}"
    if kind == "resnets":
        return _resnet(f"{prefix}.0", rest)
    return f"{prefix}.1.{rest}" if kind == "attentions" else None


def to_host(state: StateDict, architecture: Architecture) -> dict[str, torch.Tensor]:
    """The state dict under the host's names, without tensors unknown to the host."""
    hint_layers = count_layers(state, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
    renamed = {host_name(name, architecture, hint_layers): tensor for name, tensor in state.items()}
    renamed.pop(None, None)
    return renamed


def split_temporal(state: StateDict, layers: Sequence[int]) -> dict[str, dict[str, torch.Tensor]]:
    """Temporal layers by the host's block before each: ``{"input_4": {"norm.weight": …}, …}``.

    Args:
        layers: number of resnets in each level of the network that receives the layers.

    Raises:
        ValueError: a layer for a block that the network does not have.
    """
    blocks: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        match = _BLOCK.fullmatch(name)
        if match is None or match[3] != "motion_modules":
            raise ValueError(f"{shown(name)} is no temporal layer")
        block, index, rest = int(match[2]), int(match[4]), match[5].removeprefix("temporal_transformer.")
        down = match[1] == "down_blocks"
        if block >= len(layers) or index >= (layers[block] if down else layers[::-1][block] + 1):
            raise ValueError(f"the network has no block for {shown(name.partition('.temporal_transformer')[0])}")
        place = f"input_{input_block(layers, block, index)}" if down else f"output_{output_block(layers, block, index)}"
        blocks.setdefault(place, {})[rest] = tensor
    return blocks
