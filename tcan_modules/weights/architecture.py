"""The architecture of an SD1.x network, read from its diffusers state dict."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch

from ..values import shown

StateDict = Mapping[str, torch.Tensor]

HEADS = 8  # attention heads of every SD1.x layer, which shapes do not show
MOST = 32  # the most levels, layers of a level, or transformer blocks of a layer; a stranger's file could name any number


class ChannelMultiple(Fraction):
    """A level's width as a multiple of the first level's width.

    The host multiplies ``channel_mult`` by ``model_channels`` and needs an int, also if the ratio is a fraction (64, 96, …).
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
        """Keyword arguments of the host's ``UNetModel``.

        With ``hint_channels`` also of its ``ControlNet``.
        """
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


def _indices(names: Iterable[str], pattern: str) -> set[int]:
    regex = re.compile(pattern)
    return {int(match[1][:9]) for name in names if (match := regex.match(name))}


def count_layers(names: Iterable[str], pattern: str) -> int:
    """How many layers match a pattern that has one number.

    Raises:
        ValueError: the numbers have gaps, or there are more than `MOST`.
    """
    found = _indices(names, pattern)
    if found != set(range(len(found))) or len(found) > MOST:
        names = pattern.replace(r"(\d+)", "N").replace("\\", "").rstrip(".")
        raise ValueError(f"its layers {names} must be numbered without gaps from 0 to at most {MOST - 1}")
    return len(found)


_DEPTH = re.compile(r"((?:down|up)_blocks\.\d{1,9}\.attentions\.\d{1,9}|mid_block\.attentions\.0)\.(transformer_blocks\.\d+\.)")
_RESNET = re.compile(r"(down_blocks\.\d{1,9})\.(resnets\.\d+\.conv1\.weight)")
_OF_TRANSFORMER, _OF_RESNET = 20, 10  # tensors that each one has at least


def _grouped(names: Iterable[str], pattern: re.Pattern) -> dict[str, list[str]]:
    """The ends of matching names by their beginnings, in one pass."""
    groups: dict[str, list[str]] = {}
    for match in filter(None, map(pattern.match, names)):
        groups.setdefault(match[1], []).append(match[2])
    return groups


def _depths(groups: dict[str, list[str]], block: str, resnets: int) -> tuple[int, ...]:
    return tuple(_depth(groups, f"{block}.attentions.{index}") for index in range(resnets))


def _depth(groups: dict[str, list[str]], layer: str) -> int:
    return count_layers(groups.get(layer, []), r"transformer_blocks\.(\d+)\.")


def _check_size(architecture: Architecture, tensors: int) -> None:
    """Raise if a network of this shape has more tensors than the file: it is not built to find out."""
    depths = [*architecture.depth_down, *architecture.depth_up, (architecture.depth_middle,)]
    blocks, resnets = sum(map(sum, depths)), sum(architecture.layers)
    # an appearance encoder lacks its last block, a ControlNet all that go up
    if _OF_TRANSFORMER * max(0, blocks - 1) + _OF_RESNET * resnets > tensors:
        raise ValueError(
            f"its names tell of {blocks} transformer blocks and {resnets} resnets, and it has only {tensors} tensors"
        )


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
    levels = count_layers(names, r"down_blocks\.(\d+)\.resnets\.")
    resnets, depths = _grouped(names, _RESNET), _grouped(names, _DEPTH)
    layers = tuple(
        count_layers(resnets.get(f"down_blocks.{level}", []), r"resnets\.(\d+)\.conv1\.weight") for level in range(levels)
    )
    if not levels or not all(layers):
        raise ValueError("the resnets of its down blocks are missing")
    context = [name for name in names if name.endswith(("attn2.to_k.weight", "attn2.to_k.base_layer.weight"))]
    if not context:
        raise ValueError("its cross-attention layers are missing")
    projection = next((state[name] for name in names if name.endswith("attentions.0.proj_in.weight")), None)
    if projection is not None and projection.ndim == 2:
        raise ValueError("it is an SD2.x network (linear projections around its attention), and TCAN works with SD1.x networks")
    architecture = Architecture(
        in_channels=side(state, "conv_in.weight", 1),
        out_channels=side(state, "conv_out.weight", 0) if "conv_out.weight" in state else 4,
        block_channels=tuple(side(state, f"down_blocks.{level}.resnets.0.conv1.weight", 0) for level in range(levels)),
        layers=layers,
        depth_down=tuple(_depths(depths, f"down_blocks.{level}", count) for level, count in enumerate(layers)),
        depth_middle=_depth(depths, "mid_block.attentions.0"),
        depth_up=tuple(_depths(depths, f"up_blocks.{block}", count + 1) for block, count in enumerate(layers[::-1])),
        context_dim=side(state, context[0], 1),
    )
    _check_size(architecture, len(names))
    return architecture
