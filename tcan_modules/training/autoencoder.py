"""The puppet model's VAE: TAESD's architecture, trained narrow and written out at its full width; then its decoder alone, wider.

TAESD is made of convolutions, ReLUs and residual blocks, so a network with fewer channels and blocks is the same function as the full
one with zeros in the rest. That makes training many times cheaper, and the host reads the file as any TAESD
(names under ``taesd_encoder.`` and ``taesd_decoder.``).
"""

from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from .state import corner
from .steps import to_signed

FULL = 64  # channels everywhere in TAESD
LATENT = 4
# (channels, blocks) at each resolution from the picture down to the latent; TAESD itself has 64 channels and (1, 3, 3, 3) blocks
WIDTHS = ((16, 0), (32, 1), (64, 2), (64, 3))
# of the decoder that takes the narrow one's place: what the networks see is the encoder's work, what people see is the decoder's
WIDE = ((24, 1), (48, 1), (64, 3), (64, 3))
_FULL_BLOCKS = (1, 3, 3, 3)
_FULL_WIDTHS = tuple((FULL, blocks) for blocks in _FULL_BLOCKS)
# added while training, so that the decoder forgives what a denoiser gets wrong (0.28 on characters it has not seen)
LATENT_NOISE, DECODER_NOISE = 0.03, 0.15
STRUCTURE = 0.5  # weight of structural similarity in the wide decoder's loss


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


def similarity(first: torch.Tensor, second: torch.Tensor, window: int = 7) -> torch.Tensor:
    """Mean structural similarity (Wang et al. 2004) of pictures ``[n, 3, h, w]`` in 0..1, in square windows as scikit-image has it."""
    means = [F.avg_pool2d(x, window, 1) for x in (first, second)]
    unbiased = window**2 / (window**2 - 1)

    def covariance(a: int, b: int) -> torch.Tensor:
        product = (first, second)[a] * (first, second)[b]
        return unbiased * (F.avg_pool2d(product, window, 1) - means[a] * means[b])

    luminance = (2 * means[0] * means[1] + 1e-4) / (means[0].square() + means[1].square() + 1e-4)
    contrast = (2 * covariance(0, 1) + 9e-4) / (covariance(0, 0) + covariance(1, 1) + 9e-4)
    return (luminance * contrast).mean()


class AutoencoderStep(nn.Module):
    """Loss of a batch ``{"pixels": uint8 [n, 3, h, w]}``: mean absolute and squared error, and latents kept at unit variance."""

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        pixels = _signed(batch)
        latents = self.model.encode(pixels)
        flat = latents.transpose(0, 1).flatten(1)
        spread = flat.mean(1).square().mean() + (flat.std(1) - 1).square().mean()
        return _difference(self.model.decode(_disturbed(latents, LATENT_NOISE, generator)), pixels) + 0.05 * spread


class DecoderStep(nn.Module):
    """The decoder alone, on noisier latents: mean absolute and squared error, and structural similarity.

    The encoder stays as it is, and so does what every network makes of its latents.
    """

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model
        model.taesd_encoder.requires_grad_(False)

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        pixels = _signed(batch)
        decoded = self.model.decode(_disturbed(self.model.encode(pixels), DECODER_NOISE, generator))
        structure = 1 - similarity(*(picture * 0.5 + 0.5 for picture in (decoded, pixels)))
        return _difference(decoded, pixels) + STRUCTURE * structure


def _signed(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return to_signed(batch["pixels"]).contiguous(memory_format=torch.channels_last)


def _disturbed(latents: torch.Tensor, deviation: float, generator: torch.Generator) -> torch.Tensor:
    return latents + deviation * torch.randn(latents.shape, generator=generator).to(latents)


def _difference(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    error = decoded - pixels
    return error.abs().mean() + 3 * error.square().mean()
