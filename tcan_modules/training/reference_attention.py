"""Reference attention in diffusers' UNets, for training (paper section 3.2).

Hooks capture the reference tokens, which are the outputs of ``norm1`` in the appearance UNet's middle and up blocks. In the same blocks
of the denoising UNet their keys and values, projected by the denoising UNet's own layers, are appended to those of every frame. Authors'
``mutual_self_attention.py``; ``patching/reference_attention.py`` does the same in ComfyUI's networks.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from .temporal_layers import FrameCount


def reference_blocks(unet: nn.Module) -> dict[str, nn.Module]:
    """The transformer blocks that write reference tokens in one UNet and read them in the other.

    All of the middle and up blocks, by name; the names are the same in both UNets.
    """
    parts = [("mid_block", unet.mid_block), *((f"up_blocks.{number}", block) for number, block in enumerate(unet.up_blocks))]
    return {
        f"{part}.attentions.{index}.transformer_blocks.{depth}": block
        for part, module in parts
        for index, attention in enumerate(getattr(module, "attentions", None) or [])
        for depth, block in enumerate(attention.transformer_blocks)
    }


class ReferenceTokens:
    """The reference tokens of each block, filled by hooks whenever the appearance UNet runs.

    Args:
        appearance: the UNet that writes them.
        arrange: a function on the tokens ``[clips, tokens, channels]`` before they are stored.
    """

    def __init__(self, appearance: nn.Module, arrange: Callable[[torch.Tensor], torch.Tensor] = lambda tokens: tokens):
        self.features: dict[str, torch.Tensor] = {}
        self.dropped: torch.Tensor | None = None  # bool [clips]: clips that do not see their reference
        for name, block in reference_blocks(appearance).items():
            block.norm1.register_forward_hook(
                lambda _layer, _arguments, output, name=name: self.features.__setitem__(name, arrange(output))
            )

    def forget(self) -> None:
        """Free all tokens; without them the denoising UNet's frames see only their own."""
        self.features, self.dropped = {}, None


class _ReferenceAttention:
    """Diffusers' attention processor of one block: attends to a frame's own tokens and its clip's reference tokens."""

    def __init__(self, name: str, reference: ReferenceTokens, count: FrameCount):
        self.name, self.reference, self.count = name, reference, count

    def __call__(self, layer, hidden_states: torch.Tensor, encoder_hidden_states=None, attention_mask=None, **_) -> torch.Tensor:
        """Self-attention over ``hidden_states [clips * frames, tokens, channels]``."""

        def split(tokens: torch.Tensor) -> torch.Tensor:
            return tokens.unflatten(-1, (layer.heads, -1)).transpose(1, 2)  # [clips * frames, heads, tokens, channels of a head]

        own = hidden_states
        query, key, value = layer.to_q(own), layer.to_k(own), layer.to_v(own)
        mask = None
        reference = self.reference.features.get(self.name)
        if reference is not None:
            frames, tokens = self.count.frames, own.shape[1]
            key = torch.cat([key, layer.to_k(reference).repeat_interleave(frames, dim=0)], dim=1)
            value = torch.cat([value, layer.to_v(reference).repeat_interleave(frames, dim=0)], dim=1)
            if self.reference.dropped is not None:
                mask = torch.ones(own.shape[0], 1, 1, key.shape[1], dtype=torch.bool, device=own.device)
                mask[..., tokens:] = ~self.reference.dropped.repeat_interleave(frames).view(-1, 1, 1, 1)
        out = F.scaled_dot_product_attention(split(query), split(key), split(value), attn_mask=mask)
        out = out.transpose(1, 2).flatten(2)  # [clips * frames, tokens, channels]
        return layer.to_out[1](layer.to_out[0](out))


def add_reference_attention(unet: nn.Module, reference: ReferenceTokens, count: FrameCount) -> None:
    """Let self-attention in a denoising UNet's middle and up blocks see reference tokens."""
    for name, block in reference_blocks(unet).items():
        block.attn1.set_processor(_ReferenceAttention(name, reference, count))
