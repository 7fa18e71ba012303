"""Architecture and names of SD1.x-shaped networks, read off the tensors of a diffusers state dict.

The host (ComfyUI) keeps the original Stable Diffusion names (``input_blocks.1.0.in_layers.0``); the authors' files, AnimateDiff's
and MagicAnimate's keep those of diffusers (``down_blocks.0.resnets.0.norm1``). Everything here is a pure function of names and
shapes, so any width and depth works.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

StateDict = Mapping[str, torch.Tensor]

HEADS = 8  # attention heads of every SD1.x layer; the shapes do not tell
MOST = 32  # levels, layers of a level, transformer blocks of a layer: more is no SD1.x network, and could take forever to read

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


class ChannelMultiple(Fraction):
    """A level's width as a multiple of the first level's; times that width it gives a whole number of channels.

    The host multiplies ``channel_mult`` with ``model_channels`` and needs an int, also where the ratio is none (64, 96, ...).
    """

    def __mul__(self, other: int) -> int:
        return int(Fraction(self) * other)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Architecture:
    """Shape of an SD1.x UNet, of the ControlNet or of the appearance UNet cut from one.

    ``depth_*`` count the transformer blocks beside each resnet, in the order of diffusers' names (0: none); ``layers`` counts the
    resnets of each down block, an up block has one more.
    """

    in_channels: int
    out_channels: int
    block_channels: tuple[int, ...]
    layers: tuple[int, ...]
    depth_down: tuple[tuple[int, ...], ...]
    depth_middle: int
    depth_up: tuple[tuple[int, ...], ...]
    context_dim: int

    def host_config(self) -> dict:
        """Keyword arguments of the host's ``UNetModel`` (and, with ``hint_channels``, of its ``ControlNet``)."""
        width = self.block_channels[0]
        up = [depth for block in self.depth_up for depth in block]
        return {
            "image_size": 32,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "model_channels": width,
            "num_res_blocks": list(self.layers),
            "channel_mult": [
                channels // width if channels % width == 0 else ChannelMultiple(channels, width)
                for channels in self.block_channels
            ],
            "transformer_depth": [depth for block in self.depth_down for depth in block],
            "transformer_depth_middle": self.depth_middle,
            "transformer_depth_output": up[::-1],  # the host pops it from the end
            "context_dim": self.context_dim,
            "num_heads": HEADS,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
            "legacy": False,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
        }


def shown(text: str, length: int = 80) -> str:
    """A stranger's name as part of a sentence: printable, and not longer than a line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: length + 1])
    return text if len(text) <= length else f"{text[:length]}…"


def side(state: StateDict, name: str, axis: int) -> int:
    """The length of one side of a tensor.

    Raises:
        ValueError: there is no such tensor, or it has no such side.
    """
    if name not in state:
        raise ValueError(f"the tensor {shown(name)} is missing")
    shape = tuple(state[name].shape)
    if len(shape) <= axis or shape[axis] == 0:
        raise ValueError(f"the tensor {shown(name)} has the impossible shape {shown(str(shape))}")
    return shape[axis]


def input_block(layers: Sequence[int], level: int, index: int) -> int:
    """Number of the host's input block for resnet ``index`` of a level; ``index == layers[level]`` is the downsampler."""
    return 1 + sum(count + 1 for count in layers[:level]) + index


def output_block(layers: Sequence[int], block: int, index: int) -> int:
    """Number of the host's output block for resnet ``index`` of diffusers' up block ``block``."""
    return sum(count + 1 for count in layers[::-1][:block]) + index


def _indices(names: Iterable[str], pattern: str) -> set[int]:
    regex = re.compile(pattern)
    return {int(match[1][:9]) for name in names if (match := regex.match(name))}


def _count(names: Iterable[str], pattern: str) -> int:
    found = _indices(names, pattern)
    if found != set(range(len(found))) or len(found) > MOST:
        names = pattern.replace(r"(\d+)", "N").replace("\\", "").rstrip(".")
        raise ValueError(f"its layers {names} are not numbered without gaps from 0 to at most {MOST - 1}")
    return len(found)


def _depths(names: list[str], block: str, resnets: int) -> tuple[int, ...]:
    return tuple(_count(names, rf"{block}\.attentions\.{index}\.transformer_blocks\.(\d+)\.") for index in range(resnets))


def read_architecture(state: StateDict) -> Architecture:
    """The architecture of a diffusers UNet, appearance UNet or ControlNet.

    Raises:
        ValueError: what is missing, or why this is no SD1.x network.
    """
    names = list(state)
    if any(name.startswith(("add_embedding.", "class_embedding.")) for name in names):
        raise ValueError("it is an SDXL network, and TCAN works with SD1.x networks")
    for name in ("conv_in.weight", "time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight"):
        side(state, name, 0)
    levels = _count(names, r"down_blocks\.(\d+)\.resnets\.")
    layers = tuple(_count(names, rf"down_blocks\.{level}\.resnets\.(\d+)\.conv1\.weight") for level in range(levels))
    if not levels or not all(layers):
        raise ValueError("the resnets of its down blocks are missing")
    context = [name for name in names if name.endswith(("attn2.to_k.weight", "attn2.to_k.base_layer.weight"))]
    if not context:
        raise ValueError("its cross-attention layers are missing")
    projection = next((state[name] for name in names if name.endswith("attentions.0.proj_in.weight")), None)
    if projection is not None and projection.ndim == 2:
        raise ValueError("it is an SD2.x network (linear projections around its attention), and TCAN works with SD1.x networks")
    return Architecture(
        in_channels=side(state, "conv_in.weight", 1),
        out_channels=side(state, "conv_out.weight", 0) if "conv_out.weight" in state else 4,
        block_channels=tuple(side(state, f"down_blocks.{level}.resnets.0.conv1.weight", 0) for level in range(levels)),
        layers=layers,
        depth_down=tuple(_depths(names, rf"down_blocks\.{level}", count) for level, count in enumerate(layers)),
        depth_middle=_count(names, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\."),
        depth_up=tuple(_depths(names, rf"up_blocks\.{block}", count + 1) for block, count in enumerate(layers[::-1])),
        context_dim=side(state, context[0], 1),
    )


def host_name(name: str, architecture: Architecture, hint_layers: int = 0) -> str | None:
    """The host's name of a diffusers tensor or module, or None where the host has nothing like it.

    ``hint_layers`` is the number of ``controlnet_cond_embedding.blocks``; a ControlNet's last hint layer comes after them.
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
    """The state dict under the host's names; tensors that the host has no place for are left out."""
    hint_layers = _count(state, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
    renamed = {host_name(name, architecture, hint_layers): tensor for name, tensor in state.items()}
    renamed.pop(None, None)
    return renamed


def split_temporal(state: StateDict, layers: Sequence[int]) -> dict[str, dict[str, torch.Tensor]]:
    """Temporal layers by the host's block that they follow: ``{"input_4": {"norm.weight": …}, "output_0": …}``.

    ``layers`` are the resnets of each level of the network that receives them.

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
