"""A small VAE of TAESD's architecture, which can be trained narrow and written out at TAESD's full width.

TAESD is made of convolutions, ReLUs and residual blocks, so a network with fewer channels and blocks is the same function as the full
one with zeros in the rest. That makes training many times cheaper, and the host reads the file as any TAESD
(names under ``taesd_encoder.`` and ``taesd_decoder.``).
"""

from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from .state import corner

FULL = 64  # channels everywhere in TAESD
LATENT = 4
# (channels, blocks) at each resolution from the picture down to the latent; TAESD itself has 64 channels and (1, 3, 3, 3) blocks
WIDTHS = ((16, 0), (32, 1), (64, 2), (64, 3))
# of the decoder that takes the narrow one's place: what the networks see is the encoder's work, what people see is the decoder's
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
    """The blocks of a resolution; where TAESD has more, a ReLU stands for a block that adds nothing."""
    channels, count = widths[level]
    count = min(count, _FULL_BLOCKS[level])
    return [_Block(channels) for _ in range(count)] + [nn.ReLU()] * (_FULL_BLOCKS[level] - count)


class TinyAutoencoder(nn.Module):
    """A TAESD, as wide as told: encoder, decoder.

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
        return self.taesd_encoder(pictures * 0.5 + 0.5)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.taesd_decoder(latents) * 2 - 1

    def full_state(self) -> dict[str, torch.Tensor]:
        """The state dict of the equal TAESD of full width: zeros for the channels and blocks that this one lacks."""
        full = TinyAutoencoder(_FULL_WIDTHS, _FULL_WIDTHS).state_dict()
        own = self.state_dict()
        for name, tensor in full.items():
            tensor.zero_()
            if name in own:
                tensor[corner(own[name])] = own[name]
        return full

    def with_wide_decoder(self) -> "TinyAutoencoder":
        """The same function with a decoder of `WIDE`: its new channels and blocks have random weights that nothing listens to yet."""
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
    def from_full_state(cls, state: dict[str, torch.Tensor]) -> "TinyAutoencoder":
        """The network in a TAESD's state, as narrow as it was trained: without what is zero outside of `WIDTHS` or `WIDE`."""
        for widths in product((WIDTHS, _FULL_WIDTHS), (WIDTHS, WIDE, _FULL_WIDTHS)):
            model = cls(*widths)
            cut = {name: state[name][corner(own)] for name, own in model.state_dict().items()}
            model.load_state_dict(cut)
            full = model.full_state()
            if all(torch.equal(full[name], state[name].float()) for name in full):
                break
        return model
