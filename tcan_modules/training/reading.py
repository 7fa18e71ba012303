"""Appearance features: kept in the appearance UNet, read in the denoising UNet's self-attention (paper section 3.2; authors'
``mutual_self_attention.py``).

What ``norm1`` gives in the mid and up blocks of the appearance UNet is joined to the tokens of the same blocks of the denoising UNet, and
goes through the denoising UNet's own keys and values.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from .frames import FrameCount


def meeting_blocks(unet: nn.Module) -> dict[str, nn.Module]:
    """The transformer blocks of mid and up blocks by name; the two UNets have the same names."""
    parts = [("mid_block", unet.mid_block), *((f"up_blocks.{number}", block) for number, block in enumerate(unet.up_blocks))]
    return {
        f"{part}.attentions.{index}.transformer_blocks.{depth}": block
        for part, module in parts
        for index, attention in enumerate(getattr(module, "attentions", None) or [])
        for depth, block in enumerate(attention.transformer_blocks)
    }


class AppearanceFeatures:
    """What the appearance UNet leaves for the denoising UNet, filled by hooks while it runs.

    Args:
        arrange: what to keep of features ``[rows, tokens, channels]``.
    """

    def __init__(self, appearance: nn.Module, arrange: Callable[[torch.Tensor], torch.Tensor] = lambda features: features):
        self.kept: dict[str, torch.Tensor] = {}
        self.dropped: torch.Tensor | None = None  # bool [rows]: rows that must not see their reference
        for name, block in meeting_blocks(appearance).items():
            block.norm1.register_forward_hook(
                lambda _layer, _arguments, output, name=name: self.kept.__setitem__(name, arrange(output))
            )

    def clear(self) -> None:
        """Forget the features: the denoising UNet sees its own tokens alone."""
        self.kept, self.dropped = {}, None


class _ReadingAttention:
    """Self-attention over own tokens and kept ones; a row whose reference is dropped attends to its own alone."""

    def __init__(self, name: str, features: AppearanceFeatures, count: FrameCount):
        self.name, self.features, self.count = name, features, count

    def __call__(self, layer, hidden_states: torch.Tensor, encoder_hidden_states=None, attention_mask=None, **_) -> torch.Tensor:
        def split(tokens: torch.Tensor) -> torch.Tensor:
            return tokens.unflatten(-1, (layer.heads, -1)).transpose(1, 2)

        own = hidden_states
        query, key, value = layer.to_q(own), layer.to_k(own), layer.to_v(own)
        mask = None
        kept = self.features.kept.get(self.name)
        if kept is not None:
            frames, tokens = self.count.frames, own.shape[1]
            key = torch.cat([key, layer.to_k(kept).repeat_interleave(frames, dim=0)], dim=1)
            value = torch.cat([value, layer.to_v(kept).repeat_interleave(frames, dim=0)], dim=1)
            if self.features.dropped is not None:
                mask = torch.ones(own.shape[0], 1, 1, key.shape[1], dtype=torch.bool, device=own.device)
                mask[..., tokens:] = ~self.features.dropped.repeat_interleave(frames).view(-1, 1, 1, 1)
        out = F.scaled_dot_product_attention(split(query), split(key), split(value), attn_mask=mask)
        out = out.transpose(1, 2).flatten(2)
        return layer.to_out[1](layer.to_out[0](out))


def read_appearance(unet: nn.Module, features: AppearanceFeatures, count: FrameCount) -> None:
    """Let the self-attention of a denoising UNet's mid and up blocks read the features."""
    for name, block in meeting_blocks(unet).items():
        block.attn1.set_processor(_ReadingAttention(name, features, count))
