"""Temporal layers in ComfyUI's UNet or ControlNet for one call (paper section 3.3).

The network is patched when a call begins and restored when it ends, also after an error or a cancelled run: other clones of the model,
its state dict, and LoRAs loaded meanwhile never see a change (authors' ``unet_controlnet.py``).
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import comfy.ops
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, Upsample
from torch import nn

from ..maths.group_norm import group_norm_over_frames
from ..networks.host_models import TemporalLayers
from .swap import swapped_forward, swapped_modules

ENTRY = "tcan_temporal"
# newer hosts lend a weight until it is given back, so that the next one can be fetched meanwhile
_give_back = getattr(comfy.ops, "uncast_bias_weight", None)

Grids = dict[tuple[int, int], torch.Tensor]  # PTM by a layer's height and width, [height, width] or [windows, height, width]


@dataclass(frozen=True)
class _Call:
    """What the layers need to know about one call."""

    frames: int  # of a window
    temperatures: Grids | None
    strength: float


class TemporalPatch:
    """A network's temporal layers, and its GroupNorms over all frames of a window.

    These are the norms of residual blocks and of the head. The SiLU after such a norm writes into the norm's output: at the widest block
    these are the largest tensors of all.

    Made once for a network and applied to every call, because torch.compile recognises layers by their identity.
    """

    def __init__(self, network: nn.Module, layers: TemporalLayers):
        self.call: _Call | None = None
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
    def applied(self, frames: int, temperatures: Grids | None = None, strength: float = 1.0) -> Iterator[None]:
        """The network with temporal layers.

            with patch.applied(frames=16):
                network(x)

        Args:
            frames: frames of a window, consecutive on the batch axis.
            temperatures: PTM by a layer's height and width; if a cond holds several windows, stacked.
            strength: factor on what the layers add.
        """
        with ExitStack() as undo:
            undo.callback(setattr, self, "call", self.call)
            self.call = _Call(frames, temperatures, strength)
            for block, entry in self._entries:
                undo.enter_context(_entry(block, entry))
            for norm, forward in self._norms if frames > 1 else ():
                undo.enter_context(swapped_forward(norm, forward))
            yield


def residual_norms(network: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The GroupNorms of residual blocks and of the head, each with its SiLU.

    The authors' 3-D networks normalise a window as one volume in them (``resnet.py``, ``unet.py``).
    """
    blocks = [module for module in network.modules() if isinstance(module, ResBlock)]
    chains = [chain for block in blocks for chain in (block.in_layers, block.out_layers)]
    head = getattr(network, "out", None)
    return [(chain[0], chain[1]) for chain in ([*chains, head] if head is not None else chains)]


class _TemporalEntry(nn.Module):
    """Stands in the host's block for a temporal layer and gives it what the host does not pass on."""

    def __init__(self, layer: nn.Module, owner: TemporalPatch):
        super().__init__()
        self.layer, self.owner = layer, owner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        call = self.owner.call
        temperature = None if call.temperatures is None else call.temperatures.get((x.shape[-2], x.shape[-1]))
        return self.layer(x, call.frames, temperature, call.strength)


def _norm_over_frames(norm: nn.GroupNorm, owner: TemporalPatch, x: torch.Tensor) -> torch.Tensor:
    """A GroupNorm of the host over the frames of a window; its weights may lie on another device or in another dtype."""
    weight, bias, *loan = comfy.ops.cast_bias_weight(norm, x, **({"offloadable": True} if _give_back else {}))
    out = group_norm_over_frames(x, owner.call.frames, norm.num_groups, weight, bias, norm.eps)
    if _give_back:
        _give_back(norm, weight, bias, *loan)
    return out


def _silu_in_place(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(x, inplace=True)


@contextmanager
def _entry(block: nn.Sequential, entry: nn.Module) -> Iterator[None]:
    """A named entry after the resnet and attention of a host's block, before its resampler, whose name stays."""
    before = block._modules
    resampler = next((name for name, layer in before.items() if isinstance(layer, (Upsample, Downsample))), None)
    after = {name: layer for name, layer in before.items() if name != resampler} | {ENTRY: entry}
    if resampler is not None:
        after[resampler] = before[resampler]
    with swapped_modules(block, after):
        yield
