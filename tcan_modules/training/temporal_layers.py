"""Temporal layers and group norms over a clip in diffusers' networks (paper section 3.3).

Frames lie on the batch axis. All layers of a network share one `FrameCount`, which says how many of them form a clip.
"""

import re
from dataclasses import dataclass

import torch
from torch import nn

from ..maths.temporal import TemporalTransformer, sinusoidal_positions
from ..weights.architecture import HEADS, StateDict


@dataclass
class FrameCount:
    """How many consecutive batch entries form a clip; with 1 every layer sees single frames."""

    frames: int = 1


class JointGroupNorm(nn.GroupNorm):
    """Group norm with statistics over the frames, height and width of a clip."""

    def __init__(self, norm: nn.GroupNorm, count: FrameCount):
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias, self.count = norm.weight, norm.bias, count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x [clips * frames, channels, height, width]``."""
        if self.count.frames == 1:
            return super().forward(x)
        clips = x.unflatten(0, (-1, self.count.frames)).transpose(1, 2)  # [clips, channels, frames, h, w]
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class _MotionModule(nn.Module):
    """Gives a temporal layer its name in the authors' files: ``motion_modules.N.temporal_transformer``."""

    def __init__(self, layer: TemporalTransformer, count: FrameCount):
        super().__init__()
        self.temporal_transformer, self.count = layer, count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.temporal_transformer(x, self.count.frames) if self.count.frames > 1 else x


def joint_norms(network: nn.Module, count: FrameCount) -> None:
    """Make norms of residual blocks and of a UNet's head span a clip (authors' ``resnet.py``)."""
    for name, module in list(network.named_modules()):
        if re.fullmatch(r".*\.resnets\.\d+", name):
            module.norm1, module.norm2 = JointGroupNorm(module.norm1, count), JointGroupNorm(module.norm2, count)
    if getattr(network, "conv_norm_out", None) is not None:
        network.conv_norm_out = JointGroupNorm(network.conv_norm_out, count)


def insert_temporal(
    network: nn.Module, count: FrameCount, down: range | None = None, up: bool = True, max_frames: int = 32
) -> None:
    """Add a temporal layer after every resnet (and its attention) of the down and up blocks.

    A block's resampling comes after them. New layers have no effect at first, because their ``proj_out`` is zero.

    Args:
        network: a UNet or a ControlNet.
        count: the network's frames in a clip.
        down: numbers of the down blocks that get layers; None: all. The authors' ControlNet has them in the third and fourth.
        up: whether the up blocks get layers too.
        max_frames: length of the layers' position tables.
    """
    blocks = [block for number, block in enumerate(network.down_blocks) if down is None or number in down]
    if up:
        blocks += list(network.up_blocks)
    for block in blocks:
        attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
        modules = []
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            module = _MotionModule(_new_layer(resnet.out_channels, max_frames), count)
            (attention if attention is not None else resnet).register_forward_hook(_followed_by(module))
            modules.append(module)
        block.motion_modules = nn.ModuleList(modules)


def load_temporal(network: nn.Module, state: StateDict) -> None:
    """Load the temporal layers from a checkpoint's tensors or an AnimateDiff motion module.

    Position tables may be missing.

    Raises:
        ValueError: other tensors are missing, or some have no place in the network.
    """
    own = {name for name in network.state_dict() if ".motion_modules." in name}
    unknown = [name for name in state if name not in own]
    missing = [name for name in own if name not in state and not name.endswith(".pe")]
    if unknown or missing:
        raise ValueError(
            f"The temporal layers do not fit: {len(missing)} tensors are missing and {len(unknown)} are unexpected"
            f" ({', '.join([*missing, *unknown][:3])} …); give a file that was trained on this base model."
        )
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)


def _followed_by(module: _MotionModule):
    """A forward hook that passes a layer's output through a temporal layer."""

    def hook(_layer, _arguments, output):
        return (module(output[0]), *output[1:]) if isinstance(output, tuple) else module(output)

    return hook


QUERY_KEY_SCALE = 2.5  # factor on queries and keys of new layers


@torch.no_grad()
def _new_layer(channels: int, max_frames: int) -> TemporalTransformer:
    layer = TemporalTransformer(channels, heads=HEADS, max_frames=max_frames)
    for block in layer.transformer_blocks:
        for attention in block.attention_blocks:
            attention.pos_encoder.pe.copy_(sinusoidal_positions(max_frames, channels))
            # With torch's default scale attention stays close to a plain mean over frames for a long time. A mean lets wrong poses in,
            # and leaves nothing for PTM's temperature to flatten.
            attention.to_q.weight.mul_(QUERY_KEY_SCALE)
            attention.to_k.weight.mul_(QUERY_KEY_SCALE)
    nn.init.zeros_(layer.proj_out.weight)
    nn.init.zeros_(layer.proj_out.bias)
    return layer


def repeat_frames(x: torch.Tensor, frames: int) -> torch.Tensor:
    """Repeat the entry of each clip for its frames: ``[clips, …]`` to ``[clips * frames, …]``."""
    return x.repeat_interleave(frames, dim=0)
