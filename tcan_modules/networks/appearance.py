"""The appearance UNet, which gives the reference tokens (paper section 3.2).

It sees the clean latent of the reference picture at the current timestep, with the conditional text. Its features are the outputs of
``norm1`` in the transformer blocks of its middle and output blocks (authors' ``appearance_encoder.py``, and
``mutual_self_attention.py`` with ``fusion_blocks="midup"``).
"""

from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from ..maths.token_weights import TokenWeights, token_grid, token_weights

Block = tuple[str, int, int]  # side ("middle" or "output"), number of the host's block, transformer block in it
Features = dict[Block, torch.Tensor]


@dataclass
class Appearance:
    """The value of a ``TCAN_APPEARANCE`` socket: the encoded reference pictures."""

    latents: torch.Tensor  # of the VAE, [images, 4, height, width]
    weights: torch.Tensor | None = None  # how much each picture counts, [images]; None: 1
    masks: torch.Tensor | None = None  # how much each part of a picture counts, [images, height, width]; None: 1

    def token_weights(self, tokens: int) -> TokenWeights:
        """Weights for a layer that has this number of tokens, all pictures together."""
        if self.weights is None and self.masks is None:
            return TokenWeights()
        images, _, height, width = self.latents.shape
        weights = torch.ones(images) if self.weights is None else self.weights
        return token_weights(weights, self.masks, token_grid(height, width, tokens // images))


class _NormOnly(nn.Module):
    """The last transformer block: nothing after its first norm is used, and the files do not have it."""

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
    """The host's UNet, cut after the first norm of its last transformer block."""

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
        """The reference tokens of each block.

        Args:
            latents: clean latents in the UNet's own scale, ``[images, 4, height, width]``.
            timestep: one timestep, ``[1]``.
            context: the conditional text, ``[1, tokens, channels]``.

        Returns:
            ``[1, images * tokens, channels]`` for each block: the tokens of all pictures, one after the other.
        """
        features: Features = {}

        def keep(norm: torch.Tensor, context, value, options: dict):
            side, number = options["block"]
            if side != "input":
                features[side, number, options["block_index"]] = norm.reshape(1, -1, norm.shape[-1])
            return norm, context, value

        images = latents.shape[0]
        self(
            latents,
            timesteps=timestep.expand(images),
            context=context.expand(images, -1, -1),
            transformer_options={"patches": {"attn1_patch": [keep]}},
        )
        return features

    def feature_channels(self) -> dict[Block, int]:
        """Channels of each block's reference tokens."""
        return {block: inner.norm1.weight.shape[0] for block, inner in reference_blocks(self).items()}


def reference_blocks(network: nn.Module) -> dict[Block, nn.Module]:
    """The transformer blocks that write reference tokens in one UNet and read them in the other.

    All of the middle and output blocks.
    """
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
