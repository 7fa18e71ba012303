"""Trains the puppet model's VAE: a narrow one, then only a wider decoder."""

import torch
from torch import nn
from torch.nn import functional as F

from tcan_modules.training.autoencoder import TinyAutoencoder
from tcan_modules.training.steps import to_signed

# added in training, so that the decoder tolerates a denoiser's errors (0.28 on unseen characters)
LATENT_NOISE, DECODER_NOISE = 0.03, 0.15
STRUCTURE = 0.5  # weight of structural similarity in the wide decoder's loss


def similarity(first: torch.Tensor, second: torch.Tensor, window: int = 7) -> torch.Tensor:
    """Mean structural similarity of pictures ``[n, 3, h, w]`` in 0..1 (Wang et al. 2004).

    In square windows, as in scikit-image.
    """
    means = [F.avg_pool2d(x, window, 1) for x in (first, second)]
    unbiased = window**2 / (window**2 - 1)

    def covariance(a: int, b: int) -> torch.Tensor:
        product = (first, second)[a] * (first, second)[b]
        return unbiased * (F.avg_pool2d(product, window, 1) - means[a] * means[b])

    luminance = (2 * means[0] * means[1] + 1e-4) / (means[0].square() + means[1].square() + 1e-4)
    contrast = (2 * covariance(0, 1) + 9e-4) / (covariance(0, 0) + covariance(1, 1) + 9e-4)
    return (luminance * contrast).mean()


class AutoencoderStep(nn.Module):
    """The loss of the whole VAE.

    Mean absolute and squared error, and a term that keeps latents at unit variance.
    """

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        """The loss of a batch ``{"pixels": uint8 [n, 3, h, w]}``."""
        pixels = _signed(batch)
        latents = self.model.encode(pixels)
        flat = latents.transpose(0, 1).flatten(1)
        spread = flat.mean(1).square().mean() + (flat.std(1) - 1).square().mean()
        return _difference(self.model.decode(_disturbed(latents, LATENT_NOISE, generator)), pixels) + 0.05 * spread


class DecoderStep(nn.Module):
    """The loss of the decoder, on noisier latents.

    Mean absolute and squared error, and structural similarity. The encoder is frozen, because networks are trained on its latents.
    """

    def __init__(self, model: TinyAutoencoder):
        super().__init__()
        self.model = model
        model.taesd_encoder.requires_grad_(False)

    def forward(self, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        """The loss of a batch ``{"pixels": uint8 [n, 3, h, w]}``."""
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
