"""A small VAE with TAESD's architecture: trained narrow, written at TAESD's full width.

TAESD consists of convolutions, ReLUs and residual blocks, so a network with fewer channels and blocks computes the same as the full one
with zeros in all other weights. That makes training many times cheaper, and ComfyUI reads the file as any TAESD (names under
``taesd_encoder.`` and ``taesd_decoder.``).
"""

from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from .state import Tensors, corner

FULL = 64  # channels everywhere in TAESD
LATENT = 4
# (channels, blocks) at each resolution from the picture down to the latent; TAESD itself has 64 channels and (1, 3, 3, 3) blocks
WIDTHS = ((16, 0), (32, 1), (64, 2), (64, 3))
# the final decoder: it may be wider because the UNets use only the encoder, on whose latents they are trained
WIDE = ((24, 1), (48, 1), (64, 3), (64, 3))
_FULL_BLOCKS = (1, 3, 3, 3)
_FULL_WIDTHS = tuple((FULL, blocks) for blocks in _FULL_BLOCKS)


def _conv(inputs: int, outputs: int, **arguments) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **arguments)


class _Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            _conv(channels, channels), nn.ReLU(), _conv(channels, channels), nn.ReLU(), _conv(channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(x) + x)


class _Clamp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


def _blocks(level: int, widths) -> list[nn.Module]:
    """The blocks of a resolution; a ReLU stands for each block that TAESD has and this network lacks."""
    channels, count = widths[level]
    count = min(count, _FULL_BLOCKS[level])
    return [_Block(channels) for _ in range(count)] + [nn.ReLU()] * (_FULL_BLOCKS[level] - count)


class TinyAutoencoder(nn.Module):
    """A TAESD, encoder and decoder, of the given widths.

    Pictures are ``[n, 3, h, w]`` in -1..1, latents ``[n, 4, h/8, w/8]`` of about unit variance.
    """

    def __init__(self, widths=WIDTHS, decoder_widths=WIDTHS):
        super().__init__()
        channels = [width for width, _ in widths]
        encoder = [_conv(3, channels[0]), *_blocks(0, widths)]
        for level in (1, 2, 3):
            encoder += [_conv(channels[level - 1], channels[level], stride=2, bias=False), *_blocks(level, widths)]
        self.taesd_encoder = nn.Sequential(*encoder, _conv(channels[3], LATENT))
        channels = [width for width, _ in decoder_widths]
        decoder = [_Clamp(), _conv(LATENT, channels[3]), nn.ReLU(), *_blocks(3, decoder_widths)]
        for level in (2, 1, 0):
            blocks = _blocks(level, decoder_widths) if level else [_Block(channels[0])]
            decoder += [nn.Upsample(scale_factor=2), _conv(channels[level + 1], channels[level], bias=False), *blocks]
        self.taesd_decoder = nn.Sequential(*decoder, _conv(channels[0], 3))

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode pictures ``[n, 3, h, w]`` in -1..1 as latents ``[n, 4, h/8, w/8]``."""
        return self.taesd_encoder(pictures * 0.5 + 0.5)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents ``[n, 4, h/8, w/8]`` to pictures ``[n, 3, h, w]``."""
        return self.taesd_decoder(latents) * 2 - 1

    def full_state(self) -> Tensors:
        """The state dict of the equivalent full TAESD: missing channels and blocks are zero."""
        full = TinyAutoencoder(_FULL_WIDTHS, _FULL_WIDTHS).state_dict()
        own = self.state_dict()
        for name, tensor in full.items():
            tensor.zero_()
            if name in own:
                tensor[corner(own[name])] = own[name]
        return full

    def with_wide_decoder(self) -> "TinyAutoencoder":
        """The same function with a decoder of `WIDE`.

        New channels and blocks have random weights, and zeros after them: they change nothing until they are trained.
        """
        model = TinyAutoencoder(WIDTHS, WIDE)
        own = self.state_dict()
        for name, tensor in model.state_dict().items():
            if name in own:
                if tensor.ndim > 1:
                    tensor[: len(own[name])] = 0
                tensor[corner(own[name])] = own[name]
            elif ".conv.4." in name:
                tensor.zero_()
        return model

    @classmethod
    def from_full_state(cls, state: Tensors) -> "TinyAutoencoder":
        """The network of a TAESD's state dict, as narrow as it was trained.

        That is the first of `WIDTHS`, `WIDE` and the full width outside of which all weights are zero.
        """
        for widths in product((WIDTHS, _FULL_WIDTHS), (WIDTHS, WIDE, _FULL_WIDTHS)):
            model = cls(*widths)
            cut = {name: state[name][corner(own)] for name, own in model.state_dict().items()}
            model.load_state_dict(cut)
            full = model.full_state()
            if all(torch.equal(full[name], state[name].float()) for name in full):
                break
        return model
