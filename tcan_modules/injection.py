"""TCAN's layers in the host's own UNet or ControlNet for the length of one call, and out again.

Nothing stays behind: the network is patched when a call begins and restored when it ends, whether it returns, fails or is
cancelled. Other clones of the model, its state dict and LoRAs that are loaded meanwhile never see a change.
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import comfy.ldm.modules.attention
import comfy.ops
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, Upsample
from torch import nn

from .appearance import Block, meeting_blocks
from .host_models import TemporalLayers
from .maths.group_norm import group_norm_over_frames

ENTRY = "tcan_temporal"
# newer hosts lend a weight until it is given back, so that the next one can be fetched meanwhile
_give_back = getattr(comfy.ops, "uncast_bias_weight", None)


@dataclass
class Call:
    """What the layers need to know about one call of the network: ``rows`` videos of ``frames`` frames each are in the batch."""

    frames: int
    temperatures: dict[tuple[int, int], torch.Tensor] | None = (
        None  # PTM by a layer's height and width; of several windows, stacked
    )
    temporal_strength: float = 1.0


class _TemporalEntry(nn.Module):
    """Stands in the host's block where a temporal layer belongs and tells the layer what the host does not pass on."""

    def __init__(self, layer: nn.Module, owner: "Temporal"):
        super().__init__()
        self.layer, self.owner = layer, owner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        call = self.owner.call
        temperature = None if call.temperatures is None else call.temperatures.get((x.shape[-2], x.shape[-1]))
        return self.layer(x, call.frames, temperature, call.temporal_strength)


class Temporal:
    """A network's temporal layers, and the GroupNorms of its residual blocks and head over all frames of a row.

    The SiLU behind such a norm writes into what the norm gave: at the widest block these are the largest tensors of all.

    Made once and entered for every call, because torch.compile knows layers again by their identity.
    """

    def __init__(self, network: nn.Module, layers: TemporalLayers):
        self.call: Call | None = None
        self._entries = []
        for place, layer in layers.items():
            side, _, number = place.partition("_")
            self._entries.append((getattr(network, f"{side}_blocks")[int(number)], _TemporalEntry(layer, self)))
        self._norms = [
            pair
            for norm, activation in residual_norms(network)
            for pair in ((norm, functools.partial(_norm_over_frames, norm, self)), (activation, _silu_in_place))
        ]

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """The network with its layers, for one call."""
        with ExitStack() as undo:
            undo.callback(setattr, self, "call", self.call)
            self.call = call
            for block, entry in self._entries:
                undo.enter_context(_entry(block, entry))
            for norm, forward in self._norms if call.frames > 1 else ():
                undo.enter_context(other_forward(norm, forward))
            yield


class Attention:
    """The self-attentions of a network's middle and output blocks; made once, for the same reason."""

    def __init__(self, network: nn.Module):
        self._forward_of_call = None
        self._theirs: dict[Block, object] = {}
        self._layers = {
            block: (inner.attn1, functools.partial(self._attend, block, inner.attn1))
            for block, inner in meeting_blocks(network).items()
        }

    @contextmanager
    def around(self, forward) -> Iterator[None]:
        """Each of them calls ``forward(block, layer, original, x, …)`` instead, for one call."""
        with ExitStack() as undo:
            undo.callback(setattr, self, "_forward_of_call", self._forward_of_call)
            self._forward_of_call = forward
            for block, (layer, ours) in self._layers.items():
                self._theirs[block] = layer.__dict__.get("forward")
                undo.enter_context(other_forward(layer, ours))
            yield

    def _attend(self, block: Block, layer: nn.Module, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        original = self._theirs[block] or functools.partial(type(layer).forward, layer)
        return self._forward_of_call(block, layer, original, x, *args, **kwargs)


def residual_norms(network: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The GroupNorms that see a window as one volume in the authors' 3-D networks (``resnet.py``, ``unet.py``), each with its SiLU."""
    blocks = [module for module in network.modules() if isinstance(module, ResBlock)]
    chains = [chain for block in blocks for chain in (block.in_layers, block.out_layers)]
    head = getattr(network, "out", None)
    return [(chain[0], chain[1]) for chain in ([*chains, head] if head is not None else chains)]


def _norm_over_frames(norm: nn.GroupNorm, owner: Temporal, x: torch.Tensor) -> torch.Tensor:
    """One of the host's GroupNorms over the frames of a row; its weights may rest in another memory or precision."""
    weight, bias, *loan = comfy.ops.cast_bias_weight(norm, x, **({"offloadable": True} if _give_back else {}))
    out = group_norm_over_frames(x, owner.call.frames, norm.num_groups, weight, bias, norm.eps)
    if _give_back:
        _give_back(norm, weight, bias, *loan)
    return out


def _silu_in_place(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(x, inplace=True)


@contextmanager
def _entry(block: nn.Sequential, entry: nn.Module) -> Iterator[None]:
    """Put a named entry behind the resnet and attention of a host's block, before its resampler, whose name stays as it is."""
    before = block._modules
    resampler = next((name for name, layer in before.items() if isinstance(layer, (Upsample, Downsample))), None)
    after = {name: layer for name, layer in before.items() if name != resampler} | {ENTRY: entry}
    if resampler is not None:
        after[resampler] = before[resampler]
    with layers(block, after):
        yield


@contextmanager
def layers(block: nn.Module, modules: dict[str, nn.Module]) -> Iterator[None]:
    """Other layers in one of the host's blocks, by name and in this order."""
    before = block._modules
    block._modules = modules
    try:
        yield
    finally:
        block._modules = before


@contextmanager
def other_forward(module: nn.Module, forward) -> Iterator[None]:
    """Another forward for one module, keeping one that somebody else put there before."""
    theirs = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if theirs is None:
            del module.forward
        else:
            module.forward = theirs


def with_kept(own: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Tokens ``[rows, tokens, channels]`` and behind each row's own the kept ones, ``[1, kept tokens, channels]``."""
    return torch.cat([own, kept.expand(own.shape[0], -1, -1)], dim=1)


def joined_attention(
    layer: nn.Module,
    x: torch.Tensor,
    context: torch.Tensor,
    value: torch.Tensor,
    kept: tuple[torch.Tensor, torch.Tensor],
    share: torch.Tensor | None,
    **host_arguments,
) -> torch.Tensor:
    """Self-attention of a host's layer over its own tokens and kept ones.

    Args:
        x, context, value: ``[rows, tokens, channels]``, as the host calls the layer. HyperTile gives ``x`` a row for each tile of a
            frame; like the host's attention this then cuts keys and values into as many.
        kept: keys and values of the kept tokens, ``[1, kept tokens, channels]``, the same for every row.
        share: how much a kept token counts beside an own one, one number or ``[kept tokens]``; its share in the softmax is
            multiplied by it. None: as much.
    """
    key, value = (
        with_kept(own.reshape(x.shape[0], -1, own.shape[-1]), other)
        for own, other in ((layer.to_k(context), kept[0]), (layer.to_v(value), kept[1]))
    )
    if share is not None:
        # the same for every query: one row, so that no kernel has to hold scores for all of them
        bias = torch.zeros(1, key.shape[1], dtype=x.dtype, device=x.device)
        bias[:, -kept[0].shape[1] :] = torch.log(share)
        host_arguments["mask"] = bias
    out = comfy.ldm.modules.attention.optimized_attention(
        layer.to_q(x), key, value, layer.heads, attn_precision=layer.attn_precision, **host_arguments
    )
    return layer.to_out(out)
