"""The appearance UNet and the features it leaves for the denoising UNet (paper section 3.2).

It sees the clean reference latent at the current timestep with the conditional text. What ``norm1`` gives in the transformer blocks
of its middle and output blocks is kept (authors' ``mutual_self_attention.py``, ``fusion_blocks="midup"``).
"""

from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from .maths.token_weights import TokenWeights, token_grid, token_weights

Block = tuple[str, int, int]  # side ("middle" or "output"), number of the host's block, transformer block within it
Features = dict[Block, torch.Tensor]


@dataclass
class Appearance:
    """What travels on a ``TCAN_APPEARANCE`` socket: VAE latents of the reference images, ``[images, 4, height, width]``.

    ``weights [images]`` and ``masks [images, height, width]`` say how much their tokens count (`reference_weights`); None: 1.
    """

    latents: torch.Tensor
    weights: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def token_weights(self, tokens: int) -> TokenWeights:
        """For a layer with so many tokens of all images together."""
        if self.weights is None and self.masks is None:
            return TokenWeights()
        images, _, height, width = self.latents.shape
        weights = torch.ones(images) if self.weights is None else self.weights
        return token_weights(weights, self.masks, token_grid(height, width, tokens // images))


class _NormOnly(nn.Module):
    """The last transformer block: nothing after its first norm is ever used, and the files do not have it."""

    def __init__(self, norm1: nn.Module):
        super().__init__()
        self.norm1 = norm1

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, transformer_options: dict | None = None
    ) -> torch.Tensor:
        for patch in transformer_options["patches"]["attn1_patch"]:
            patch(self.norm1(x), None, None, transformer_options)
        return x


class AppearanceUNet(UNetModel):
    """The host's UNet, cut behind the first norm of its last transformer block."""

    def __init__(self, **config):
        super().__init__(**config)
        end = max(index for index, block in enumerate(self.output_blocks) if transformers(block))
        self.output_blocks = self.output_blocks[: end + 1]
        last = transformers(self.output_blocks[end])[-1]
        last.transformer_blocks[-1] = _NormOnly(last.transformer_blocks[-1].norm1)
        last.proj_out = nn.Identity()
        del self.output_blocks[end][2:]
        self.out = nn.Identity()

    def features(self, latents: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor) -> Features:
        """Kept tokens of each block, ``[1, images * tokens, channels]``: those of several images stand side by side.

        Args:
            latents: clean latents in the UNet's own scale, ``[images, 4, height, width]``.
            timestep: one timestep, ``[1]``.
            context: the conditional text, ``[1, tokens, channels]``.
        """
        kept: Features = {}

        def keep(norm: torch.Tensor, context, value, options: dict):
            side, number = options["block"]
            if side != "input":
                kept[side, number, options["block_index"]] = norm.reshape(1, -1, norm.shape[-1])
            return norm, context, value

        images = latents.shape[0]
        self(
            latents,
            timesteps=timestep.expand(images),
            context=context.expand(images, -1, -1),
            transformer_options={"patches": {"attn1_patch": [keep]}},
        )
        return kept

    def feature_channels(self) -> dict[Block, int]:
        """Width of the kept tokens of each block."""
        return {block: inner.norm1.weight.shape[0] for block, inner in meeting_blocks(self).items()}


def meeting_blocks(network: nn.Module) -> dict[Block, nn.Module]:
    """The transformer blocks where appearance is kept in one UNet and read in the other: those of the middle and output blocks."""
    blocks = [
        ("middle", 0, network.middle_block),
        *(("output", index, block) for index, block in enumerate(network.output_blocks)),
    ]
    return {
        (side, number, index): inner
        for side, number, block in blocks
        for transformer in transformers(block)
        for index, inner in enumerate(transformer.transformer_blocks)
    }


def transformers(block: nn.Module) -> list[SpatialTransformer]:
    """The spatial transformers of one of the host's blocks."""
    return [layer for layer in block.children() if isinstance(layer, SpatialTransformer)]
