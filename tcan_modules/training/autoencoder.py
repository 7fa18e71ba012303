"""The puppet model's VAE: TAESD's architecture, trained narrow and written out at its full width.

TAESD is made of convolutions, ReLUs and residual blocks, so a network with fewer channels and blocks is the same function as the full
one with zeros in the rest. That makes training many times cheaper, and the host reads the file as any TAESD
(names under ``taesd_encoder.`` and ``taesd_decoder.``).
"""

import torch
from torch import nn
from torch.nn import functional as F

FULL = 64  # channels everywhere in TAESD
LATENT = 4
# (channels, blocks) at each resolution from the picture down to the latent; TAESD itself has 64 channels and (1, 3, 3, 3) blocks
WIDTHS = ((16, 0), (32, 1), (64, 2), (64, 3))
_FULL_BLOCKS = (1, 3, 3, 3)
_FULL_WIDTHS = tuple((FULL, blocks) for blocks in _FULL_BLOCKS)
LATENT_NOISE = 0.03  # added while training, so that the decoder forgives what a denoiser gets wrong


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
    """A TAESD of given widths. Pictures are ``[n, 3, h, w]`` in -1..1, latents ``[n, 4, h/8, w/8]`` of about unit variance."""

    def __init__(self, widths=WIDTHS):
        super().__init__()
        channels = [width for width, _ in widths]
        encoder = [_conv(3, channels[0]), *_blocks(0, widths)]
        for level in (1, 2, 3):
            encoder += [_conv(channels[level - 1], channels[level], stride=2, bias=False), *_blocks(level, widths)]
        self.taesd_encoder = nn.Sequential(*encoder, _conv(channels[3], LATENT))
        decoder = [_Clamp(), _conv(LATENT, channels[3]), nn.ReLU(), *_blocks(3, widths)]
        for level in (2, 1, 0):
            blocks = _blocks(level, widths) if level else [_Block(channels[0])]
            decoder += [nn.Upsample(scale_factor=2), _conv(channels[level + 1], channels[level], bias=False), *blocks]
        self.taesd_decoder = nn.Sequential(*decoder, _conv(channels[0], 3))

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.taesd_encoder(pictures * 0.5 + 0.5)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.taesd_decoder(latents) * 2 - 1

    def full_state(self) -> dict[str, torch.Tensor]:
        """The state dict of the equal TAESD of full width: zeros for the channels and blocks that this one lacks."""
        full = TinyAutoencoder(_FULL_WIDTHS).state_dict()
        own = self.state_dict()
        for name, tensor in full.items():
            tensor.zero_()
            if name in own:
                tensor[tuple(slice(0, size) for size in own[name].shape)] = own[name]
        return full

    @classmethod
    def from_full_state(cls, state: dict[str, torch.Tensor]) -> "TinyAutoencoder":
        """The network in a TAESD's state: narrow where everything outside of `WIDTHS` is zero, or as wide as TAESD itself."""
        narrow = cls()
        cut = {name: state[name][tuple(slice(0, size) for size in own.shape)] for name, own in narrow.state_dict().items()}
        narrow.load_state_dict(cut)
        full = narrow.full_state()
        if all(torch.equal(full[name], state[name].float()) for name in full):
            return narrow
        wide = cls(_FULL_WIDTHS)
        wide.load_state_dict({name: state[name] for name in wide.state_dict()})
        return wide


class AutoencoderStep(nn.Module):
    """Loss of a batch ``{"pixels": uint8 [n, 3, h, w]}``: mean absolute and squared error, and latents kept at unit variance."""

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        pixels = batch["pixels"].float() / 127.5 - 1
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        latents = self.model.encode(pixels)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        error = self.model.decode(latents + LATENT_NOISE * noise) - pixels
        flat = latents.transpose(0, 1).flatten(1)
        spread = flat.mean(1).square().mean() + (flat.std(1) - 1).square().mean()
        return error.abs().mean() + 3 * error.square().mean() + 0.05 * spread
